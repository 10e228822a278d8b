//! HTTP servers and clients of programming languages and their best-known libraries.

use minimesh_tests::compat::{Kit, Need, compare};
use minimesh_tests::protocol::Families;

const GO_KIT: Need = Need::Kit(Kit::Go);
const JAVA: Need = Need::Program("java");
const JAVA_KIT: Need = Need::Kit(Kit::Java);
const NODE: Need = Need::Program("node");
const NODE_KIT: Need = Need::Kit(Kit::Node);
const PYTHON_KIT: Need = Need::Kit(Kit::Python);

#[test]
fn go_net_http() {
    compare("go_nethttp", &[GO_KIT], &[8080], Families::Dual);
}

#[test]
fn java_http_client() {
    compare("java_http", &[JAVA, JAVA_KIT, GO_KIT, NODE, NODE_KIT], &[8080, 8081], Families::V4);
}

#[test]
fn node_http() {
    compare("node_http", &[NODE, NODE_KIT], &[8080], Families::V4);
}

#[test]
fn node_http2() {
    compare("node_http2", &[NODE], &[8080], Families::Dual);
}

#[test]
fn php() {
    let curl = Need::Part("PHP's curl", "php -r 'exit(extension_loaded(\"curl\") ? 0 : 1);'");
    compare("php", &[Need::Program("php"), curl, NODE, NODE_KIT], &[8080, 8081], Families::V4);
}

#[test]
fn python() {
    compare("python", &[PYTHON_KIT], &[8000, 8001, 8002], Families::V4);
}

#[test]
fn ruby() {
    let webrick = Need::Part("WEBrick", "ruby -r webrick -e 0");
    compare("ruby", &[Need::Program("ruby"), Need::Program("puma"), webrick], &[8080, 8081], Families::V4);
}
