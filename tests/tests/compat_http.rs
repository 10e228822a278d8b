//! HTTP servers and clients that are programs of their own.

use minimesh_tests::compat::{Kit, Need, compare};

const CURL: Need = Need::Program("curl");
const NGINX: Need = Need::Program("nginx");

#[test]
fn curl_and_nginx() {
    compare("nginx", &[CURL, NGINX], &[8080, 8081]);
}

#[test]
fn curl_and_node() {
    compare("curl", &[CURL, Need::Program("node"), Need::Kit(Kit::Node)], &[8080]);
}

#[test]
fn nginx_in_front_of_nginx() {
    compare("nginx_client", &[CURL, NGINX], &[8080]);
}
