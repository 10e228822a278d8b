//! Requests with bodies: who waits for whom, and what can be sent again.

use super::*;

/// An application that answers a head at once, and then does as it likes with the rest.
async fn answering(response: &'static [u8]) -> (Mesh, Server) {
    let mesh = Mesh::new();
    let app = app(move |mut peer| async move {
        while let Some(head) = peer.head().await {
            peer.send(response).await;
            if head.contains("Content-Length: 3") && peer.exactly(3).await.is_none() {
                return;
            }
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    (mesh, server)
}

const EXPECT: &[u8] = b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";

#[tokio::test(flavor = "local")]
async fn an_expectation_may_be_refused_or_answered_without_a_word() {
    for response in [
        &b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"[..],
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (mesh, _server) = answering(response).await;
        // a client that sends the body all the same goes on with its connection (RFC 9110 section 10.1.1) …
        let mut client = mesh.connect().await;
        for _ in 0..2 {
            client.send(EXPECT).await;
            assert_eq!(client.exactly(response.len()).await.as_deref(), Some(response));
            client.send(b"abc").await;
        }
        // … and one that does not, ends it
        let mut client = mesh.connect().await;
        client.send(EXPECT).await;
        assert_eq!(client.exactly(response.len()).await.as_deref(), Some(response));
        client.tcp.shutdown().await.expect("shutdown");
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test(flavor = "local")]
async fn a_refused_expectation_may_end_the_connection() {
    let response = b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (mesh, _server) = answering(response).await;
    let mut client = mesh.connect().await;
    client.send(EXPECT).await;
    assert_eq!(client.rest().await, response);
}

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 + at / 253) as u8).collect()
}

/// Sends the head, and the body in pieces that the proxy sees one by one.
async fn upload(mesh: &Mesh, size: usize, chunked: bool) -> String {
    let mut client = mesh.connect().await;
    let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {size}") };
    client.send(format!("POST /{size} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).await;
    let mut wire = Vec::new();
    for part in body(size).chunks(1 + size / 3) {
        if chunked {
            wire.extend(format!("{:x}\r\n", part.len()).bytes());
        }
        wire.extend(part);
        if chunked {
            wire.extend(b"\r\n");
        }
    }
    if chunked {
        wire.extend(b"0\r\n\r\n");
    }
    let (mut read, mut write) = client.tcp.split();
    let mut response = Vec::new();
    let writing = async {
        for piece in wire.chunks(1 + wire.len() / 5) {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            // an early refusal shows in what is read
            let _ = write.write_all(piece).await;
        }
    };
    let reading = async {
        let whole = |response: &[u8]| {
            response.windows(4).any(|four| four == b"\r\n\r\n")
                && (response.ends_with(b"end") || response.ends_with(b"}"))
        };
        while !whole(&response) && read.read_buf(&mut response).await.expect("no RST") > 0 {}
    };
    tokio::join!(writing, reading);
    String::from_utf8(response).expect("text")
}

/// Answers with the length of the body, and whether it is the right one.
async fn judging() -> SocketAddr {
    app(|mut peer| async move {
        while let Some(message) = peer.message().await {
            let start = message.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            let (head, rest) = (String::from_utf8_lossy(&message[..start]).into_owned(), &message[start..]);
            let size: usize = head[6..].split(' ').next().expect("a path").parse().expect("a number");
            let right = match head.contains("chunked") {
                false => rest == body(size),
                true => unchunked(rest) == body(size),
            };
            let text = format!("{right} end");
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes()).await;
        }
    })
    .await
}

fn unchunked(mut wire: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = wire.windows(2).position(|two| two == b"\r\n").expect("a size");
        let size = usize::from_str_radix(std::str::from_utf8(&wire[..line]).expect("hex"), 16).expect("hex");
        body.extend_from_slice(&wire[line + 2..line + 2 + size]);
        wire = &wire[line + 4 + size..];
        if size == 0 {
            return body;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_request_that_did_not_reach_an_application_is_sent_elsewhere_whatever_its_body() {
    let mesh = Mesh::new();
    let without_app: Vec<_> = [nobody().await, nobody().await].map(|app| mesh.server("catalogue", app)).into();
    let alive = mesh.server("catalogue", judging().await);
    mesh.service(Protocol::Detect, without_app.iter().chain([&alive]).map(Server::endpoint).collect());
    for round in 0..8 {
        for size in [10, 5_000, 60_000, 300_000, 2_000_000] {
            let response = upload(&mesh, size, round % 2 == 0).await;
            assert!(
                response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("true end"),
                "{size}: {response}"
            );
        }
    }
    let refused: u64 = without_app.iter().map(|server| server.proxy.edge().requests).sum();
    assert!(refused > 0, "nobody was asked in vain");
}
