//! HTTP servers and clients that are programs of their own.

use minimesh_tests::compat::{Kit, Need, compare};
use minimesh_tests::protocol::Families;

/// In front of Node's http.
const NODE: [Need; 3] = [CURL, Need::Program("node"), Need::Kit(Kit::Node)];
const CURL: Need = Need::Program("curl");
const NGINX: Need = Need::Program("nginx");

#[test]
fn curl_and_nginx() {
    compare("nginx", &[CURL, NGINX], &[8080, 8081], Families::Dual);
}

#[test]
fn curl_and_node() {
    compare("curl", &NODE, &[8080], Families::Dual);
}

#[test]
fn envoy_in_front_of_envoy() {
    compare("envoy", &[&NODE[..], &[Need::Kit(Kit::Python)]].concat(), &[8080], Families::V4);
}

#[test]
fn haproxy_in_front_of_haproxy() {
    compare("haproxy", &[&NODE[..], &[Need::Program("haproxy")]].concat(), &[8080, 8081, 8082], Families::V4);
}

#[test]
fn nginx_in_front_of_nginx() {
    compare("nginx_client", &[CURL, NGINX], &[8080], Families::V4);
}

#[test]
fn tls_by_name() {
    compare("tls", &[CURL, NGINX, Need::Program("openssl")], &[8443, 8444], Families::V4);
}

#[test]
fn web_servers() {
    let programs = ["apache2", "lighttpd", "ab", "wget"].map(Need::Program);
    let deflate = Need::Part("lighttpd's mod_deflate", "ls /usr/lib/lighttpd/mod_deflate.so");
    compare("web_servers", &[&programs[..], &[CURL, deflate]].concat(), &[8080, 8081], Families::V4);
}
