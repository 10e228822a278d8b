//! Who is let in by which policy, and what those who are not get.

use prometheus_client::registry::Registry;

use super::*;
use crate::metrics::Exposition;

#[tokio::test(flavor = "local")]
async fn a_strict_port_refuses_plaintext_and_serves_the_mesh() {
    let mesh = Mesh::new();
    let server = mesh.server_with("catalogue", echo().await, DefaultPolicy::AllAuthenticated);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);

    let response = direct(&server).await.get().await;
    assert!(response.starts_with("HTTP/1.1 403 ") && response.contains("minimesh-error: policy_denied"), "{response}");
    for bytes in [&b"\0\0\0"[..], b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"] {
        let mut client = direct(&server).await;
        client.send(bytes).await;
        assert!(client.is_reset().await);
    }
    assert!(mesh.connect().await.get().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "local")]
async fn a_permissive_port_serves_plaintext_without_an_identity() {
    let (_mesh, server) = one_server().await;
    let response = direct(&server).await.ask("GET / HTTP/1.1\r\nHost: a\r\nl5d-client-id: admin\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 ") && !response.contains("l5d-client-id"), "{response}");
}

/// An application that answers bytes with the same bytes, and counts its connections.
async fn bytes() -> (SocketAddr, Rc<Cell<usize>>) {
    let (seen, count) = counter();
    let app = app(move |mut peer| {
        seen.set(seen.get() + 1);
        async move {
            while let Some(byte) = peer.exactly(1).await {
                peer.send(&byte).await;
            }
        }
    })
    .await;
    (app, count)
}

fn set(server: &Server, policy: DefaultPolicy) {
    server.proxy.control.port(server.app.port(), PortPolicy { protocol: Protocol::Detect, policy });
}

/// Clients of the tests, which come from loopback, are inside or outside the cluster's networks.
fn networks(server: &Server, inside: bool) {
    let network = if inside { "127.0.0.0/8" } else { "10.0.0.0/8" };
    let cluster_networks = vec![network.parse().expect("network")];
    server.proxy.control.workload(Workload { cluster_networks, ..server.proxy.own() });
}

/// Whether HTTP is let in; if not, it must be told.
async fn http(mut client: Client) -> bool {
    let response = client.get().await;
    let refused = response.starts_with("HTTP/1.1 403 ") && response.contains("minimesh-error: policy_denied");
    assert!(refused || response.starts_with("HTTP/1.1 200 "), "{response}");
    !refused
}

/// Whether bytes are let in; if not, an RST must say so.
async fn raw(mut client: Client) -> bool {
    client.send(b"\0").await;
    let echoed = client.exactly(1).await.is_some();
    assert!(echoed || client.tcp.read_u8().await.is_err());
    echoed
}

