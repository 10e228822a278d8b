//! HTTP/1 through two proxies: what arrives is what was sent.

use super::*;

fn status(response: &str) -> &str {
    &response[9..12]
}

#[tokio::test(flavor = "local")]
async fn a_request_arrives_as_it_was_sent() {
    let (mesh, _server) = one_server().await;
    let mut client = mesh.connect().await;
    let response = client.ask("GET /a?b HTTP/1.1\r\nHOST: x\r\nX-Odd:  \u{fc} \r\nX-Odd: 2\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nminimesh-fake: 1\r\nL5d-Client-Id: me\r\n\r\n").await;
    let (_, received) = response.split_once("\r\n\r\n").expect("body");
    assert_eq!(
        received,
        "GET /a?b HTTP/1.1\r\nHOST: x\r\nX-Odd:  \u{fc} \r\nX-Odd: 2\r\nl5d-client-id: spiffe://cluster.local/ns/shop/sa/front-end\r\n\r\n"
    );
    assert_eq!(status(&client.get().await), "200", "the connection is kept");
}

#[tokio::test(flavor = "local")]
async fn pipelined_requests_are_answered_in_order() {
    let (mesh, _server) = one_server().await;
    let mut client = mesh.connect().await;
    let all: String =
        (0..50).map(|n| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")).collect();
    client.send(all.as_bytes()).await;
    for n in 0..50 {
        let response = client.message().await.expect("a response");
        assert!(String::from_utf8_lossy(&response).contains(&format!("POST /{n} ")), "{n}");
    }
}

#[tokio::test(flavor = "local")]
async fn large_bodies_go_both_ways_at_once() {
    let mesh = Mesh::new();
    // answers while it reads: deadlocks unless both directions move
    let app = app(|mut peer| async move {
        let head = peer.head().await.expect("head");
        assert!(head.contains("chunked"));
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let (mut read, mut write) = peer.tcp.into_split();
        let _ = write.write_all(&peer.left).await;
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let client = mesh.connect().await;
    let body: Vec<u8> = (0..4_000_000u32).map(|n| (n * 7 + n / 251) as u8).collect();
    let mut message = Vec::new();
    for chunk in body.chunks(70_001) {
        message.extend(format!("{:x}\r\n", chunk.len()).bytes());
        message.extend(chunk);
        message.extend(b"\r\n");
    }
    message.extend(b"0\r\n\r\n");
    let (read, mut write) = client.tcp.into_split();
    let sent = message.clone();
    let writing = tokio::task::spawn_local(async move {
        write.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("head");
        write.write_all(&sent).await.expect("body");
        write
    });
    let mut read = read;
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n0\r\n\r\n") {
        assert!(read.read_buf(&mut received).await.expect("read") > 0);
    }
    let start = received.windows(4).position(|four| four == b"\r\n\r\n").expect("head") + 4;
    assert!(received[start..] == message[..]);
    drop(writing.await);
}

#[tokio::test(flavor = "local")]
async fn every_framing_passes() {
    for (response, expected) in [
        (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], "HTTP/1.1 204 No Content\r\n\r\n"),
        (b"HTTP/1.1 304 \r\nETag: x\r\n\r\n", "HTTP/1.1 304 \r\nETag: x\r\n\r\n"),
        (
            b"HTTP/1.1 200\r\nSet-Cookie: a\r\nset-cookie: b\r\ncontent-length: 1\r\n\r\nx",
            "HTTP/1.1 200\r\nSet-Cookie: a\r\nset-cookie: b\r\ncontent-length: 1\r\n\r\nx",
        ),
        (
            b"HTTP/1.1 200 OK\r\nminimesh-error: fake\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        (
            b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
    ] {
        let mesh = Mesh::new();
        let server = mesh.server("catalogue", canned(response).await);
        mesh.service(Protocol::Http1, vec![server.endpoint()]);
        let mut client = mesh.connect().await;
        for _ in 0..2 {
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let got = client.exactly(expected.len()).await.expect("the response");
            assert_eq!(String::from_utf8_lossy(&got), expected);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_response_that_ends_with_the_connection_does_so_downstream() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        peer.head().await;
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.rest().await, b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
}

#[tokio::test(flavor = "local")]
async fn an_http_1_0_client_never_sees_chunks() {
    let mesh = Mesh::new();
    let app = canned(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n").await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.rest().await, b"HTTP/1.1 200 OK\r\n\r\nabcde");
}

#[tokio::test(flavor = "local")]
async fn expect_continue_waits_for_the_application() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        while let Some(head) = peer.head().await {
            assert!(head.contains("Expect: 100-continue"));
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(peer.exactly(3).await.as_deref(), Some(&b"abc"[..]));
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(client.head().await.expect("interim"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"abc").await;
    assert_eq!(status(&client.head().await.expect("final")), "200");
}

#[tokio::test(flavor = "local")]
async fn an_early_response_reaches_a_client_that_is_still_sending() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        peer.head().await;
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").await;
    client.send(&[7; 10_000]).await;
    assert_eq!(status(&client.head().await.expect("response")), "413");
}

#[tokio::test(flavor = "local")]
async fn websocket_becomes_a_tunnel() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        let head = peer.head().await.expect("head");
        assert!(head.contains("Connection: Upgrade\r\n") && head.contains("Upgrade: websocket"), "{head}");
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nserver first")
            .await;
        assert_eq!(peer.exactly(4).await.as_deref(), Some(&b"ping"[..]));
        peer.send(b"pong").await;
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let head = client.head().await.expect("head");
    assert_eq!(head, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.exactly(12).await.as_deref(), Some(&b"server first"[..]));
    client.send(b"ping").await;
    assert_eq!(client.rest().await, b"pong");
}

#[tokio::test(flavor = "local")]
async fn connect_goes_to_the_original_destination_and_tunnels() {
    let mesh = Mesh::new();
    let app = app(|mut peer| async move {
        assert!(peer.head().await.expect("head").starts_with("CONNECT elsewhere:443 "));
        peer.send(b"HTTP/1.1 200 Connected\r\n\r\n").await;
        assert_eq!(peer.exactly(3).await.as_deref(), Some(&b"\x16\x03\x01"[..]));
        peer.send(b"\x16").await;
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n").await;
    assert_eq!(client.head().await.expect("head"), "HTTP/1.1 200 Connected\r\n\r\n");
    client.send(b"\x16\x03\x01").await;
    assert_eq!(client.rest().await, b"\x16");
}

#[tokio::test(flavor = "local")]
async fn what_is_ambiguous_is_answered_400_and_never_forwarded() {
    let mesh = Mesh::new();
    let (seen, count) = counter();
    let app = app(move |mut peer| {
        let seen = Rc::clone(&seen);
        async move {
            if peer.head().await.is_some() {
                seen.set(seen.get() + 1);
            }
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
    ] {
        let mut client = mesh.connect().await;
        client.send(request.as_bytes()).await;
        let response = String::from_utf8(client.rest().await).expect("text");
        assert!(
            response.starts_with("HTTP/1.1 400 ") && response.contains("minimesh-error: bad_request"),
            "{response}"
        );
    }
    let mut client = mesh.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000)).as_bytes()).await;
    assert!(String::from_utf8(client.rest().await).expect("text").starts_with("HTTP/1.1 431 "));
    assert_eq!(count.get(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_broken_response_is_502_and_a_cut_one_is_cut() {
    let mesh = Mesh::new();
    let broken = mesh.server("catalogue", canned(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n").await);
    mesh.service(Protocol::Detect, vec![broken.endpoint()]);
    let response = mesh.connect().await.get().await;
    assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("upstream_malformed"), "{response}");

    let cut = app(|mut peer| async move {
        peer.head().await;
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    })
    .await;
    let cut = mesh.server("catalogue", cut);
    mesh.endpoints(vec![cut.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.rest().await, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
}
