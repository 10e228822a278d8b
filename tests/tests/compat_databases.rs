//! Databases.

use minimesh_tests::compat::{Kit, Need, compare};

const PYTHON_KIT: Need = Need::Kit(Kit::Python);

#[test]
fn mariadb() {
    compare("mariadb", &[Need::Program("mariadbd"), Need::Program("mariadb"), PYTHON_KIT], &[3306]);
}

#[test]
fn postgresql() {
    compare("postgresql", &[Need::Program("initdb"), Need::Program("psql"), PYTHON_KIT], &[5432]);
}

#[test]
fn redis() {
    compare("redis", &[Need::Program("redis-server"), Need::Program("redis-cli"), PYTHON_KIT], &[6379]);
}
