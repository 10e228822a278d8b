//! Remote shells and copies.

use minimesh_tests::compat::{Need, compare};

#[test]
fn openssh() {
    compare("openssh", &[Need::Program("sshd"), Need::Program("scp"), Need::Root], &[2222]);
}
