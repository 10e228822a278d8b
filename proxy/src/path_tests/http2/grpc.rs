//! gRPC: calls of every shape, and how failures of the proxy itself look to it.

use super::*;

#[tokio::test(flavor = "local")]
async fn both_sides_of_a_call_take_turns() {
    let mesh = Mesh::new();
    let app = serve(|request, mut respond| async move {
        assert_eq!(request.headers()["grpc-timeout"], "5S");
        assert_eq!(request.headers()["te"], "trailers");
        let mut body = request.into_body();
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        while let Some(Ok(part)) = data(&mut body).await {
            to.send_data(part, false).expect("sent");
        }
        to.send_trailers(status("0")).expect("sent");
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Http2, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let mut call = grpc("/shop.Catalogue/Watch");
    call.headers_mut().insert("grpc-timeout", HeaderValue::from_static("5S"));
    let (response, mut stream) = caller.begin(call).await;
    let mut body = response.await.expect("a response").into_body();
    for turn in 0..20u8 {
        stream.send_data(Bytes::from(vec![turn; 10]), false).expect("sent");
        assert_eq!(data(&mut body).await.expect("an echo").expect("whole"), vec![turn; 10]);
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    assert!(data(&mut body).await.is_none());
    assert_eq!(body.trailers().await.expect("trailers").expect("some")["grpc-status"], "0");
    let edge = mesh.client.edge();
    assert_eq!((edge.requests, edge.successes, edge.failures), (1, 1, 0));
}

#[tokio::test(flavor = "local")]
async fn a_calls_own_status_says_whether_it_failed() {
    for (code, successes) in [("5", 1), ("14", 0), ("0", 1), ("2", 0)] {
        let mesh = Mesh::new();
        // without a message: head and trailers in one
        let app = serve(move |_, mut respond| async move {
            let mut response = Response::new(());
            *response.headers_mut() = status(code);
            respond.send_response(response, true).expect("sent");
        })
        .await;
        let server = mesh.server("catalogue", app);
        mesh.service(Protocol::Detect, vec![server.endpoint()]);
        let caller = Caller::new(mesh.client.address).await;
        let answer = caller.ask(grpc("/a/B"), b"").await.expect("an answer");
        assert_eq!((answer.status, answer.header("grpc-status"), answer.trailers.is_none()), (200, code, true));
        for edge in [mesh.client.edge(), server.proxy.edge()] {
            assert_eq!((edge.successes, edge.failures), (successes, 1 - successes), "{code}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn the_proxys_own_errors_are_a_status_to_grpc_and_a_problem_to_others() {
    let mesh = Mesh::new();
    mesh.service(Protocol::Detect, vec![]);
    let caller = Caller::new(mesh.client.address).await;
    let answer = caller.ask(grpc("/a/B"), b"message").await.expect("an answer");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc"));
    assert_eq!((answer.header("grpc-status"), answer.header("minimesh-error")), ("14", "no_endpoints"));
    assert_eq!(answer.header("grpc-message"), "minimesh: no_endpoints (outbound proxy)");
    assert!(answer.body.is_empty() && answer.trailers.is_none());

    let answer = caller.get("/").await.expect("an answer");
    assert_eq!((answer.status, answer.header("content-type")), (503, "application/problem+json"));
    assert!(String::from_utf8_lossy(&answer.body).contains(r#""code":"no_endpoints","hop":"outbound""#));

    // as the far proxy sees it: the application is absent
    let server = mesh.server("catalogue", nobody().await);
    mesh.endpoints(vec![server.endpoint()]);
    let answer = caller.ask(grpc("/a/B"), b"message").await.expect("an answer");
    assert_eq!((answer.header("grpc-status"), answer.header("minimesh-error")), ("14", "connect_refused"));
    assert_eq!(answer.header("minimesh-cause"), "");
}

#[tokio::test(flavor = "local")]
async fn a_call_that_ends_without_a_status_has_failed() {
    let mesh = Mesh::new();
    let app = serve(|_, mut respond| async move { drop(respond.send_response(Response::new(()), true)) }).await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    Caller::new(mesh.client.address).await.ask(grpc("/a/B"), b"").await.expect("an answer");
    assert_eq!(mesh.client.edge().failures, 1);
}

pub(super) fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(::http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(code))])
}
