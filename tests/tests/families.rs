//! IPv6: pods with both families, with IPv6 alone, and where it is switched off.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use minimesh_tests::apps::{Exchange, Request};
use minimesh_tests::protocol::Families;
use minimesh_tests::wait;
use minimesh_tests::world::World;
use minimesh_tests::world::manifests::Service;

const HTTP: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
const BYTES: Service<'_> =
    Service { name: "bytes", address: Ipv4Addr::new(10, 43, 0, 11), port: 7, target_port: 7, protocol: None };
const NETWORKS: [&str; 2] = ["--cluster-networks", "10.42.0.0/16,10.43.0.0/16,fd00:42::/64,fd00:43::/112"];

#[test]
fn both_families_are_carried_with_mutual_tls() {
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        return println!("\nskipped: both families: this kernel has no IPv6");
    }
    let world = World::start("families");
    let control_plane = world.control_plane(&NETWORKS);
    let both = world.pod("both").families(Families::Dual).start(&control_plane);
    let v6 = world.pod("v6").families(Families::V6).start(&control_plane);
    let server = world.pod("server").families(Families::Dual).start(&control_plane);
    let http = server.http_server(HTTP.target_port);
    let _bytes = server.tcp_server("echo", BYTES.target_port);
    for service in [HTTP, BYTES] {
        world.serve(&service, &[&server]);
    }

    for (client, families) in [(&both, &[false, true][..]), (&v6, &[true])] {
        for &six in families {
            let target = |service: &Service<'_>| address(service, six);
            wait::eventually("the Service is reached", || {
                (client.request(&Request::get(target(&HTTP), "/")).status == 200).then_some(())
            });
            let exchange = Exchange {
                address: target(&BYTES),
                wait_for_greeting: false,
                idle_millis: 0,
                send: 1 << 20,
                lines_first: 0,
            };
            let result = client.exchange(&exchange);
            assert_eq!((result.error, result.received), (None, 1 << 20), "{}, IPv6: {six}", client.name());
        }
        // the pod's own address as well
        let direct = if client.name() == "v6" { IpAddr::V6(server.address6()) } else { server.address().into() };
        let response = client.request(&Request::get((direct, HTTP.target_port).into(), "/"));
        assert_eq!(response.status, 200);
        let plain = client.metric("request_total", &[("direction", "outbound"), ("tls", "no_identity")]);
        let secured = client.metric("request_total", &[("direction", "outbound"), ("tls", "true")]);
        assert!(plain == 0.0 && secured >= families.len() as f64 + 1.0, "{}: {plain}, {secured}", client.name());
        let opaque = client.metric("tcp_open_total", &[("direction", "outbound"), ("peer", "dst"), ("tls", "true")]);
        assert!(opaque >= families.len() as f64, "{}: {opaque}", client.name());
    }
    let sent = v6.request(&Request::get(address(&HTTP, true), "/").header("x-id", 1));
    assert_eq!((sent.status, http.received().len()), (200, 1));
    // a proxy's own port is nobody's destination
    let inbound = SocketAddr::from((server.address6(), 4143));
    assert_eq!(v6.request(&Request::get(inbound, "/")).status, 502);
}

#[test]
fn a_pod_without_ipv6_is_meshed_all_the_same() {
    let world = World::start("families-v4-alone");
    let control_plane = world.control_plane(&NETWORKS);
    let [client, server] =
        ["client", "server"].map(|name| world.pod(name).families(Families::V4Alone).start(&control_plane));
    let _http = server.http_server(HTTP.target_port);
    world.serve(&HTTP, &[&server]);
    wait::eventually("the Service is reached", || {
        (client.request(&Request::get(address(&HTTP, false), "/")).status == 200).then_some(())
    });
    assert!(client.metric("request_total", &[("direction", "outbound"), ("tls", "true")]) >= 1.0);
}

/// A Service's address of one family.
fn address(service: &Service<'_>, six: bool) -> SocketAddr {
    let ip = if six { service.address6().into() } else { service.address.into() };
    SocketAddr::new(ip, service.port)
}
