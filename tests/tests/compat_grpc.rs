//! gRPC between implementations that nobody here wrote.

use minimesh_tests::compat::{Kit, Need, compare};
use minimesh_tests::protocol::Families;

#[test]
fn grpc_go_interoperability() {
    compare("grpc_go", &[Need::Kit(Kit::Go)], &[10_000], Families::Dual);
}

#[test]
fn grpc_java_interoperability() {
    let needs = [Need::Program("java"), Need::Kit(Kit::Maven), Need::Kit(Kit::Go)];
    compare("grpc_java", &needs, &[10_000, 10_001], Families::V4);
}

#[test]
fn grpc_node() {
    compare("grpc_node", &[Need::Program("node"), Need::Kit(Kit::Node)], &[10_000], Families::V4);
}
