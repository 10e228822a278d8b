//! Who the other end is, and what those get who are somebody else.

use minimesh_api::model::Security;

use super::*;

#[tokio::test(flavor = "local")]
async fn the_wrong_identity_gets_nothing() {
    let (mesh, server) = one_server().await;
    mesh.endpoints(vec![server.endpoint_as(&id("payment"))]);
    let response = mesh.connect().await.get().await;
    assert!(response.contains("minimesh-error: tls_identity_mismatch"), "{response}");
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    assert!(server.proxy.metrics.reports().iter().all(|report| report.requests == 0));
}

#[tokio::test(flavor = "local")]
async fn a_client_of_a_foreign_authority_is_refused_by_the_server() {
    let (mesh, _server) = one_server().await;
    let foreign = Authority::create(DOMAIN).expect("authority");
    mesh.client.control.credentials(mesh.credentials(&foreign, &mesh.client.identity, Duration::from_secs(60)));
    let response = mesh.connect().await.get().await;
    assert!(response.contains("minimesh-error: tls_unknown_issuer"), "{response}");
}

#[tokio::test(flavor = "local")]
async fn a_meshed_endpoint_without_tls_gets_nothing() {
    let mesh = Mesh::new();
    let (seen, count) = counter();
    let app = app(move |mut peer| {
        let seen = Rc::clone(&seen);
        async move {
            if let Some(hello) = peer.exactly(1).await {
                assert_eq!(hello, [0x16], "a ClientHello and nothing else");
                seen.set(seen.get() + 1);
            }
        }
    })
    .await;
    let endpoint = endpoint(app, Transport::MutualTls { identity: id("catalogue").as_str().into() });
    mesh.service(Protocol::Detect, vec![endpoint]);
    assert!(mesh.connect().await.get().await.contains("minimesh-error: tls_handshake_failed"));
    assert!(count.get() > 0);
}

#[tokio::test(flavor = "local")]
async fn a_meshed_endpoint_that_speaks_without_tls_is_refused() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        // a database's greeting where a ServerHello is awaited
        peer.send(b"\x4a\0\0\0\x0a5.5.5-10.11.14-MariaDB\0and more that is no TLS record").await;
        peer.rest().await;
    })
    .await;
    let endpoint = endpoint(app, Transport::MutualTls { identity: id("catalogue").as_str().into() });
    mesh.service(Protocol::Detect, vec![endpoint]);
    let response = mesh.connect().await.get().await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
}

/// Who came, as every edge that carried something names it.
fn peers(metrics: &Metrics) -> Vec<String> {
    let reports = metrics.reports().into_iter().filter(|report| report.tcp_opened > 0);
    reports
        .map(|report| match report.key.security {
            Security::None(reason) => reason.to_string(),
            Security::Verified(identity) => identity.to_string(),
        })
        .collect()
}

#[tokio::test(flavor = "local")]
async fn plaintext_from_the_nodes_address_is_the_nodes_and_a_strangers_from_elsewhere() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", echo().await);
    direct(&server).await.get().await;
    assert_eq!(peers(&server.proxy.metrics), ["no_tls_from_remote"]);

    let server = mesh.server("catalogue", echo().await);
    server.proxy.on_this_node();
    direct(&server).await.get().await;
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    mesh.connect().await.get().await;
    let identity = id("front-end").to_string();
    assert_eq!(peers(&server.proxy.metrics), ["node", &identity], "a proven identity says more than an address");
}

#[tokio::test(flavor = "local")]
async fn nobody_passes_for_the_node_before_it_is_known_where_that_is() {
    let app = echo().await;
    let origin = Origin::Fixed { outbound: app, inbound: app };
    let (proxy, mut config) = Proxy::prepare(Direction::Inbound, origin, id("a"), DefaultPolicy::AllUnauthenticated);
    let (control, ends) = ControlHandle::new(Arc::clone(&proxy.metrics), Arc::from([]));
    // nothing will ever come, and nobody waits for it
    drop(ends);
    config.control = control;
    tokio::task::spawn_local(run(config));
    let mut client = Client { tcp: TcpStream::connect(proxy.address).await.expect("listener"), left: Vec::new() };
    assert!(client.get().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(peers(&proxy.metrics), ["no_tls_from_remote"]);
}
