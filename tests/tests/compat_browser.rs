//! A browser.

use std::process::Command;

use minimesh_tests::compat::{self, Kit, Need, compare};
use minimesh_tests::demo::Demo;
use minimesh_tests::protocol::Families;
use serde_json::Value;

const NEEDS: [Need; 3] = [Need::Program("chromium"), Need::Program("node"), Need::Kit(Kit::Node)];

#[test]
fn chromium_and_node() {
    compare("chromium", &NEEDS, &[8080], Families::V4);
}

#[test]
fn chromium_buys_a_pair_of_socks() {
    let name = "chromium_shop";
    if compat::skip(name, &NEEDS) {
        return;
    }
    let demo = Demo::start("shop-chromium", &["--port", "0", "-o", "plain"]);
    let url = format!("http://{}/", demo.page());
    let folder = demo.scratch();
    let script = compat::script(name, "shop.sh");
    let output = Command::new("sh").args([&script, &url]).arg(folder).output().expect("every machine has a shell");
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), demo.log());
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["title"], "Ordered. Thank you!", "{said}");
    let given_by: Vec<&str> = said["rows"].as_array().into_iter().flatten().filter_map(|row| row[2].as_str()).collect();
    let services = ["orders", "user", "payment", "shipping", "rabbitmq, queue shipping-task"];
    assert_eq!(given_by, services.map(|service| format!("given by {service}")), "{said}");
    assert!(said["images"].as_array().is_some_and(|images| images.iter().all(|image| image == true)), "{said}");
}
