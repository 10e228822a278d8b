//! What the access log says of streams.

use super::*;
use crate::observe::testing::to_memory;

#[tokio::test(flavor = "local")]
async fn a_stream_is_a_line_of_both_proxies() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let server = mesh.server("catalogue", mirror().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    caller.ask(request(Method::POST, "/a?secret=1"), b"twelve bytes").await.expect("an answer");
    for direction in ["outbound", "inbound"] {
        let line = log.line(direction).await;
        assert_eq!(
            (&line["protocol"], &line["status"], &line["path"]),
            (&"HTTP/2.0".into(), &200.into(), &"/a".into())
        );
        assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&12.into(), &12.into()));
        assert_eq!(line["client_identity"], id("front-end").as_str());
        assert_eq!(line["server_identity"], id("catalogue").as_str());
        assert_eq!(line["host"], "catalogue:80");
        assert!(line["grpc_status"].is_null() && line["error"].is_null(), "{line}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_calls_status_is_said_whoever_gave_it() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let app = serve(|_, mut respond| async move {
        let mut response = Response::new(());
        *response.headers_mut() = grpc::status("5");
        respond.send_response(response, true).expect("sent");
    });
    let server = mesh.server("catalogue", app.await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    caller.ask(grpc("/a/B"), b"").await.expect("an answer");
    let said = log.line("outbound").await;
    assert_eq!((&said["status"], &said["grpc_status"]), (&200.into(), &5.into()), "{said}");
    mesh.endpoints(vec![]);
    caller.ask(grpc("/a/B"), b"").await.expect("an answer");
    let said = log.line("outbound").await;
    let of_the_proxy = (&said["status"], &said["grpc_status"], &said["error"]);
    assert_eq!(of_the_proxy, (&200.into(), &14.into(), &"no_endpoints".into()), "{said}");
}

#[tokio::test(flavor = "local")]
async fn a_request_that_is_not_let_in_is_a_line_too() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let server = mesh.server_with("catalogue", mirror().await, DefaultPolicy::AllAuthenticated);
    let direct = Caller::new(server.proxy.address).await;
    direct.get("/secret").await.expect("an answer");
    let said = log.line("inbound").await;
    let parts = (&said["protocol"], &said["path"], &said["status"], &said["error"]);
    assert_eq!(parts, (&"HTTP/2.0".into(), &"/secret".into(), &403.into(), &"policy_denied".into()), "{said}");
    assert!(said["client_identity"].is_null() && said["endpoint"] == server.app.to_string(), "{said}");
    let direct = Caller::new(server.proxy.address).await;
    direct.ask(grpc("/a/B"), b"").await.expect("an answer");
    let said = log.line("inbound").await;
    assert_eq!((&said["status"], &said["grpc_status"]), (&200.into(), &7.into()), "{said}");
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_is_cancelled_says_what_it_carried() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let app = serve(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        while let Some(Ok(part)) = data(&mut body).await {
            to.send_data(part, false).expect("sent");
        }
    });
    let server = mesh.server("catalogue", app.await);
    mesh.service(Protocol::Http2, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let (response, mut stream) = caller.begin(grpc("/a/Watch")).await;
    let mut body = response.await.expect("a response").into_body();
    stream.send_data(Bytes::from_static(b"five!"), false).expect("sent");
    assert_eq!(data(&mut body).await.expect("an echo").expect("whole"), "five!");
    stream.send_reset(Reason::CANCEL);
    for direction in ["outbound", "inbound"] {
        let line = log.line(direction).await;
        assert_eq!((&line["status"], &line["error"]), (&200.into(), &"client_closed".into()), "{line}");
        assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&5.into(), &5.into()), "{line}");
    }
}
