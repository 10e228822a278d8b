//! Bytes that are not HTTP: both ways, with half-closed connections, with servers that speak first and clients that do not
//! speak for long.

use std::net::Ipv4Addr;

use minimesh_tests::apps::{Exchange, ExchangeResult};
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{Pod, World};

const SIZE: u64 = 20 << 20;

#[test]
fn bytes_pass_both_ways_and_each_direction_ends_by_itself() {
    story("opaque-bytes", "echo", |client, service| {
        let result = exchange(client, service, |exchange| exchange.send = SIZE);
        assert_eq!((result.received, &result.received_sha256), (SIZE, &result.sent_sha256));
    });
    story("opaque-client-ends-first", "digest", |client, service| {
        let result = exchange(client, service, |exchange| exchange.send = SIZE);
        assert_eq!(result.tail.trim(), result.sent_sha256);
    });
}

#[test]
fn a_server_that_ends_first_still_hears_the_client() {
    let world = World::start("opaque-server-ends-first");
    let control_plane = world.control_plane(&[]);
    let (client, server) = (world.pod("client").start(&control_plane), world.pod("server").start(&control_plane));
    let process = server.tcp_server("farewell", SERVICE.target_port);
    world.serve(&SERVICE, &[&server]);
    known(&client);
    let result = exchange(&client, &SERVICE, |exchange| (exchange.send, exchange.lines_first) = (SIZE, 1));
    assert_eq!(result.lines, ["bye\r\n"]);
    // the first byte was read before the farewell
    let rest = "after farewell ";
    wait::eventually("the server has heard everything", || process.output().contains(rest).then_some(()));
}

#[test]
fn a_server_may_speak_first_and_a_client_may_be_silent() {
    story("opaque-server-speaks-first", "greet", |client, service| {
        for _ in 0..2 {
            let result =
                exchange(client, service, |exchange| (exchange.wait_for_greeting, exchange.send) = (true, SIZE));
            assert_eq!(result.greeting, "220 who are you\r\n");
            assert_eq!((result.received, &result.received_sha256), (SIZE, &result.sent_sha256));
        }
    });
    story("opaque-idle-client", "echo", |client, service| {
        let result = exchange(client, service, |exchange| (exchange.idle_millis, exchange.send) = (3_000, 100));
        assert_eq!(result.received_sha256, result.sent_sha256);
    });
}

const SERVICE: Service<'_> =
    Service { name: "bytes", address: Ipv4Addr::new(10, 43, 0, 10), port: 1000, target_port: 2000, protocol: None };

/// A client, a server of bytes behind a Service, and what happens between them; all of it encrypted.
fn story(name: &str, behaviour: &str, happens: impl FnOnce(&Pod<'_>, &Service<'_>)) {
    let world = World::start(name);
    let control_plane = world.control_plane(&[]);
    let (client, server) = (world.pod("client").start(&control_plane), world.pod("server").start(&control_plane));
    let _process = server.tcp_server(behaviour, SERVICE.target_port);
    world.serve(&SERVICE, &[&server]);
    known(&client);
    happens(&client, &SERVICE);
    let secured = client.metric("tcp_open_total", &[("direction", "outbound"), ("peer", "dst"), ("tls", "true")]);
    assert!(secured >= 1.0, "nothing went out encrypted");
}

/// Waits until the sidecar has been told of the Service.
fn known(client: &Pod<'_>) {
    wait::eventually("the Service is reached", || {
        let probe =
            Exchange { address: address(&SERVICE), wait_for_greeting: false, idle_millis: 0, send: 1, lines_first: 0 };
        let result = client.exchange(&probe);
        (result.error.is_none() && result.received > 0).then_some(())
    });
}

fn exchange(client: &Pod<'_>, service: &Service<'_>, change: impl FnOnce(&mut Exchange)) -> ExchangeResult {
    let mut exchange =
        Exchange { address: address(service), wait_for_greeting: false, idle_millis: 0, send: 0, lines_first: 0 };
    change(&mut exchange);
    let result = client.exchange(&exchange);
    assert_eq!(result.error, None, "{result:?}");
    result
}

fn address(service: &Service<'_>) -> std::net::SocketAddr {
    (service.address, service.port).into()
}
