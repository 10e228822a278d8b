//! Heads, bodies and trailers, both ways.

use ::http::HeaderName;

use super::*;

#[tokio::test(flavor = "local")]
async fn a_request_arrives_as_it_was_sent() {
    let (_mesh, _server, caller) = one_mirror().await;
    let mut sent = request(Method::POST, "/a?b=c");
    for (name, value) in [("x-odd", &b"\xfc"[..]), ("x-odd", b"2"), ("l5d-client-id", b"me"), ("minimesh-x", b"1")] {
        sent.headers_mut().append(name, HeaderValue::from_bytes(value).expect("valid"));
    }
    let answer = caller.ask(sent, b"hello").await.expect("an answer");
    assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    assert_eq!(
        answer.header("x-seen"),
        r#"POST http://catalogue:80/a?b=c {"x-odd": "\xfc", "x-odd": "2", "l5d-client-id": "spiffe://cluster.local/ns/shop/sa/front-end"}"#
    );
    assert_eq!(answer.headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test(flavor = "local")]
async fn trailers_go_both_ways() {
    let (_mesh, _server, caller) = one_mirror().await;
    let (response, mut stream) = caller.begin(request(Method::POST, "/")).await;
    send_all(&mut stream, b"body", false).await.expect("sent");
    let mut trailers = HeaderMap::new();
    trailers.append("x-sum", HeaderValue::from_static("1"));
    trailers.append("x-sum", HeaderValue::from_static("2"));
    stream.send_trailers(trailers.clone()).expect("sent");
    let answer = read(response.await.expect("a response")).await.expect("whole");
    assert_eq!((&*answer.body, answer.trailers), (&b"body"[..], Some(trailers)));
}

#[tokio::test(flavor = "local")]
async fn the_meshs_own_names_are_taken_from_nobody_in_heads_and_trailers() {
    fn forged() -> HeaderMap {
        let names = ["minimesh-error", "minimesh_hop", "l5d-client-id", "x_forwarded-client-cert", "kept"];
        names.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("admin"))).into_iter().collect()
    }
    let app = serve(|request, mut respond| async move {
        let mut body = request.into_body();
        while let Some(Ok(_)) = data(&mut body).await {}
        let trailers = body.trailers().await.expect("read").expect("some");
        assert_eq!(trailers.keys().collect::<Vec<_>>(), ["kept"]);
        let mut response = Response::new(());
        *response.headers_mut() = forged();
        let mut to = respond.send_response(response, false).expect("sent");
        to.send_trailers(forged()).expect("sent");
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Http2, vec![server.endpoint()]);
    for address in [mesh.client.address, server.proxy.address] {
        let (response, mut stream) = Caller::new(address).await.begin(request(Method::POST, "/")).await;
        stream.send_trailers(forged()).expect("sent");
        let answer = read(response.await.expect("a response")).await.expect("whole");
        assert_eq!(answer.headers.keys().collect::<Vec<_>>(), ["kept"]);
        assert_eq!(answer.trailers.expect("some").keys().collect::<Vec<_>>(), ["kept"]);
    }
}

