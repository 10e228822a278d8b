//! Nobody can tell the pair from a direct connection: what arrives is what was sent, byte for byte.
//!
//! The one line more that the application sees is its client's identity.

use std::cell::RefCell;

use super::*;

const IDENTITY: &str = "l5d-client-id: spiffe://cluster.local/ns/shop/sa/front-end\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A mesh whose application notes what it gets: `bytes` of it, then it answers and goes on.
async fn noting(bytes: usize, response: &'static [u8]) -> (Mesh, Server, Rc<RefCell<Vec<u8>>>) {
    let mesh = Mesh::new();
    let noted = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&noted);
    let app = app(move |mut peer| {
        let notes = Rc::clone(&notes);
        async move {
            while let Some(message) = peer.exactly(bytes).await {
                *notes.borrow_mut() = message;
                peer.send(response).await;
            }
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    (mesh, server, noted)
}

/// A server that answers a head, hears these bytes behind it, and has a last word.
async fn talking(answer: &'static [u8], behind: &'static [u8]) -> (Mesh, Server) {
    let app = app(move |mut peer| async move {
        peer.head().await.expect("a head");
        peer.send(answer).await;
        assert_eq!(peer.exactly(behind.len()).await.as_deref(), Some(behind));
        peer.send(b" and an end").await;
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    (mesh, server)
}

/// The request as the application is to see it: with its client's identity as the last line of the head.
fn identified(request: &[u8]) -> Vec<u8> {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 2;
    [&request[..end], IDENTITY.as_bytes(), &request[end..]].concat()
}

async fn arrives(request: &[u8]) {
    let expected = identified(request);
    let (mesh, _server, noted) = noting(expected.len(), OK).await;
    let mut client = mesh.connect().await;
    client.send(request).await;
    assert_eq!(client.exactly(OK.len()).await.as_deref(), Some(OK), "{}", request.escape_ascii());
    assert_eq!(noted.borrow().escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[tokio::test(flavor = "local")]
async fn requests_arrive_as_they_were_sent() {
    for request in [
        &b"GET / HTTP/1.1\r\nhOsT: a\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nconnection:Close\r\nX-Last: 1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nUser-Agent: ab\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /%zz?a=b&&;=%00 HTTP/1.1\r\nHost: a\r\nX: \xfc\xff\r\nX:\r\nx:  two \t \r\nCookie: a\r\ncookie: b\r\n\r\n",
        b"GET http://other/x HTTP/1.1\r\nHost: a\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"M-SEARCH /a HTTP/1.1\r\nHost:\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: x\r\n\r\n3;a=b;c=\"d\"\r\nabc\r\n0A \r\n0123456789\r\n000\r\nX-T: 1\r\nx-t: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Length: 0005\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    ] {
        arrives(request).await;
    }
}

#[tokio::test(flavor = "local")]
async fn heads_at_the_limit_arrive_and_beyond_it_are_answered_431() {
    let head = |lines: usize, size: usize| {
        let mut head = b"GET / HTTP/1.0\r\n".to_vec();
        (1..lines).for_each(|n| head.extend(format!("X-{n}: \r\n").bytes()));
        head.extend(b"X-Fill: ");
        head.resize(size - 4, b'x');
        [head, b"\r\n\r\n".to_vec()].concat()
    };
    arrives(&head(256, 64 * 1024)).await;
    for (lines, size) in [(257, 10_000), (10, 64 * 1024 + 1)] {
        let (mesh, _server, noted) = noting(1, OK).await;
        let mut client = mesh.connect().await;
        client.send(&head(lines, size)).await;
        let answer = String::from_utf8(client.rest().await).expect("text");
        assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("minimesh-error: head_too_large"), "{answer}");
        assert!(noted.borrow().is_empty());
    }
}

#[tokio::test(flavor = "local")]
async fn responses_arrive_as_they_were_sent() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    const OLD: &[u8] = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    for (request, response) in [
        (GET, &b"HTTP/1.1 200 \xe4ll r\xffght\r\nSERVER: x\r\nSet-Cookie: a\r\nset-cookie: b\r\nX:\r\nContent-Length: 2\r\n\r\nok"[..]),
        (GET, b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n"),
        (GET, b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5, max=9\r\nContent-Length: 1\r\n\r\nx"),
        (GET, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"),
        (GET, b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"),
        (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n"),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\nETag: \"x\"\r\n\r\n"),
        (GET, b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        (GET, b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (GET, b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"),
        (GET, b"HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2;x=y\r\nab\r\n0;last\r\nX-T: \xff\r\nx-t:\r\n\r\n"),
        (GET, b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"),
        (HEAD, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (HEAD, b"HTTP/1.1 404 Not Found\r\n\r\n"),
        (OLD, b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
        (OLD, b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok"),
    ] {
        let (mesh, server, _) = noting(identified(request).len(), response).await;
        let mut client = mesh.connect().await;
        client.send(request).await;
        let got = client.exactly(response.len()).await.unwrap_or_default();
        assert_eq!(got.escape_ascii().to_string(), response.escape_ascii().to_string());
        // and where both let it, the connection goes on
        let closes = response.windows(6).any(|six| six == b" close") || response.starts_with(b"HTTP/1.0 200 OK\r\nContent");
        if !closes {
            client.send(request).await;
            assert_eq!(client.exactly(response.len()).await.as_deref(), Some(response));
        } else {
            assert_eq!(client.rest().await, b"");
        }
        // whatever client and application say of theirs, the connection between the proxies is kept
        let mut again = mesh.connect().await;
        again.send(request).await;
        assert_eq!(again.exactly(response.len()).await.as_deref(), Some(response));
        assert_eq!(server.proxy.edge().tcp_opened, 1, "{}", response.escape_ascii());
    }
}

#[tokio::test(flavor = "local")]
async fn interim_responses_are_kept_from_http_1_0() {
    let response =
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    let request = b"GET / HTTP/1.0\r\n\r\n";
    let (mesh, _server, _) = noting(identified(request).len(), response).await;
    let mut client = mesh.connect().await;
    client.send(request).await;
    assert_eq!(client.rest().await, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
}

#[tokio::test(flavor = "local")]
async fn the_meshs_own_words_in_an_interim_response_are_the_meshs_alone() {
    let response = b"HTTP/1.1 103 Early Hints\r\nminimesh-goodbye: drain\r\n\r\nHTTP/1.1 103 Early Hints\r\nminimesh-delivered: yes\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\nminimesh-hop: close\r\nContent-Length: 1\r\n\r\nx";
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nminimesh-hop: keep\r\n\r\n";
    let expected = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    let seen = identified(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mesh, server, noted) = noting(seen.len(), response).await;
    let mut client = mesh.connect().await;
    for _ in 0..2 {
        client.send(request).await;
        assert_eq!(client.exactly(expected.len()).await.as_deref(), Some(&expected[..]));
        assert_eq!(*noted.borrow(), seen);
    }
    assert_eq!(server.proxy.edge().tcp_opened, 1);
}

#[tokio::test(flavor = "local")]
async fn no_upgrade_to_http_2_and_nothing_that_a_client_nominates_passes() {
    for (request, seen) in [
        (
            &b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"[..],
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHTTP2-Settings: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nConnection: keep-alive, x-hop\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: l5d-client-id, host\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nConnection: x-hop, upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        ),
    ] {
        let seen = identified(seen);
        let (mesh, _server, noted) = noting(seen.len(), OK).await;
        let mut client = mesh.connect().await;
        client.send(request).await;
        assert_eq!(client.exactly(OK.len()).await.as_deref(), Some(OK));
        assert_eq!(noted.borrow().escape_ascii().to_string(), seen.escape_ascii().to_string());
    }
}

#[tokio::test(flavor = "local")]
async fn an_upgrade_carries_what_came_behind_its_heads_and_a_refused_one_does_not() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nserver's first";
    let head = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (mesh, _server) = talking(switch, b"client's first").await;
    let mut client = mesh.connect().await;
    client.send(&[&head[..], b"client's first"].concat()).await;
    assert_eq!(client.rest().await, [&switch[..], b" and an end"].concat());

    let refusal = b"HTTP/1.1 400 No\r\nContent-Length: 3\r\n\r\nno\n";
    let (mesh, _server, _) = noting(identified(head).len(), refusal).await;
    let mut client = mesh.connect().await;
    for _ in 0..2 {
        client.send(head).await;
        assert_eq!(client.exactly(refusal.len()).await.as_deref(), Some(&refusal[..]));
    }
    // not asked for: neither passed on nor followed
    let (mesh, _server, _) = noting(identified(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").len(), switch).await;
    let mut client = mesh.connect().await;
    assert!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test(flavor = "local")]
async fn connect_is_a_request_until_it_is_granted() {
    let connect = b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n";
    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: x\r\nContent-Length: 2\r\n\r\nno";
    let (mesh, _server, _) = noting(identified(connect).len(), refusal).await;
    let mut client = mesh.connect().await;
    for _ in 0..2 {
        client.send(connect).await;
        assert_eq!(client.exactly(refusal.len()).await.as_deref(), Some(&refusal[..]));
    }
    for connect in [&connect[..], b"CONNECT elsewhere:443 HTTP/1.0\r\n\r\n"] {
        // Content-Length in a 2xx to CONNECT means nothing (RFC 9110 section 9.3.6)
        let granted = b"HTTP/1.1 200 Connected\r\nContent-Length: 5\r\n\r\nmore than five bytes";
        let (mesh, _server) = talking(granted, b"early").await;
        let mut client = mesh.connect().await;
        client.send(&[connect, b"early"].concat()).await;
        assert_eq!(client.rest().await, [&granted[..], b" and an end"].concat());
    }
}
