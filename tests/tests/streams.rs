//! Conversations that last outlive certificates, control planes, and every change that does not concern them.

use std::net::{Ipv4Addr, SocketAddr};

use minimesh_tests::apps::{Carrier, Exchange, Request, StreamResult};
use minimesh_tests::protocol::Status;
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{Pod, World};

const HTTP: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
const BYTES: Service<'_> =
    Service { name: "bytes", address: Ipv4Addr::new(10, 43, 0, 11), port: 7, target_port: 7, protocol: None };
/// Of the leaves at both ends, in the course of the story: leaves live for six seconds, so that every stream is carried by
/// connections whose first certificates have ended.
const RENEWALS: f64 = 5.0;

#[test]
fn long_streams_outlive_certificates_control_planes_and_changes_elsewhere() {
    let world = World::start("streams");
    let mut control_plane = world.control_plane(&["--leaf-lifetime", "6s"]);
    let (client, server) = (world.pod("client").start(&control_plane), world.pod("server").start(&control_plane));
    let _http = server.http_server(HTTP.target_port);
    let _bytes = server.tcp_server("echo", BYTES.target_port);
    world.serve(&HTTP, &[&server]);
    world.serve(&BYTES, &[&server]);
    wait::eventually("both Services are reached", || {
        let echo =
            Exchange { address: address(&BYTES), send: 1, wait_for_greeting: false, idle_millis: 0, lines_first: 0 };
        let http = client.request(&Request::get(address(&HTTP), "/")).status == 200;
        (http && client.exchange(&echo).error.is_none()).then_some(())
    });

    let carriers = [Carrier::Grpc, Carrier::Http1, Carrier::Http2, Carrier::Tcp, Carrier::Upgrade];
    let streams = carriers.map(|carrier| {
        let service = if carrier == Carrier::Tcp { &BYTES } else { &HTTP };
        (carrier, client.long_stream(address(service), carrier))
    });
    let mut round = 0;
    while renewed(&client) < RENEWALS || renewed(&server) < RENEWALS {
        world.manifest("route.yaml", &route(round));
        let other = world.pod(&format!("other-{round}")).start(&control_plane);
        let _http = other.http_server(HTTP.target_port);
        world.serve(&HTTP, &[&server, &other]);
        world.serve(&BYTES, &[&server, &other]);
        control_plane.kill();
        control_plane.start_again();
        world.serve(&HTTP, &[&server]);
        world.serve(&BYTES, &[&server]);
        other.mark_deleted();
        assert_eq!(other.proxy().terminate(), Status::Exited(0));
        other.unpublish();
        round += 1;
    }
    for (carrier, stream) in streams {
        let result: StreamResult = stream.finish();
        println!("{carrier:?}: {} messages in {round} rounds", result.received);
        assert_eq!((result.error, result.received), (None, result.sent), "{carrier:?}");
        assert!(result.sent > 100, "{carrier:?}: {} messages", result.sent);
    }
}

fn address(service: &Service<'_>) -> SocketAddr {
    (service.address, service.port).into()
}

/// How often its sidecar has had a new leaf, the first not counted.
fn renewed(pod: &Pod<'_>) -> f64 {
    wait::eventually("its sidecar answers", || {
        let renewals = pod.metric("control_identity_cert_refreshes_total", &[]) - 1.0;
        (renewals >= 0.0).then_some(renewals)
    })
}

/// Sends another path elsewhere than the streams', each time another one.
fn route(round: u32) -> String {
    HTTP.http_route(&format!(
        "  - matches: [{{path: {{type: PathPrefix, value: /other-{round}}}}}]
    filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-round, value: '{round}'}}]}}}}]
    backendRefs: [{{name: echo, port: 80}}]
  - backendRefs: [{{name: echo, port: 80}}]
"
    ))
}
