//! Connections that are not HTTP, and finding that out.

use super::*;

async fn greeter() -> SocketAddr {
    app(|mut peer| async move {
        peer.send(b"220 hello\r\n").await;
        while let Some(line) = peer.read_until(|bytes| Some(bytes.iter().position(|byte| *byte == b'\n')? + 1)).await {
            peer.send(&line).await;
        }
        peer.send(b"bye").await;
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn a_server_that_speaks_first_is_heard() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue-db", greeter().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    for _ in 0..3 {
        let mut client = mesh.connect().await;
        assert_eq!(client.exactly(11).await.as_deref(), Some(&b"220 hello\r\n"[..]));
        client.send(b"line\n").await;
        assert_eq!(client.exactly(5).await.as_deref(), Some(&b"line\n"[..]));
        // half-close is kept: the server still says goodbye
        client.tcp.shutdown().await.expect("shutdown");
        assert_eq!(client.rest().await, b"bye");
    }
}

#[tokio::test(flavor = "local")]
async fn a_silent_client_that_turns_out_to_speak_http_is_served_as_http() {
    let (mesh, server) = one_server().await;
    let mut client = mesh.connect().await;
    // long enough for the early connection to be there
    tokio::time::timeout(Duration::from_millis(30), client.exactly(1)).await.expect_err("nobody speaks");
    assert!(client.get().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(server.proxy.edge().requests, 1);
}

#[tokio::test(flavor = "local")]
async fn a_silent_client_is_not_turned_away_because_one_application_is_gone() {
    let mesh = Mesh::new();
    // a port that nobody listens on any more
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address");
    let servers = [mesh.server("catalogue-db", gone), mesh.server("catalogue-db", greeter().await)];
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    for _ in 0..10 {
        let mut client = mesh.connect().await;
        assert_eq!(client.exactly(11).await.as_deref(), Some(&b"220 hello\r\n"[..]));
    }
}

#[tokio::test(flavor = "local")]
async fn opaque_bytes_pass_unchanged_and_resets_are_passed_on() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        let mut bytes = peer.exactly(1_000_000).await.expect("all");
        bytes.reverse();
        peer.send(&bytes).await;
        // an RST overtakes what is still in flight
        peer.exactly(1).await;
        peer.tcp.set_zero_linger().expect("linger");
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    let mut bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n / 3) as u8).collect();
    bytes[0] = 0;
    client.send(&bytes).await;
    bytes.reverse();
    assert!(client.exactly(1_000_000).await == Some(bytes));
    client.send(b"x").await;
    assert!(client.is_reset().await);
}

#[tokio::test(flavor = "local")]
async fn nobody_listening_is_an_rst_at_once() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", nobody().await);
    for endpoint in [unmeshed(nobody().await), server.endpoint()] {
        mesh.service(Protocol::Detect, vec![endpoint.clone()]);
        assert!(mesh.connect().await.is_reset().await, "silent client, {endpoint:?}");
        mesh.service(Protocol::Opaque, vec![endpoint]);
        let mut client = mesh.connect().await;
        client.send(b"\0\0\0").await;
        assert!(client.is_reset().await);
    }
}

#[tokio::test(flavor = "local")]
async fn the_applications_own_tls_travels_inside_the_meshs() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        let hello = peer.exactly(8).await.expect("hello");
        assert_eq!(hello, b"\x16\x03\x01\x02\x00\x01\x00\x01");
        peer.send(b"\x16\x03\x03").await;
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01").await;
    assert_eq!(client.rest().await, b"\x16\x03\x03");
    let report = server.proxy.metrics.reports();
    assert!(report.iter().any(|report| report.bytes_read == 8 && report.bytes_written == 3), "{report:#?}");
}

#[tokio::test(flavor = "local")]
async fn an_address_outside_the_cluster_is_passed_through() {
    let mesh = Mesh::new();
    let address = greeter().await;
    let origin = Origin::Fixed { outbound: address, inbound: address };
    let policy = DefaultPolicy::AllUnauthenticated;
    let proxy = Proxy::start(Direction::Outbound, origin, id("front-end"), policy, &mesh.observe);
    let tcp = TcpStream::connect(proxy.address).await.expect("listener");
    let mut client = Client { tcp, left: Vec::new() };
    assert_eq!(client.exactly(11).await.as_deref(), Some(&b"220 hello\r\n"[..]));
    drop(mesh);
}

