//! The six inbound policies, for every kind of client, with real addresses.

use std::net::Ipv4Addr;

use minimesh_tests::apps::{Exchange, ExchangeResult, Request};
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{Pod, World};

/// Pods are numbered upwards, so that the later ones are outside of it.
const NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 42, 0, 0), 28);

/// Policy; whether a meshed client, one without identity, and one without identity from outside the cluster is let in.
const TABLE: [(&str, [bool; 3]); 6] = [
    ("all-authenticated", [true, false, false]),
    ("all-unauthenticated", [true, true, true]),
    ("audit", [true, true, true]),
    ("cluster-authenticated", [true, false, false]),
    ("cluster-unauthenticated", [true, true, false]),
    ("deny", [false, false, false]),
];

const HTTP: u16 = 8000;
const BYTES: u16 = 7000;

#[test]
fn the_six_policies_for_every_client_and_protocol() {
    let world = World::start("policy-table");
    let control_plane = world.control_plane(&["--cluster-networks", &format!("{}/{}", NETWORK.0, NETWORK.1)]);
    let server = world.pod("server").annotation("minimesh.io/port-inbound-policies", &annotation());
    let server = server.start(&control_plane);
    let clients =
        [world.pod("meshed").start(&control_plane), world.pod("stranger").unmeshed().start(), outside(&world)];
    for (number, (policy, expected)) in (1..).zip(TABLE) {
        let log = server.http_server(HTTP + number);
        let bytes = server.tcp_server("echo", BYTES + number);
        let by_http = [0, 1, 2].map(|client| asks(&clients[client], &server, HTTP + number, client));
        assert_eq!(by_http, expected, "{policy}, HTTP");
        let by_bytes = [0, 1, 2].map(|client| echoes(&clients[client], &server, BYTES + number));
        assert_eq!(by_bytes, expected, "{policy}, bytes");

        let let_in = expected.iter().filter(|let_in| **let_in).count();
        assert_eq!(log.received().len(), let_in, "{policy}: what is refused never reaches the application");
        bytes.expect_running();
        for (family, protocol, count) in [
            ("inbound_http_authz_allow_total", "http", let_in),
            ("inbound_http_authz_deny_total", "http", 3 - let_in),
            ("inbound_tcp_authz_allow_total", "tcp", let_in),
            ("inbound_tcp_authz_deny_total", "tcp", 3 - let_in),
            ("minimesh_inbound_audited_total", "http", if policy == "audit" { 3 } else { 0 }),
            ("minimesh_inbound_audited_total", "tcp", if policy == "audit" { 3 } else { 0 }),
        ] {
            let found = server.metric(family, &[("srv_name", policy), ("protocol", protocol)]);
            assert_eq!(found, count as f64, "{policy}: {family}");
        }
    }
}

#[test]
fn the_clusters_default_holds_unless_a_pod_says_otherwise_and_a_declared_port_takes_nothing_but_http() {
    let world = World::start("policy-default");
    let control_plane = world.control_plane(&["--default-inbound-policy", "all-authenticated"]);
    let (client, stranger) = (world.pod("client").start(&control_plane), world.pod("stranger").unmeshed().start());
    let strict = world.pod("strict").start(&control_plane);
    let open = world.pod("open").annotation("config.linkerd.io/default-inbound-policy", "all-unauthenticated");
    let open = open.start(&control_plane);
    let _servers = [&strict, &open].map(|pod| pod.http_server(HTTP));
    assert!(asks(&client, &strict, HTTP, 0) && asks(&client, &open, HTTP, 0));
    assert!(!asks(&stranger, &strict, HTTP, 0) && asks(&stranger, &open, HTTP, 0));

    // declared by a Service that is not dialled
    let address = Ipv4Addr::new(10, 43, 0, 10);
    let service = Service { name: "open", address, port: 80, target_port: HTTP, protocol: Some("http") };
    world.serve(&service, &[&open]);
    let refused = || open.metric("minimesh_inbound_refused_total", &[("reason", "raw_on_http")]);
    wait::eventually("the declaration is in force", || {
        bytes(&client, &open, HTTP);
        (refused() >= 1.0).then_some(())
    });
    assert_eq!([&client, &stranger].map(|client| echoes(client, &open, HTTP)), [false; 2]);
    assert!(asks(&client, &open, HTTP, 0) && asks(&stranger, &open, HTTP, 0));
}

/// Every policy on a port for HTTP and on one for bytes.
fn annotation() -> String {
    let entry =
        |(number, (policy, _)): (u16, &(&str, _))| format!("{}={policy}, {}={policy}", HTTP + number, BYTES + number);
    (1..).zip(&TABLE).map(entry).collect::<Vec<_>>().join(", ")
}

/// The first pod beyond the cluster's network.
fn outside(world: &World) -> Pod<'_> {
    let mask = u32::MAX << (32 - NETWORK.1);
    let inside = |address: Ipv4Addr| u32::from(address) & mask == u32::from(NETWORK.0);
    let mut pods = (0..).map(|number| world.pod(&format!("far-{number}")).unmeshed().start());
    pods.find(|pod| !inside(pod.address())).expect("there is no end of pods")
}

/// Whether a request is let in; if not, it must be told so.
fn asks(client: &Pod<'_>, server: &Pod<'_>, port: u16, id: usize) -> bool {
    let response = client.request(&Request::get(server.port(port), "/").header("x-id", id as u64));
    match response.verdict() {
        (200, None) => true,
        (403, Some("policy_denied")) => false,
        other => panic!("{other:?}"),
    }
}

/// Whether bytes are let in; if not, an RST must say so.
fn echoes(client: &Pod<'_>, server: &Pod<'_>, port: u16) -> bool {
    let result = bytes(client, server, port);
    assert_eq!(result.error.is_some(), result.received == 0, "{result:?}");
    result.received == 100
}

/// Sends a few, and reads to the end.
fn bytes(client: &Pod<'_>, server: &Pod<'_>, port: u16) -> ExchangeResult {
    let address = server.port(port);
    client.exchange(&Exchange { address, wait_for_greeting: false, idle_millis: 0, send: 100, lines_first: 0 })
}
