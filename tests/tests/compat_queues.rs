//! Message queues.

use minimesh_tests::compat::{Kit, Need, compare};
use minimesh_tests::protocol::Families;

const PYTHON_KIT: Need = Need::Kit(Kit::Python);

#[test]
fn kafka() {
    compare("kafka", &[Need::Program("java"), Need::Kit(Kit::Maven), Need::Program("kcat")], &[9092], Families::V4);
}

#[test]
fn nats() {
    compare("nats", &[Need::Program("nats-server"), PYTHON_KIT], &[4222], Families::V4);
}

#[test]
fn rabbitmq() {
    compare("rabbitmq", &[Need::Program("rabbitmqctl"), PYTHON_KIT], &[5672], Families::V4);
}
