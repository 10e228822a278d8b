//! Message queues.

use minimesh_tests::compat::{Kit, Need, compare};

const PYTHON_KIT: Need = Need::Kit(Kit::Python);

#[test]
fn nats() {
    compare("nats", &[Need::Program("nats-server"), PYTHON_KIT], &[4222]);
}

#[test]
fn rabbitmq() {
    compare("rabbitmq", &[Need::Program("rabbitmqctl"), PYTHON_KIT], &[5672]);
}
