//! Flow control and bounds: nobody waits for another's receiver, and nobody makes us hold more than we said.

use super::super::repeats::counter_of;
use super::*;

#[tokio::test(flavor = "local")]
async fn a_stream_that_nobody_reads_does_not_hold_up_another() {
    let mesh = Mesh::new();
    // as much as the receiver's windows and ours take
    let app = serve(|request, mut respond| async move {
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        let size = if request.uri().path() == "/slow" { 8_000_000 } else { 1_000_000 };
        let _ = send_all(&mut to, &vec![7; size], true).await;
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    // windows that are no limit here: the proxies' own are
    let mut builder = ::h2::client::Builder::new();
    builder.initial_window_size(1 << 16).initial_connection_window_size(1 << 30);
    let caller = Caller::with(mesh.client.address, &builder).await;
    let mut slow = Vec::new();
    for _ in 0..30 {
        let (response, stream) = caller.begin(request(Method::GET, "/slow")).await;
        slow.push((response.await.expect("a head").into_body(), stream));
    }
    for _ in 0..3 {
        assert_eq!(caller.get("/fast").await.expect("an answer").body.len(), 1_000_000);
    }
    for (mut body, _stream) in slow {
        assert_eq!(read_body(&mut body).await.expect("the rest").len(), 8_000_000);
    }
}

#[tokio::test(flavor = "local")]
async fn an_upload_that_nobody_reads_does_not_hold_up_another() {
    let mesh = Mesh::new();
    let go = Rc::new(tokio::sync::Notify::new());
    let wait = Rc::clone(&go);
    let mut builder = ::h2::server::Builder::new();
    builder.initial_window_size(1 << 16).initial_connection_window_size(1 << 30);
    let app = serve_with(builder, move |request, mut respond| {
        let wait = Rc::clone(&wait);
        async move {
            let slow = request.uri().path() == "/slow";
            let mut body = request.into_body();
            if slow {
                wait.notified().await;
            }
            let count = read_body(&mut body).await.map_or(0, |body| body.len());
            let response = Response::builder().header("x-count", count).body(()).expect("valid");
            let _ = respond.send_response(response, true);
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let mut slow = Vec::new();
    for _ in 0..30 {
        let (response, mut stream) = caller.begin(request(Method::POST, "/slow")).await;
        let uploading = tokio::task::spawn_local(async move { send_all(&mut stream, &vec![7; 2_000_000], true).await });
        slow.push((response, uploading));
    }
    for _ in 0..3 {
        let answer = caller.ask(request(Method::POST, "/fast"), &vec![7; 1_000_000]).await.expect("an answer");
        assert_eq!(answer.header("x-count"), "1000000");
    }
    go.notify_waiters();
    for (response, uploading) in slow {
        assert_eq!(response.await.expect("an answer").headers()["x-count"], "2000000");
        uploading.await.expect("no panic").expect("sent");
    }
}

#[tokio::test(flavor = "local")]
async fn a_head_beyond_the_limit_is_answered_431_and_one_within_passes() {
    let (_mesh, _server, caller) = one_mirror().await;
    let with = |size: usize| {
        let mut sent = request(Method::POST, "/");
        for _ in 0..size / 1000 {
            sent.headers_mut().append("x", HeaderValue::from_str(&"y".repeat(995)).expect("valid"));
        }
        sent
    };
    // more than h2's own default, and the mirror sends all of it back
    assert_eq!(caller.ask(with(60_000), b"").await.expect("an answer").status, 200);
    let answer = caller.ask(with(70_000), b"").await.expect("an answer");
    assert_eq!((answer.status, answer.header("minimesh-error")), (431, "head_too_large"));
    assert_eq!(caller.ask(with(1000), b"").await.expect("an answer").status, 200, "the connection is kept");
}

#[tokio::test(flavor = "local")]
async fn a_response_head_beyond_the_limit_is_502() {
    let mesh = Mesh::new();
    let app = serve(|_, mut respond| async move {
        let value = "y".repeat(70_000);
        let response = Response::builder().header("x", value).body(()).expect("valid");
        respond.send_response(response, true).expect("sent");
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let answer = Caller::new(mesh.client.address).await.get("/").await.expect("an answer");
    assert_eq!((answer.status, answer.header("minimesh-error")), (502, "upstream_malformed"));
}

#[tokio::test(flavor = "local")]
async fn a_servers_limit_on_streams_is_kept_to_and_more_connections_are_opened() {
    let mesh = Mesh::new();
    let (open, most) = counter();
    let highest = Rc::clone(&most);
    let mut builder = ::h2::server::Builder::new();
    builder.max_concurrent_streams(2);
    let (inside, _) = counter();
    let app = app(move |client| {
        let (builder, open, highest, inside) =
            (builder.clone(), Rc::clone(&open), Rc::clone(&highest), Rc::clone(&inside));
        async move {
            open.set(open.get() + 1);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(client.tcp).await else { return };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let (inside, highest) = (Rc::clone(&inside), Rc::clone(&highest));
                tokio::task::spawn_local(async move {
                    inside.set(inside.get() + 1);
                    highest.set(highest.get().max(inside.get()));
                    tokio::task::yield_now().await;
                    inside.set(inside.get() - 1);
                    let _ = respond.send_response(Response::new(()), true);
                });
            }
        }
    })
    .await;
    mesh.service(Protocol::Detect, vec![unmeshed(app)]);
    let mut asking = Vec::new();
    for _ in 0..20 {
        let caller = Caller::new(mesh.client.address).await;
        asking.push(tokio::task::spawn_local(async move { caller.get("/").await.expect("an answer").status }));
    }
    for asking in asking {
        assert_eq!(asking.await.expect("answered"), 200);
    }
    assert!(mesh.client.edge().tcp_opened > 1, "{:?}", mesh.client.edge());
    assert!(most.get() > 0);
}

#[tokio::test(flavor = "local")]
async fn in_a_crowd_of_streams_a_connection_that_has_its_share_is_refused_and_others_are_served() {
    let mesh = Mesh::new();
    let app = serve(|request, mut respond| async move {
        if request.uri().path() == "/never" {
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        } else {
            let _ = respond.send_response(Response::new(()), true);
        }
    })
    .await;
    mesh.service(Protocol::Detect, vec![unmeshed(app)]);
    let honest = Caller::new(mesh.client.address).await;
    let (mut hoarders, mut hoarded) = (Vec::new(), tokio::task::JoinSet::new());
    for _ in 0..3 {
        let hoarder = Caller::new(mesh.client.address).await;
        for _ in 0..400 {
            let (response, stream) = hoarder.begin(request(Method::POST, "/never")).await;
            hoarded.spawn_local(async move { (response.await.map(drop), stream).0 });
        }
        hoarders.push(hoarder);
        // on connections that are as good as any other
        assert_eq!(honest.get("/").await.expect("an answer").status, 200);
    }
    // the others of the 1200 are as many as a worker takes; one that is honest makes one less
    for _ in 0..1200 - MAX_STREAMS {
        let refused = hoarded.join_next().await.expect("more").expect("no panic").expect_err("a refusal");
        assert_eq!((refused.reason(), refused.is_remote()), (Some(Reason::REFUSED_STREAM), true));
        assert_eq!(honest.get("/").await.expect("an answer").status, 200);
    }
    let counted = "minimesh_errors_total{direction=\"outbound\",error=\"too_many_streams\"}";
    assert!(counter_of(&mesh, counted) >= 1200 - MAX_STREAMS as u64);
}
