//! h2spec, all of it, against a sidecar: what HTTP/2 demands of a server, frame by frame.

use std::net::Ipv4Addr;
use std::time::Duration;

use minimesh_tests::apps::Request;
use minimesh_tests::compat::{Kit, Need, skip};
use minimesh_tests::wait;
use minimesh_tests::world::World;
use minimesh_tests::world::manifests::Service;

const SERVICE: Service<'_> = Service {
    name: "echo",
    address: Ipv4Addr::new(10, 43, 0, 10),
    port: 80,
    target_port: 8080,
    protocol: Some("http"),
};

/// Cases that fail, each with its reason in docs/protocols.md.
const KNOWN: [&str; 3] = [
    "2: Sends a WINDOW_UPDATE frame on half-closed (remote) stream",
    "3: Sends a PRIORITY frame on half-closed (remote) stream",
    "2: Sends invalid connection preface",
];

#[test]
fn every_case_of_h2spec_passes_or_is_explained() {
    if skip("h2spec", &[Need::Kit(Kit::Go)]) {
        return;
    }
    let world = World::start("compat-h2spec");
    let control_plane = world.control_plane(&[]);
    let (client, server) = (world.pod("client").start(&control_plane), world.pod("server").start(&control_plane));
    let _http = server.http_server(SERVICE.target_port);
    world.serve(&SERVICE, &[&server]);
    let address = (SERVICE.address, SERVICE.port).into();
    wait::eventually("the Service is reached", || {
        (client.request(&Request::get(address, "/")).status == 200).then_some(())
    });
    let program = Kit::Go.program("h2spec");
    let (host, port) = (SERVICE.address.to_string(), SERVICE.port.to_string());
    let run = client.spawn("h2spec", &[&program, "--host", &host, "--port", &port, "--timeout", "5"]);
    // it says by its status whether anything failed: what failed is in what it prints
    run.wait_within(Duration::from_secs(300));
    let said = run.output();
    let failed = failures(&said);
    let summary = said.lines().find(|line| line.contains(" tests, ")).unwrap_or_else(|| panic!("no summary: {said}"));
    println!("h2spec: {summary}");
    assert_eq!(failed, KNOWN, "{said}");
}

/// Titles of the cases in the list that h2spec prints at its end.
fn failures(said: &str) -> Vec<&str> {
    let (_, list) = said.rsplit_once("Failures:").unwrap_or(("", ""));
    list.lines().filter_map(|line| line.trim_start().strip_prefix("× ")).collect()
}
