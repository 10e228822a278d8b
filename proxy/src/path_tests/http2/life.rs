//! Connections: what they survive, and how they end.

use minimesh_api::model::{BackendRef, WeightedBackend};

use super::super::retry::route;
use super::*;

#[tokio::test(flavor = "local")]
async fn ten_thousand_requests_over_one_connection_are_split_by_weights() {
    const REQUESTS: usize = 10_000;
    let mesh = Mesh::new();
    let shares = [(1u32, "a"), (3, "b"), (6, "c")];
    let mut seen = Vec::new();
    let mut backends = Vec::new();
    for (weight, name) in shares {
        let (requests, count) = counter();
        let app = serve(move |_, mut respond| {
            requests.set(requests.get() + 1);
            async move { drop(respond.send_response(Response::new(()), true)) }
        })
        .await;
        let key = BackendKey { namespace: "shop".into(), name: name.into(), port: 80 };
        mesh.client.control.endpoints(&key, Endpoints(vec![unmeshed(app)]));
        backends.push(WeightedBackend { weight, backend: BackendRef::Service(key), filters: vec![] });
        seen.push(count);
    }
    let mut route = route(Duration::from_secs(60), vec![]);
    route.rules[0].backends = backends;
    mesh.routed(Protocol::Detect, &[route], vec![]);
    let caller = Caller::new(mesh.client.address).await;
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let caller = caller.another();
            tokio::task::spawn_local(async move {
                for _ in 0..REQUESTS / 20 {
                    assert_eq!(caller.get("/a").await.expect("an answer").status, 200);
                }
            })
        })
        .collect();
    for asking in asking {
        asking.await.expect("answered");
    }
    for ((weight, name), seen) in shares.iter().zip(&seen) {
        let share = f64::from(*weight) / 10.0;
        let sigma = (REQUESTS as f64 * share * (1.0 - share)).sqrt();
        let off = (seen.get() as f64 - REQUESTS as f64 * share).abs();
        assert!(off < 4.0 * sigma, "{name}: {} of {REQUESTS}, {off} > 4 × {sigma}", seen.get());
    }
    assert_eq!(seen.iter().map(|seen| seen.get()).sum::<usize>(), REQUESTS);
}

/// A call that stays open, and whose sides still hear each other.
struct Call {
    body: RecvStream,
    stream: SendStream<Bytes>,
}

impl Call {
    async fn begin(caller: &Caller) -> Call {
        let (response, stream) = caller.begin(grpc("/a/Watch")).await;
        let mut call = Call { body: response.await.expect("a head").into_body(), stream };
        call.says(1).await;
        call
    }

    async fn says(&mut self, word: u8) {
        self.stream.send_data(Bytes::from(vec![word]), false).expect("sent");
        assert_eq!(data(&mut self.body).await.expect("an echo").expect("whole"), vec![word]);
    }

    async fn ends(mut self) {
        self.stream.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(read_body(&mut self.body).await.expect("a clean end"), b"");
    }
}

/// Echoes every message at once.
async fn echoing() -> SocketAddr {
    serve(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        while let Some(Ok(part)) = data(&mut body).await {
            to.send_data(part, false).expect("sent");
        }
        let _ = to.send_data(Bytes::new(), true);
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn a_living_stream_survives_renewal_routes_and_endpoints() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", echoing().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let mut call = Call::begin(&caller).await;
    for round in 0..3u8 {
        mesh.certify(&mesh.client);
        mesh.certify(&server.proxy);
        let other = mesh.server("catalogue", echoing().await);
        mesh.endpoints(vec![server.endpoint(), other.endpoint()]);
        let all = BackendRef::Service(key());
        mesh.routed(Protocol::Detect, &[route(Duration::from_secs(9), vec![all])], vec![server.endpoint()]);
        Call::begin(&caller).await.ends().await;
        call.says(round).await;
    }
    call.ends().await;
    assert_eq!(mesh.client.edge().tcp_opened, 4, "new streams go to connections of the new credentials");
}

#[tokio::test(flavor = "local")]
async fn a_draining_proxy_says_goaway_and_finishes_streams() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", echoing().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let Mesh { mut client, .. } = mesh;
    let caller = Caller::new(client.address).await;
    let mut call = Call::begin(&caller).await;
    let drain = client.drain.take().expect("once");
    let draining = tokio::task::spawn_local(drain.drain(Duration::from_secs(20)));
    // no more streams, and the open one goes on
    while caller.send.clone().ready().await.is_ok() {
        call.says(2).await;
    }
    call.says(3).await;
    call.ends().await;
    caller.ended().await.expect("a clean end");
    draining.await.expect("drained");
}

