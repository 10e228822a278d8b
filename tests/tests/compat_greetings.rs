//! Servers that speak first: remote shells and copies, mail.

use minimesh_tests::compat::{Kit, Need, compare};
use minimesh_tests::protocol::Families;

#[test]
fn mail() {
    let needs = [Need::Kit(Kit::Python), Need::Program("curl"), Need::Program("openssl"), Need::Program("python3")];
    compare("mail", &needs, &[2525], Families::V4);
}

#[test]
fn openssh() {
    compare("openssh", &[Need::Program("sshd"), Need::Program("scp"), Need::Root], &[2222], Families::V4);
}
