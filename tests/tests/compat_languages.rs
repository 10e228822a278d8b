//! HTTP servers and clients of programming languages and their best-known libraries.

use minimesh_tests::compat::{Kit, Need, compare};

const GO_KIT: Need = Need::Kit(Kit::Go);
const JAVA: Need = Need::Program("java");
const JAVA_KIT: Need = Need::Kit(Kit::Java);
const NODE: Need = Need::Program("node");
const NODE_KIT: Need = Need::Kit(Kit::Node);
const PYTHON_KIT: Need = Need::Kit(Kit::Python);

#[test]
fn go_net_http() {
    compare("go_nethttp", &[GO_KIT], &[8080]);
}

#[test]
fn java_http_client() {
    compare("java_http", &[JAVA, JAVA_KIT, GO_KIT, NODE, NODE_KIT], &[8080, 8081]);
}

#[test]
fn node_http() {
    compare("node_http", &[NODE, NODE_KIT], &[8080]);
}

#[test]
fn node_http2() {
    compare("node_http2", &[NODE], &[8080]);
}

#[test]
fn python() {
    compare("python", &[PYTHON_KIT], &[8000, 8001, 8002]);
}
