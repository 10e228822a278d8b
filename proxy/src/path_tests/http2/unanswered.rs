//! The same rule as for HTTP/1: a server that ends without a byte of an answer, and who is asked once more (ADR 10).

use super::super::repeats::counter_of;
use super::*;

const UNANSWERED: &str = "minimesh_retries_total{reason=\"unanswered\"}";

/// An application that is gone once it has taken a stream whole, after `interim` if that is wanted; and how many it took.
async fn dying(interim: bool) -> (SocketAddr, Rc<Cell<usize>>) {
    let (seen, count) = counter();
    let address = app(move |client| {
        let seen = Rc::clone(&seen);
        async move {
            let mut connection = ::h2::server::handshake(client.tcp).await.expect("handshake");
            let Some(Ok((request, mut respond))) = connection.accept().await else { return };
            let mut body = request.into_body();
            let taking = tokio::task::spawn_local(async move {
                let _ = read_body(&mut body).await;
                seen.set(seen.get() + 1);
                if interim {
                    let hints = Response::builder().status(103).body(()).expect("valid");
                    respond.send_informational(hints).expect("sent");
                    // the connection's task sends it meanwhile
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                }
                respond
            });
            tokio::select! {
                _ = connection.accept() => {}
                _respond = taking => {}
            }
        }
    })
    .await;
    (address, count)
}

#[tokio::test(flavor = "local")]
async fn another_server_is_asked_what_may_be_asked_twice() {
    for meshed in [true, false] {
        let mesh = Mesh::new();
        let (app, taken) = dying(false).await;
        let servers = [mesh.server("catalogue", app), mesh.server("catalogue", mirror().await)];
        let endpoint = |server: &Server| if meshed { server.endpoint() } else { unmeshed(server.app) };
        mesh.service(Protocol::Detect, servers.iter().map(endpoint).collect());
        let caller = Caller::new(mesh.client.address).await;
        for _ in 0..2 {
            let answer = caller.ask(request(Method::PUT, "/"), b"body").await.expect("an answer");
            assert_eq!((answer.status, &*answer.body), (200, &b"body"[..]), "{meshed}");
        }
        assert!(taken.get() > 0, "{meshed}");
        assert_eq!(taken.get() as u64, counter_of(&mesh, UNANSWERED), "{meshed}");
    }
}

#[tokio::test(flavor = "local")]
async fn nobody_else_is_asked_what_may_not_or_was_begun_to_be_answered() {
    for (head, interim, status, code) in [
        (request(Method::POST, "/"), false, 502, "upstream_unanswered"),
        (grpc("/a/B"), false, 200, "upstream_unanswered"),
        (request(Method::PUT, "/"), true, 502, "upstream_closed"),
    ] {
        let mesh = Mesh::new();
        let ((one, taken), (other, too)) = (dying(interim).await, dying(interim).await);
        let servers = [mesh.server("catalogue", one), mesh.server("catalogue", other)];
        mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
        let caller = Caller::new(mesh.client.address).await;
        let answer = caller.ask(head, b"body").await.expect("an answer");
        assert_eq!((answer.status, answer.header("minimesh-error")), (status, code));
        assert_eq!((taken.get() + too.get(), counter_of(&mesh, UNANSWERED)), (1, 0));
    }
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_its_server_resets_was_answered() {
    let mesh = Mesh::new();
    let (seen, count) = counter();
    let app = serve(move |_, mut respond| {
        seen.set(seen.get() + 1);
        async move { respond.send_reset(Reason::INTERNAL_ERROR) }
    })
    .await;
    let servers = [mesh.server("catalogue", app), mesh.server("catalogue", app)];
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    let failed = Caller::new(mesh.client.address).await.get("/").await.err().expect("a reset");
    assert_eq!((failed.reason(), count.get()), (Some(Reason::INTERNAL_ERROR), 1));
}
