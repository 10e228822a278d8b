//! Connections that end, in every order: each side sees of the other what it would see on a direct connection.

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn serving(app: SocketAddr) -> (Mesh, Server) {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    (mesh, server)
}

/// Reads a head and answers with bytes, then ends: with a FIN, or with an RST once the client has had them.
async fn ending(response: &'static [u8], reset: bool) -> (Mesh, Server) {
    let app = app(move |mut peer| async move {
        peer.head().await.expect("a request");
        peer.send(response).await;
        if reset {
            // an RST overtakes what is still in flight: not before the client has said that it has it
            peer.exactly(1).await;
            peer.tcp.set_zero_linger().expect("linger");
        }
    })
    .await;
    serving(app).await
}

#[tokio::test(flavor = "local")]
async fn a_client_that_ends_its_direction_is_answered_and_the_application_knows() {
    let app = app(|mut peer| async move {
        peer.head().await.expect("a request");
        assert_eq!(peer.exactly(1).await, None, "the client's FIN");
        peer.send(OK).await;
    })
    .await;
    let (mesh, _server) = serving(app).await;
    let mut client = mesh.connect().await;
    client.send(GET).await;
    client.tcp.shutdown().await.expect("shutdown");
    assert_eq!(client.rest().await, OK);
}

#[tokio::test(flavor = "local")]
async fn every_request_before_the_end_is_answered() {
    let (mesh, _server) = one_server().await;
    let mut client = mesh.connect().await;
    let request = |n: usize| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").into_bytes();
    client.send(&(0..5).flat_map(request).collect::<Vec<u8>>()).await;
    client.tcp.shutdown().await.expect("shutdown");
    for n in 0..5 {
        let response = client.message().await.expect("a response");
        assert!(String::from_utf8_lossy(&response).contains(&format!("POST /{n} ")), "{n}");
    }
    assert_eq!(client.rest().await, b"");
}

#[tokio::test(flavor = "local")]
async fn a_request_that_ends_too_early_is_the_applications_to_judge() {
    let app = app(|mut peer| async move {
        peer.head().await.expect("a head");
        assert_eq!(peer.exactly(10).await, None, "cut after four");
        assert_eq!(peer.left, b"half");
        peer.send(b"HTTP/1.1 400 Too Short\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let (mesh, _server) = serving(app).await;
    let mut client = mesh.connect().await;
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    client.tcp.shutdown().await.expect("shutdown");
    assert_eq!(client.rest().await, b"HTTP/1.1 400 Too Short\r\nContent-Length: 0\r\n\r\n");
}

#[tokio::test(flavor = "local")]
async fn a_client_that_ends_after_an_early_response_still_gets_all_of_it() {
    let app = app(|mut peer| async move {
        peer.head().await.expect("a head");
        peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 4\r\n\r\n").await;
        assert_eq!(peer.exactly(10).await, None, "cut");
        peer.send(b"body").await;
    })
    .await;
    let (mesh, _server) = serving(app).await;
    let mut client = mesh.connect().await;
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert!(client.head().await.expect("an early head").starts_with("HTTP/1.1 413 "));
    client.tcp.shutdown().await.expect("shutdown");
    assert_eq!(client.rest().await, b"body");
}

#[tokio::test(flavor = "local")]
async fn a_clients_reset_reaches_the_application() {
    for (request, response) in [
        // while the application thinks; in the middle of the request; in the middle of the response
        (GET, &b""[..]),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf", b""),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
    ] {
        let (told, heard) = tokio::sync::oneshot::channel();
        let told = Rc::new(Cell::new(Some(told)));
        let (seen, count) = counter();
        let app = app(move |mut peer| {
            let (told, seen) = (told.take(), Rc::clone(&seen));
            async move {
                peer.head().await.expect("a head");
                seen.set(1);
                peer.send(response).await;
                let reset = peer.is_reset().await;
                if let Some(told) = told {
                    told.send(reset).expect("the test listens");
                }
            }
        })
        .await;
        let (mesh, _server) = serving(app).await;
        let mut client = mesh.connect().await;
        client.send(request).await;
        while count.get() == 0 {
            tokio::task::yield_now().await;
        }
        client.exactly(response.len()).await.expect("half a response");
        client.tcp.set_zero_linger().expect("linger");
        drop(client);
        assert!(heard.await.expect("the application sees the end"), "{}", request.escape_ascii());
    }
}

#[tokio::test(flavor = "local")]
async fn an_application_that_ends_in_mid_response_is_seen_to_do_so() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf",
        b"HTTP/1.1 200 OK\r\n\r\nall that there is",
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nall that there is",
    ] {
        let (mesh, _server) = ending(response, false).await;
        let mut client = mesh.connect().await;
        client.send(GET).await;
        assert_eq!(client.rest().await, response);
    }
}

#[tokio::test(flavor = "local")]
async fn an_applications_reset_in_mid_response_is_one() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf",
        b"HTTP/1.1 200 OK\r\n\r\nnot all that there is",
    ] {
        // the client's second request, pipelined, is the word that it has the response so far
        let (mesh, _server) = ending(response, true).await;
        let mut client = mesh.connect().await;
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").await;
        assert_eq!(client.exactly(response.len()).await.as_deref(), Some(response));
        client.send(b"x").await;
        assert!(client.is_reset().await, "{}", response.escape_ascii());
    }
}

#[tokio::test(flavor = "local")]
async fn what_an_http_1_0_client_could_take_for_whole_is_reset() {
    let (mesh, _server) = ending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf", false).await;
    let mut client = mesh.connect().await;
    client.send(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(client.is_reset().await);
}

#[tokio::test(flavor = "local")]
async fn an_end_before_any_response_is_502() {
    for reset in [false, true] {
        let (mesh, _server) = ending(b"", reset).await;
        let mut client = mesh.connect().await;
        let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
        let response = client.ask(request).await;
        assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("upstream_unanswered"), "{response}");
    }
}

#[tokio::test(flavor = "local")]
async fn an_application_may_close_without_a_word_between_requests() {
    let (connections, count) = counter();
    let app = app(move |mut peer| {
        connections.set(connections.get() + 1);
        async move {
            peer.head().await.expect("a request");
            peer.send(OK).await;
        }
    })
    .await;
    let (mesh, _server) = serving(app).await;
    let mut client = mesh.connect().await;
    for _ in 0..20 {
        assert!(client.get().await.ends_with("ok"));
    }
    assert_eq!(count.get(), 20);
}