/// A ClientHello as an application would send it, for a name.
pub(super) fn client_hello(name: &str) -> Vec<u8> {
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = name.to_owned().try_into().expect("a name");
    let mut hello = Vec::new();
    rustls::ClientConnection::new(Arc::new(config), name).expect("a client").write_tls(&mut hello).expect("memory");
    hello
}

#[tokio::test(flavor = "local")]
async fn a_client_hello_in_many_segments_passes_meshed_or_not() {
    let hello = client_hello("shop.example.com");
    assert_eq!(crate::detect::server_name(&hello).as_deref(), Some("shop.example.com"));
    let (mesh, size) = (Mesh::new(), hello.len());
    let app = app(move |mut peer| async move {
        let hello = peer.exactly(size).await.expect("hello");
        peer.send(&hello).await;
    })
    .await;
    let server = mesh.server("catalogue", app);
    for endpoint in [server.endpoint(), unmeshed(app)] {
        mesh.service(Protocol::Detect, vec![endpoint]);
        let mut client = mesh.connect().await;
        for piece in hello.chunks(size / 7) {
            client.send(piece).await;
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
        }
        assert!(client.rest().await == hello);
    }
}

#[tokio::test(flavor = "local")]
async fn what_only_looks_like_a_client_hello_passes_as_bytes() {
    let (mesh, _server) = one_byte_echo().await;
    for bytes in
        [&b"\x16\x03\x01\x00\x00\x01\x00\x00\x00"[..], b"\x16\x03\x01\xff", b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00"]
    {
        let mut client = mesh.connect().await;
        client.send(bytes).await;
        assert_eq!(client.exactly(bytes.len()).await.as_deref(), Some(bytes));
    }
}

async fn one_byte_echo() -> (Mesh, Server) {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        while let Some(byte) = peer.exactly(1).await {
            peer.send(&byte).await;
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    (mesh, server)
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn half_a_word_is_passed_on_when_nothing_follows() {
    let (mesh, server) = one_byte_echo().await;
    for word in [&b"HELLO"[..], b"\x16\x03\x01\x00\x50\x01\x00\x00\x4c\x03"] {
        let mut client = mesh.connect().await;
        client.send(word).await;
        assert_eq!(client.exactly(word.len()).await.as_deref(), Some(word));
        // and from a client without a proxy
        let tcp = TcpStream::connect(server.proxy.address).await.expect("inbound listener");
        let mut client = Client { tcp, left: Vec::new() };
        client.send(word).await;
        assert_eq!(client.exactly(word.len()).await.as_deref(), Some(word));
    }
}

#[tokio::test(flavor = "local")]
async fn each_direction_ends_by_itself() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        // ends first, and still hears what the client says
        peer.send(b"\0bye").await;
        peer.tcp.shutdown().await.expect("shutdown");
        assert_eq!(peer.exactly(500_000).await.map(|bytes| bytes.len()), Some(500_000));
        assert_eq!(peer.exactly(1).await, None);
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Opaque, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    assert_eq!(client.rest().await, b"\0bye");
    client.send(&vec![7; 500_000]).await;
    client.tcp.shutdown().await.expect("shutdown");
    while server.proxy.metrics.reports().iter().all(|report| report.tcp_closed == 0) {
        tokio::task::yield_now().await;
    }
    assert!(server.proxy.metrics.reports().iter().any(|report| report.bytes_read == 500_000));
}

#[tokio::test(flavor = "local")]
async fn a_clients_reset_is_passed_on() {
    let mesh = Mesh::new();
    let (told, heard) = tokio::sync::oneshot::channel();
    let told = Rc::new(Cell::new(Some(told)));
    let app = app(move |mut peer| {
        let told = told.take();
        async move {
            peer.exactly(1).await.expect("a byte");
            peer.send(b"\0").await;
            let reset = peer.is_reset().await;
            told.expect("one connection").send(reset).expect("the test listens");
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"\0").await;
    client.exactly(1).await.expect("an answer");
    client.tcp.set_zero_linger().expect("linger");
    drop(client);
    assert!(heard.await.expect("the application sees the end"));
}