#[tokio::test(flavor = "local")]
async fn a_pod_marked_for_deletion_loses_no_stream() {
    let mesh = Mesh::new();
    let leaving = mesh.server("catalogue", echoing().await);
    mesh.service(Protocol::Detect, vec![leaving.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let mut call = Call::begin(&caller).await;
    leaving.proxy.leaving();
    // its proxy looks once a second; whoever still knows no other endpoint is served
    while mesh.client.edge().tcp_opened < 3 {
        Call::begin(&caller).await.ends().await;
        call.says(4).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let staying = mesh.server("catalogue", echoing().await);
    mesh.endpoints(vec![staying.endpoint()]);
    for _ in 0..10 {
        Call::begin(&caller).await.ends().await;
    }
    call.says(5).await;
    call.ends().await;
}

#[tokio::test(flavor = "local")]
async fn a_strict_port_answers_plaintext_403_and_serves_the_mesh() {
    let mesh = Mesh::new();
    let server = mesh.server_with("catalogue", mirror().await, DefaultPolicy::AllAuthenticated);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let direct = Caller::new(server.proxy.address).await;
    let answer = direct.get("/").await.expect("an answer");
    assert_eq!((answer.status, answer.header("minimesh-error")), (403, "policy_denied"));
    let direct = Caller::new(server.proxy.address).await;
    let answer = direct.ask(grpc("/a/B"), b"").await.expect("an answer");
    assert_eq!((answer.header("grpc-status"), answer.header("minimesh-error")), ("7", "policy_denied"));
    assert_eq!(Caller::new(mesh.client.address).await.get("/").await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "local")]
async fn a_permissive_port_serves_plaintext_until_it_turns_strict() {
    let (_mesh, server, _) = one_mirror().await;
    let direct = Caller::new(server.proxy.address).await;
    let mut sent = request(Method::POST, "/");
    sent.headers_mut().insert("l5d-client-id", HeaderValue::from_static("admin"));
    let answer = direct.ask(sent, b"").await.expect("an answer");
    assert!(answer.status == 200 && !answer.header("x-seen").contains("l5d-client-id"), "{}", answer.header("x-seen"));
    let strict = PortPolicy { protocol: Protocol::Detect, policy: DefaultPolicy::AllAuthenticated };
    server.proxy.control.port(server.app.port(), strict);
    let answer = direct.get("/").await.expect("an answer");
    assert_eq!((answer.status, answer.header("minimesh-error")), (403, "policy_denied"));
    direct.ended().await.expect("a clean end");
}

#[tokio::test(flavor = "local")]
async fn a_target_that_nobody_knows_is_answered_over_http_2() {
    let mesh = Mesh::new();
    tokio::time::pause();
    let caller = Caller::new(mesh.client.address).await;
    let answer = caller.ask(grpc("/a/B"), b"").await.expect("an answer");
    assert_eq!((answer.header("grpc-status"), answer.header("minimesh-error")), ("14", "discovery_unavailable"));
}

#[tokio::test(flavor = "local")]
async fn the_wrong_identity_gets_nothing() {
    let (mesh, server, caller) = one_mirror().await;
    mesh.endpoints(vec![server.endpoint_as(&id("payment"))]);
    let answer = caller.get("/").await.expect("an answer");
    assert_eq!((answer.status, answer.header("minimesh-error")), (502, "tls_identity_mismatch"));
    let foreign = Authority::create(DOMAIN).expect("authority");
    mesh.client.control.credentials(mesh.credentials(&foreign, &mesh.client.identity, Duration::from_secs(60)));
    mesh.endpoints(vec![server.endpoint()]);
    let answer = caller.get("/").await.expect("an answer");
    assert_eq!((answer.status, answer.header("minimesh-error")), (502, "tls_unknown_issuer"));
    assert!(server.proxy.metrics.reports().iter().all(|report| report.requests == 0));
}
