//! The stories' own stage, without the mesh: what it must be able to see before its silence means anything.

use std::time::Duration;

use minimesh_tests::apps::{Exchange, LoadPlan, LoadProtocol, Request};
use minimesh_tests::protocol::Status;
use minimesh_tests::wait;
use minimesh_tests::world::World;

#[test]
fn pods_reach_each_other_and_requests_are_compared_byte_for_byte() {
    let world = World::start("harness-requests");
    let (client, server) = (world.pod("client").unmeshed().start(), world.pod("server").unmeshed().start());
    let http = server.http_server(8080);
    let load = client.load(&LoadPlan {
        largest_body: 1 << 20,
        first_id: 1_000,
        protocols: vec![LoadProtocol::Grpc, LoadProtocol::Http10, LoadProtocol::Http11, LoadProtocol::Http2],
        requests_per_connection: Some(20),
        ..LoadPlan::new(server.port(8080), 500)
    });
    let (result, mut sent) = load.finish(Duration::from_secs(60));
    assert_eq!((result.succeeded, result.examples), (500, vec![]));
    let mut received = http.received();
    sent.sort();
    received.sort();
    assert_eq!(sent, received);
    assert_eq!(http.process.terminate(), Status::Exited(0));
}

#[test]
fn every_behaviour_of_byte_servers_is_seen() {
    let world = World::start("harness-bytes");
    let (client, server) = (world.pod("client").unmeshed().start(), world.pod("server").unmeshed().start());
    for (behaviour, port) in [("echo", 1), ("greet", 2), ("digest", 3), ("farewell", 4)] {
        let _process = server.tcp_server(behaviour, port);
        let exchange = Exchange {
            address: server.port(port),
            wait_for_greeting: behaviour == "greet",
            idle_millis: 50 * u64::from(behaviour == "echo"),
            send: 1 << 20,
            lines_first: usize::from(behaviour == "farewell"),
        };
        let result = client.exchange(&exchange);
        assert_eq!(result.error, None, "{behaviour}");
        match behaviour {
            "echo" => assert_eq!(result.received_sha256, result.sent_sha256),
            "greet" => assert_eq!((&*result.greeting, result.received), ("220 who are you\r\n", 1 << 20)),
            "digest" => assert_eq!(result.tail.trim(), result.sent_sha256),
            _ => assert_eq!(result.lines, ["bye\r\n"]),
        }
    }
}

#[test]
fn a_plaintext_marker_is_seen_by_the_capture() {
    let world = World::start("harness-capture");
    let (client, server) = (world.pod("client").unmeshed().start(), world.pod("server").unmeshed().start());
    let http = server.http_server(8080);
    let capture = world.run_app("capture", &["--marker", "PLAINTEXT-"]);
    wait::eventually("the capture is ready", || capture.output().contains("ready").then_some(()));
    let request = Request::get(server.port(8080), "/").header("x-id", 1).body("POST", "a PLAINTEXT-MARKER in a body");
    assert_eq!(client.request(&request).status, 200);
    wait::eventually("the marker is found", || capture.output().contains("found MARKER").then_some(()));
    assert_eq!(http.received().len(), 1);
}

#[test]
fn nothing_is_left_when_the_story_ends() {
    let world = World::start("harness-end");
    let pod = world.pod("pod").unmeshed().start();
    let _server = pod.http_server(8080);
    let marker = world.path("logs").display().to_string();
    drop(world_processes(&marker).expect("the server's command line names its log"));
    drop(world);
    assert_eq!(world_processes(&marker), None);
}

/// A process, in the namespace that the test itself is in, whose command line contains `marker`.
fn world_processes(marker: &str) -> Option<String> {
    let processes = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.find(|line| line.contains(marker))
}