#[tokio::test(flavor = "local")]
async fn the_six_policies_for_every_client_and_protocol() {
    use DefaultPolicy::*;
    // meshed, meshed from outside the cluster, without identity, without identity from outside
    for (policy, expected) in [
        (AllAuthenticated, [true, true, false, false]),
        (AllUnauthenticated, [true, true, true, true]),
        (Audit, [true, true, true, true]),
        (ClusterAuthenticated, [true, false, false, false]),
        (ClusterUnauthenticated, [true, false, true, false]),
        (Deny, [false, false, false, false]),
    ] {
        let mesh = Mesh::new();
        let server = mesh.server_with("catalogue", echo().await, policy);
        let (app, dialled) = bytes().await;
        let opaque = mesh.server_with("catalogue", app, policy);
        let mut found = Vec::new();
        for (meshed, inside) in [(true, true), (true, false), (false, true), (false, false)] {
            networks(&server, inside);
            networks(&opaque, inside);
            mesh.service(Protocol::Http1, vec![server.endpoint()]);
            let by_http = http(if meshed { mesh.connect().await } else { direct(&server).await }).await;
            mesh.service(Protocol::Opaque, vec![opaque.endpoint()]);
            let before = dialled.get();
            let by_bytes = raw(if meshed { mesh.connect().await } else { direct(&opaque).await }).await;
            assert_eq!(by_http, by_bytes, "{policy:?} {meshed} {inside}");
            assert_eq!(
                by_bytes,
                dialled.get() > before,
                "{policy:?}: the application is dialled only for who is let in"
            );
            found.push(by_http);
        }
        assert_eq!(found, expected, "{policy:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_port_that_turns_strict_closes_open_plaintext() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", bytes().await.0);
    let mut opaque = direct(&server).await;
    opaque.send(b"\0").await;
    assert_eq!(opaque.exactly(1).await.as_deref(), Some(&b"\0"[..]));
    // an answer that never ends, and a connection that waits for its next request
    let endless = mesh.server("catalogue", canned(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await);
    let mut streaming = direct(&endless).await;
    streaming.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(streaming.head().await.is_some());
    let served = mesh.server("catalogue", echo().await);
    let mut idle = direct(&served).await;
    idle.get().await;
    for server in [&server, &endless, &served] {
        set(server, DefaultPolicy::AllAuthenticated);
    }
    assert!(opaque.is_reset().await);
    assert!(streaming.is_reset().await);
    assert_eq!(idle.rest().await, b"");
    let text = scrape(&server.proxy.metrics);
    assert!(
        text.lines().any(|line| line.starts_with("inbound_tcp_authz_terminate_total{") && line.ends_with(" 1")),
        "{text}"
    );
}

#[tokio::test(flavor = "local")]
async fn requests_after_a_turn_are_judged_and_counted_by_the_new_policy() {
    let (mesh, server) = one_server().await;
    let mut client = mesh.connect().await;
    client.get().await;
    set(&server, DefaultPolicy::AllAuthenticated);
    client.get().await;
    set(&server, DefaultPolicy::Deny);
    assert!(!http(mesh.connect().await).await);
    let text = scrape(&server.proxy.metrics);
    for (family, policy) in [
        ("inbound_http_authz_allow_total", "srv_name=\"all-unauthenticated\""),
        ("inbound_http_authz_allow_total", "authz_name=\"all-authenticated\""),
        ("inbound_http_authz_deny_total", "srv_name=\"deny\""),
    ] {
        let series = |line: &&str| line.starts_with(family) && line.contains(policy) && line.ends_with(" 1");
        assert!(text.lines().any(|line| series(&line)), "{family} {policy}\n{text}");
    }
}

#[tokio::test(flavor = "local")]
async fn audit_lets_in_and_counts_what_deny_would_refuse() {
    let mesh = Mesh::new();
    let server = mesh.server_with("catalogue", echo().await, DefaultPolicy::Audit);
    let mut client = direct(&server).await;
    client.get().await;
    client.get().await;
    let opaque = mesh.server_with("catalogue", bytes().await.0, DefaultPolicy::Audit);
    assert!(raw(direct(&opaque).await).await);
    for (server, count) in [(&server, 2), (&opaque, 1)] {
        let text = scrape(&server.proxy.metrics);
        let found: Vec<&str> =
            text.lines().filter(|line| line.starts_with("minimesh_inbound_audited_total{")).collect();
        assert!(found.len() == 1 && found[0].ends_with(&format!(" {count}")), "{found:?}");
        assert!(found[0].contains("no_tls_reason=\"no_tls_from_remote\""), "{found:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_port_for_http_alone_refuses_bytes_whatever_they_are_claimed_to_be() {
    let mesh = Mesh::new();
    let (app, dialled) = bytes().await;
    let server = mesh.server("catalogue", app);
    let policy = DefaultPolicy::AllUnauthenticated;
    server.proxy.control.port(app.port(), PortPolicy { protocol: Protocol::Http1, policy });
    mesh.service(Protocol::Opaque, vec![server.endpoint()]);
    assert!(!raw(mesh.connect().await).await);
    assert_eq!(dialled.get(), 0);
    assert!(!raw(direct(&server).await).await);
    let text = scrape(&server.proxy.metrics);
    assert!(text.contains("minimesh_inbound_refused_total{reason=\"raw_on_http\"} 2"), "{text}");
}

#[tokio::test(flavor = "local")]
async fn a_client_that_is_slow_to_speak_reaches_a_port_for_http_by_the_pods_address() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", echo().await);
    let policy = DefaultPolicy::AllUnauthenticated;
    server.proxy.control.port(server.app.port(), PortPolicy { protocol: Protocol::Http1, policy });
    // of a pod's address nothing is declared
    mesh.client.control.target(SERVICE.parse().expect("address"), TargetSnapshot::Endpoint(server.endpoint()));
    let mut client = mesh.connect().await;
    // the client's proxy has lost patience, and opened a connection for bytes
    let shaken =
        |line: &str| line.starts_with("minimesh_handshakes_total{direction=\"inbound\"") && line.ends_with(" 1");
    while !scrape(&server.proxy.metrics).lines().any(shaken) {
        tokio::task::yield_now().await;
    }
    assert!(http(client).await);
    client = mesh.connect().await;
    client.send(b"\0").await;
    assert!(client.is_reset().await, "bytes are refused all the same");
    let text = scrape(&server.proxy.metrics);
    assert!(text.contains("minimesh_inbound_refused_total{reason=\"raw_on_http\"} 1"), "{text}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn half_a_word_at_a_port_for_http_is_http_that_comes_slowly() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", echo().await);
    let policy = DefaultPolicy::AllUnauthenticated;
    server.proxy.control.port(server.app.port(), PortPolicy { protocol: Protocol::Http1, policy });
    let mut client = direct(&server).await;
    client.send(b"GE").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(client.ask("T / HTTP/1.1\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "local")]
async fn the_node_may_ask_what_the_pods_spec_has_it_ask_and_nothing_else() {
    for policy in [DefaultPolicy::AllAuthenticated, DefaultPolicy::ClusterAuthenticated, DefaultPolicy::Deny] {
        let mesh = Mesh::new();
        let server = mesh.server_with("catalogue", echo().await, policy);
        let probe = HttpProbe { port: server.app.port(), path: "/health".into(), query: "".into() };
        let own = Workload { probes: vec![probe], ..server.proxy.own() };
        server.proxy.control.workload(own.clone());
        let ask = async |request: &str| {
            let response = direct(&server).await.ask(&format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            response[9..12].to_owned()
        };
        assert_eq!(ask("GET /health").await, "403", "not from elsewhere");
        server.proxy.control.workload(Workload { node_ips: vec![std::net::Ipv4Addr::LOCALHOST.into()], ..own });
        for (request, expected) in [
            ("GET /health", "200"),
            ("GET /health?full", "403"),
            ("GET /health/", "403"),
            ("GET /", "403"),
            ("POST /health", "403"),
        ] {
            assert_eq!(ask(request).await, expected, "{policy:?}: {request}");
        }
        let upgrade = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        assert!(direct(&server).await.ask(upgrade).await.starts_with("HTTP/1.1 403 "));
        let mut kept = direct(&server).await;
        assert!(kept.ask("GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        assert!(kept.rest().await.is_empty(), "one request, and nothing else on that connection");
        let mut bytes = direct(&server).await;
        bytes.send(b"\0").await;
        assert!(bytes.is_reset().await);
    }
}

#[tokio::test(flavor = "local")]
async fn who_is_refused_is_told_in_the_form_that_was_asked_for() {
    let mesh = Mesh::new();
    let server = mesh.server_with("catalogue", echo().await, DefaultPolicy::Deny);
    let response = direct(&server).await.get().await;
    assert!(response.contains("application/problem+json") && response.contains("\"policy_denied\""), "{response}");
    let response = direct(&server).await.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n").await;
    assert!(response.to_ascii_lowercase().contains("content-type: text/plain"), "{response}");
    let mut client = direct(&server).await;
    client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.is_some_and(|head| head.starts_with("HTTP/1.1 403 ")));
    assert_eq!(client.rest().await, b"");
}

pub(super) fn scrape(metrics: &Arc<Metrics>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(Arc::clone(metrics))));
    minimesh_runtime::metrics::encode(&registry).expect("text")
}
