//! Databases and caches.

use minimesh_tests::compat::{Kit, Need, compare};
use minimesh_tests::protocol::Families;

const OPENSSL: Need = Need::Program("openssl");
const PYTHON_KIT: Need = Need::Kit(Kit::Python);

#[test]
fn mariadb() {
    let needs = [Need::Program("mariadbd"), Need::Program("mariadb"), OPENSSL, PYTHON_KIT];
    compare("mariadb", &needs, &[3306], Families::Dual);
}

#[test]
fn memcached() {
    let needs = [Need::Program("memcached"), Need::Program("curl"), PYTHON_KIT];
    compare("memcached", &needs, &[11211], Families::Dual);
}

#[test]
fn mongodb() {
    compare("mongodb", &[Need::Program("java"), Need::Kit(Kit::Maven), PYTHON_KIT], &[27017], Families::V4);
}

#[test]
fn postgresql() {
    let needs = [Need::Program("initdb"), Need::Program("psql"), OPENSSL, PYTHON_KIT];
    compare("postgresql", &needs, &[5432], Families::V4);
}

#[test]
fn redis() {
    let needs = [Need::Program("redis-server"), Need::Program("redis-cli"), PYTHON_KIT];
    compare("redis", &needs, &[6379], Families::Dual);
}
