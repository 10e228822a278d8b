//! What was provably not delivered is sent elsewhere, with its body; nothing else is.

use minimesh_api::model::{BackendRef, Retry};

use super::super::retry::route;
use super::*;

#[tokio::test(flavor = "local")]
async fn a_dead_endpoint_costs_no_request() {
    let mesh = Mesh::new();
    let alive = mesh.server("catalogue", mirror().await);
    let without_app = mesh.server("catalogue", nobody().await);
    let no_http2 = mesh.server("catalogue", canned(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await);
    let gone = endpoint(nobody().await, Transport::MutualTls { identity: id("catalogue").as_str().into() });
    mesh.service(Protocol::Detect, vec![alive.endpoint(), without_app.endpoint(), no_http2.endpoint(), gone]);
    let caller = Caller::new(mesh.client.address).await;
    for n in 0..40 {
        let answer = caller.ask(request(Method::POST, &format!("/{n}")), b"body").await.expect("an answer");
        assert_eq!((answer.status, &*answer.body), (200, &b"body"[..]), "{n}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_refused_stream_is_sent_to_another_endpoint_with_its_body() {
    let mesh = Mesh::new();
    let (refusals, seen) = counter();
    let refusing = serve(move |request, mut respond| {
        let refusals = Rc::clone(&refusals);
        async move {
            let mut body = request.into_body();
            let _ = data(&mut body).await;
            refusals.set(refusals.get() + 1);
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    })
    .await;
    let refusing = mesh.server("catalogue", refusing);
    let taking = mesh.server("catalogue", mirror().await);
    mesh.service(Protocol::Detect, vec![refusing.endpoint(), taking.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    for n in 0..20u8 {
        let (response, mut stream) = caller.begin(request(Method::POST, "/")).await;
        stream.send_data(Bytes::from(vec![n; 3000]), false).expect("sent");
        stream.send_data(Bytes::from(vec![n; 2000]), false).expect("sent");
        tokio::task::yield_now().await;
        let mut trailers = HeaderMap::new();
        trailers.insert("n", u16::from(n).into());
        stream.send_trailers(trailers).expect("sent");
        let answer = read(response.await.expect("a response")).await.expect("whole");
        assert_eq!((&answer.body, answer.trailer("n")), (&vec![n; 5000], &*n.to_string()));
    }
    assert!(seen.get() > 0);
}

#[tokio::test(flavor = "local")]
async fn a_refused_stream_whose_body_is_gone_is_not_sent_again() {
    let mesh = Mesh::new();
    let refusing = serve(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut got = 0;
        while got < 400_000 {
            got += data(&mut body).await.expect("more").expect("whole").len();
        }
        respond.send_reset(Reason::REFUSED_STREAM);
    })
    .await;
    let endpoints: Vec<_> = vec![mesh.server("catalogue", refusing), mesh.server("catalogue", refusing)];
    mesh.service(Protocol::Detect, endpoints.iter().map(Server::endpoint).collect());
    let caller = Caller::new(mesh.client.address).await;
    let failed = caller.ask(request(Method::POST, "/"), &vec![1; 600_000]).await.err().expect("refused");
    assert_eq!((failed.reason(), failed.is_remote()), (Some(Reason::REFUSED_STREAM), true));
}

/// An HTTP/2 server that says goodbye to the first stream of its first connections, after so much of its body, and serves later
/// ones.
async fn leaving(goodbyes: usize, after: usize) -> (SocketAddr, Rc<Cell<usize>>) {
    let (connections, count) = counter();
    let address = app(move |mut client| {
        let connections = Rc::clone(&connections);
        async move {
            connections.set(connections.get() + 1);
            if connections.get() > goodbyes {
                let mut connection = ::h2::server::handshake(client.tcp).await.expect("handshake");
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::task::spawn_local(async move { reflect(request, respond).await.unwrap_or(()) });
                }
                return;
            }
            client.exactly(24).await.expect("the preface");
            client.send(b"\0\0\0\x04\0\0\0\0\0").await;
            let mut taken = None;
            while taken.is_none_or(|taken| taken < after) {
                let head = client.exactly(9).await.expect("a frame");
                let length = usize::from(head[1]) << 8 | usize::from(head[2]);
                client.exactly(length).await.expect("its payload");
                match (head[3], head[4]) {
                    (4, 0) => client.send(b"\0\0\0\x04\x01\0\0\0\0").await,
                    (0 | 1, _) => taken = Some(taken.map_or(0, |taken| taken + length)),
                    _ => {}
                }
            }
            // GOAWAY, the last stream is 0, NO_ERROR
            client.send(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0").await;
        }
    })
    .await;
    (address, count)
}

#[tokio::test(flavor = "local")]
async fn a_stream_above_goaways_last_id_is_sent_over_another_connection() {
    // behind the inbound proxy, which dials its application again
    let mesh = Mesh::new();
    let (app, connections) = leaving(2, 0).await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let answer = caller.ask(request(Method::POST, "/"), b"body").await.expect("an answer");
    assert_eq!((answer.status, &*answer.body, connections.get()), (200, &b"body"[..], 3));

    // and seen by the outbound proxy itself
    let mesh = Mesh::new();
    let (app, connections) = leaving(2, 0).await;
    mesh.service(Protocol::Detect, vec![unmeshed(app)]);
    let caller = Caller::new(mesh.client.address).await;
    let answer = caller.ask(grpc("/a/B"), b"body").await.expect("an answer");
    assert_eq!((answer.status, &*answer.body, connections.get()), (200, &b"body"[..], 3));
}

#[tokio::test(flavor = "local")]
async fn so_is_an_upload_of_which_the_server_took_all_that_its_window_let_in() {
    let mesh = Mesh::new();
    let (app, connections) = leaving(2, 65_535).await;
    mesh.service(Protocol::Detect, vec![unmeshed(app)]);
    let caller = Caller::new(mesh.client.address).await;
    let upload = vec![7; 1_000_000];
    let answer = caller.ask(request(Method::POST, "/"), &upload).await.expect("an answer");
    assert_eq!((answer.status, answer.body == upload, connections.get()), (200, true, 3));
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_only_breaks_proves_nothing() {
    let mesh = Mesh::new();
    let (requests, count) = counter();
    let dying = app(move |client| {
        let requests = Rc::clone(&requests);
        async move {
            let mut connection = ::h2::server::handshake::<_>(client.tcp).await.expect("handshake");
            let _stream = connection.accept().await;
            requests.set(requests.get() + 1);
        }
    })
    .await;
    let servers = [mesh.server("catalogue", dying), mesh.server("catalogue", dying)];
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    let answer = Caller::new(mesh.client.address).await.ask(request(Method::POST, "/"), b"x").await.expect("an answer");
    assert_eq!((answer.status, answer.header("minimesh-error"), count.get()), (502, "upstream_unanswered", 1));
}

#[tokio::test(flavor = "local")]
async fn a_routes_codes_are_sent_again_and_the_client_sees_the_last_answer() {
    let mesh = Mesh::new();
    let (requests, count) = counter();
    let app = serve(move |request, mut respond| {
        requests.set(requests.get() + 1);
        let turn = requests.get();
        async move {
            match turn {
                1 | 2 => {
                    let mut body = request.into_body();
                    let _ = read_body(&mut body).await;
                    let response = Response::builder().status(503).body(()).expect("valid");
                    let _ = respond.send_response(response, true);
                }
                _ => reflect(request, respond).await.unwrap_or(()),
            }
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    let mut retried = route(Duration::from_secs(9), vec![BackendRef::Service(key())]);
    let policy = Retry { codes: vec![503], attempts: 2, backoff: Some(Duration::from_millis(1)) };
    retried.rules[0].retry = Some(policy);
    mesh.routed(Protocol::Detect, &[retried], vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let answer = caller.ask(request(Method::POST, "/a"), b"again").await.expect("an answer");
    assert_eq!((answer.status, &*answer.body, count.get()), (200, &b"again"[..], 3));
}
