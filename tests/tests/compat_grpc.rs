//! gRPC between implementations that nobody here wrote.

use minimesh_tests::compat::{Kit, Need, compare};

#[test]
fn grpc_go_interoperability() {
    compare("grpc_go", &[Need::Kit(Kit::Go)], &[10_000]);
}

#[test]
fn grpc_node() {
    compare("grpc_node", &[Need::Program("node"), Need::Kit(Kit::Node)], &[10_000]);
}