#[tokio::test(flavor = "local")]
async fn large_bodies_go_both_ways_at_once() {
    let mesh = Mesh::new();
    // answers while it reads: stands still unless both directions move
    let app = serve(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        while let Some(Ok(part)) = data(&mut body).await {
            send_all(&mut to, &part, false).await.expect("sent");
        }
        to.send_data(Bytes::new(), true).expect("sent");
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Http2, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let sent: Vec<u8> = (0..4_000_000u32).map(|n| (n * 7 + n / 251) as u8).collect();
    let (response, mut stream) = caller.begin(request(Method::POST, "/")).await;
    let upload = sent.clone();
    let uploading = tokio::task::spawn_local(async move { send_all(&mut stream, &upload, true).await });
    let answer = read(response.await.expect("a response")).await.expect("whole");
    uploading.await.expect("no panic").expect("sent");
    assert!(answer.body == sent);
    let edge = server.proxy.edge();
    assert_eq!((edge.bytes_read, edge.bytes_written), (4_000_000, 4_000_000));
}

#[tokio::test(flavor = "local")]
async fn hundreds_of_streams_share_one_connection_to_the_server() {
    let (mesh, server, caller) = one_mirror().await;
    let asking: Vec<_> = (0..300)
        .map(|n| {
            let caller = caller.another();
            let body: Vec<u8> = (0..n * 13).map(|at| (at + n) as u8).collect();
            tokio::task::spawn_local(async move {
                let answer = caller.ask(request(Method::PUT, &format!("/{n}")), &body).await.expect("an answer");
                assert!(answer.body == body, "{n}");
            })
        })
        .collect();
    for asking in asking {
        asking.await.expect("answered");
    }
    assert_eq!(mesh.client.edge().requests, 300);
    assert_eq!((mesh.client.edge().tcp_opened, server.proxy.edge().tcp_opened), (1, 1));
}

#[tokio::test(flavor = "local")]
async fn interim_responses_are_passed_on_before_the_final_one() {
    let mesh = Mesh::new();
    let app = serve(|request, mut respond| async move {
        let mut body = request.into_body();
        let hint = |status: u16| Response::builder().status(status).header("link", "x").body(()).expect("valid");
        respond.send_informational(hint(103)).expect("sent");
        respond.send_informational(hint(100)).expect("sent");
        assert_eq!(read_body(&mut body).await.expect("body"), b"after 100");
        respond.send_response(Response::new(()), true).expect("sent");
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let mut sent = request(Method::POST, "/");
    sent.headers_mut().insert("expect", HeaderValue::from_static("100-continue"));
    let (mut response, mut stream) = caller.begin(sent).await;
    for expected in [103, 100] {
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await.expect("one").expect("whole");
        assert_eq!((interim.status().as_u16(), &interim.headers()["link"]), (expected, &HeaderValue::from_static("x")));
    }
    stream.send_data(Bytes::from_static(b"after 100"), true).expect("sent");
    assert_eq!(response.await.expect("final").status(), 200);
}

#[tokio::test(flavor = "local")]
async fn what_an_application_says_in_the_meshs_name_is_removed() {
    let mesh = Mesh::new();
    let app = serve(|_, mut respond| async move {
        let response = Response::builder().header("minimesh-error", "fake").header("x", "1").body(()).expect("valid");
        let mut to = respond.send_response(response, false).expect("sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("minimesh-cause", HeaderValue::from_static("fake"));
        trailers.insert("y", HeaderValue::from_static("2"));
        to.send_trailers(trailers).expect("sent");
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let answer = Caller::new(mesh.client.address).await.get("/").await.expect("an answer");
    assert_eq!((answer.header("minimesh-error"), answer.header("x")), ("", "1"));
    assert_eq!((answer.trailer("minimesh-cause"), answer.trailer("y")), ("", "2"));
}

#[tokio::test(flavor = "local")]
async fn connect_goes_to_the_original_destination_and_tunnels() {
    let (_mesh, _server, caller) = one_tunnel(false).await;
    let connect = Request::connect("elsewhere:443").body(()).expect("valid");
    tunnels(&caller, connect).await;
}

#[tokio::test(flavor = "local")]
async fn a_websocket_is_an_extended_connect() {
    let (_mesh, _server, caller) = one_tunnel(true).await;
    let mut connect = request(Method::CONNECT, "/chat");
    connect.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
    tunnels(&caller, connect).await;
}

#[tokio::test(flavor = "local")]
async fn an_extended_connect_that_the_server_does_not_take_is_named() {
    let (_mesh, _server, caller) = one_tunnel(false).await;
    let mut connect = request(Method::CONNECT, "/chat");
    connect.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
    caller.settled().await;
    let (response, _stream) = caller.begin(connect).await;
    let answer = read(response.await.expect("a response")).await.expect("whole");
    assert_eq!((answer.status, answer.header("minimesh-error")), (501, "connect_protocol_unsupported"));
}

async fn one_tunnel(extended: bool) -> (Mesh, Server, Caller) {
    let mesh = Mesh::new();
    let mut builder = ::h2::server::Builder::new();
    if extended {
        builder.enable_connect_protocol();
    }
    let app = serve_with(builder, |request, mut respond| async move {
        assert_eq!(request.method(), Method::CONNECT);
        let mut body = request.into_body();
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        while let Some(Ok(part)) = data(&mut body).await {
            to.send_data(part, false).expect("sent");
        }
        to.send_data(Bytes::from_static(b"bye"), true).expect("sent");
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    (mesh, server, caller)
}

async fn tunnels(caller: &Caller, connect: Request<()>) {
    caller.settled().await;
    let (response, mut stream) = caller.begin(connect).await;
    let response = response.await.expect("a response");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    for said in [&b"one"[..], b"two"] {
        stream.send_data(Bytes::from_static(said), false).expect("sent");
        assert_eq!(data(&mut body).await.expect("data").expect("whole"), said);
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(read_body(&mut body).await.expect("body"), b"bye");
}
