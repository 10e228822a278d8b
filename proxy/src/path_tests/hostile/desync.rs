//! Who shares a connection gets nothing of whom it is shared with.

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An application whose connections answer first with `first`, and with their own number from then on.
async fn numbered(first: &'static [u8]) -> (SocketAddr, Rc<Cell<usize>>) {
    let (counting, count) = counter();
    let address = app(move |mut peer| {
        counting.set(counting.get() + 1);
        let number = counting.get();
        async move {
            if peer.message().await.is_some() && number == 1 {
                peer.send(first).await;
            } else {
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
            while peer.message().await.is_some() {
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    (address, count)
}

#[tokio::test(flavor = "local")]
async fn what_an_application_says_beyond_its_response_reaches_nobody() {
    for first in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokX",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison",
    ] {
        for meshed in [true, false] {
            let mesh = Mesh::new();
            let (app, connections) = numbered(first).await;
            let server = mesh.server("catalogue", app);
            mesh.service(Protocol::Http1, vec![if meshed { server.endpoint() } else { unmeshed(app) }]);
            let mut client = mesh.connect().await;
            client.send(GET).await;
            client.head().await.expect("a head");
            for _ in 0..3 {
                let mut other = mesh.connect().await;
                other.send(GET).await;
                let answer = other.message().await.expect("an answer");
                assert!(answer.ends_with(b"\r\n\r\nok"), "{meshed}: {}", shown(&answer));
            }
            assert!(connections.get() >= 2, "the first one is not used again");
            // the client itself gets its response and no more
            client.send(GET).await;
            let rest = client.read_until(|bytes| bytes.ends_with(b"\r\n\r\nok").then_some(bytes.len())).await;
            assert!(rest.is_some_and(|rest| !rest.windows(6).any(|part| part == b"poison")), "{}", shown(&client.left));
        }
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_before_any_request_is_nobodys() {
    let app = app(|mut peer| async move {
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        if peer.message().await.is_some() {
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
        }
        // and once more on a connection that is idle
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
        while peer.message().await.is_some() {
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
        }
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Http1, vec![server.endpoint()]);
    for _ in 0..5 {
        let mut client = mesh.connect().await;
        client.send(GET).await;
        // which of its words is the answer is the application's own confusion: each connection serves one request
        assert!(client.message().await.is_some());
    }
    assert_eq!(server.proxy.edge().requests, 5);
}

/// What is left of a body that the application did not read must not become a request of somebody else.
#[tokio::test(flavor = "local")]
async fn a_body_that_was_not_read_is_no_request() {
    let (seen, count) = counter();
    let app = app(move |mut peer| {
        let seen = Rc::clone(&seen);
        async move {
            while let Some(head) = peer.head().await {
                if head.contains("/smuggled") {
                    seen.set(seen.get() + 1);
                }
                // answers at once and does not care for bodies, which it takes for requests
                peer.send(OK).await;
            }
        }
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Http1, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
    assert_eq!(client.exactly(OK.len()).await.as_deref(), Some(OK));
    // the rest never comes: nobody else is put on that connection
    for _ in 0..3 {
        let mut other = mesh.connect().await;
        other.send(GET).await;
        assert_eq!(other.exactly(OK.len()).await.as_deref(), Some(OK));
    }
    assert_eq!(count.get(), 0);
}

#[tokio::test(flavor = "local")]
async fn what_follows_a_refusal_is_not_read() {
    let stage = Stage::new(Between::Pair, Protocol::Http1).await;
    stage.recorder.expect(usize::MAX);
    for refused in [
        &b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    ] {
        let mut client = stage.client().await;
        client.send(&[refused, SMUGGLED, SMUGGLED, SMUGGLED].concat()).await;
        let answer = client.rest().await;
        assert_eq!(answer.windows(7).filter(|part| part == b"HTTP/1.").count(), 1, "{}", shown(&answer));
    }
    assert_eq!(shown(&stage.recorder.got()), "");
}
