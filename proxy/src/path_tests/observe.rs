//! What the access log and traces say of requests that went through both proxies.

use minimesh_api::model::BackendRef;
use serde_json::Value;

use super::opaque::client_hello;
use super::*;
use crate::observe;
use crate::observe::testing::{
    ExportRequest, grpc_collector, http_collector, spans_of, to_collector, to_memory, to_nobody,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn traced(flags: &str) -> String {
    format!(
        "GET /a?secret=1 HTTP/1.1\r\nHost: catalogue\r\nUser-Agent: test\r\ntraceparent: 00-{TRACE}-b7ad6b7169203331-{flags}\r\n\r\n"
    )
}

fn route() -> HttpRoute {
    let mut route = retry::route(Duration::from_secs(9), vec![BackendRef::Service(key())]);
    route.rules[0].name = "all".into();
    route
}

fn times_add_up(line: &Value) {
    let of = |name: &str| line[name].as_f64().expect("a time");
    let parts = of("added_ms") + of("waited_ms") + of("upstream_ms");
    assert!((parts - of("duration_ms")).abs() < 0.01, "{line}");
}

#[tokio::test(flavor = "local")]
async fn both_proxies_say_what_a_request_was() {
    let (observe, mut log) = to_memory(false, &["user-agent"]);
    let mesh = Mesh::observed(observe);
    let server = mesh.server("catalogue", echo().await);
    mesh.routed(Protocol::Detect, &[route()], vec![server.endpoint()]);
    let response = mesh.connect().await.ask(&traced("00")).await;
    // the context is passed on as it came
    assert!(response.contains(&format!("traceparent: 00-{TRACE}-b7ad6b7169203331-00\r\n")), "{response}");

    let out = log.line("outbound").await;
    assert_eq!((&out["method"], &out["path"], &out["query"]), (&"GET".into(), &"/a".into(), &Value::Null));
    assert_eq!(
        (&out["status"], &out["protocol"], &out["host"]),
        (&200.into(), &"HTTP/1.1".into(), &"catalogue".into())
    );
    assert_eq!(
        (&out["route"], &out["rule"], &out["rule_name"]),
        (&"HTTPRoute/shop/r".into(), &0.into(), &"all".into())
    );
    assert_eq!((&out["backend"], &out["retries"]), (&"shop/catalogue:80".into(), &0.into()));
    assert_eq!(out["endpoint"], server.proxy.address.to_string());
    assert_eq!(out["headers"], serde_json::json!({"user-agent": "test"}));
    assert!(out["request_bytes"].as_u64() > Some(50) && out["response_bytes"].as_u64() > Some(50), "{out}");
    times_add_up(&out);

    let inbound = log.line("inbound").await;
    assert_eq!((&inbound["status"], &inbound["path"]), (&200.into(), &"/a".into()));
    assert_eq!((&inbound["endpoint"], &inbound["route"]), (&server.app.to_string().into(), &Value::Null));
    times_add_up(&inbound);
    for line in [out, inbound] {
        assert_eq!(line["client_identity"], id("front-end").as_str());
        assert_eq!(line["server_identity"], id("catalogue").as_str());
        assert_eq!((&line["trace_id"], &line["error"]), (&TRACE.into(), &Value::Null));
    }
}

#[tokio::test(flavor = "local")]
async fn query_strings_are_there_when_asked_for() {
    let (observe, mut log) = to_memory(true, &[]);
    let mesh = Mesh::observed(observe);
    let server = mesh.server("catalogue", echo().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    mesh.connect().await.ask(&traced("00")).await;
    let line = log.line("inbound").await;
    assert_eq!((&line["path"], &line["query"], &line["headers"]), (&"/a".into(), &"secret=1".into(), &Value::Null));
}

#[tokio::test(flavor = "local")]
async fn a_retry_is_one_line_with_the_endpoint_that_answered() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let alive = mesh.server("catalogue", echo().await);
    let gone = endpoint(
        nobody().await,
        minimesh_api::model::Transport::MutualTls { identity: id("catalogue").as_str().into() },
    );
    mesh.service(Protocol::Detect, vec![alive.endpoint(), gone]);
    let mut client = mesh.connect().await;
    let mut retries = 0;
    for _ in 0..6 {
        client.get().await;
        let line = log.line("outbound").await;
        assert_eq!((&line["status"], &line["endpoint"]), (&200.into(), &alive.proxy.address.to_string().into()));
        retries += line["retries"].as_u64().expect("a number");
    }
    // an endpoint that was never asked is asked once
    assert!(retries >= 1);
}

#[tokio::test(flavor = "local")]
async fn errors_have_the_word_that_the_client_got() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let server = mesh.server("catalogue", nobody().await);
    mesh.routed(Protocol::Detect, &[route()], vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.get().await;
    let missed = log.line("outbound").await;
    assert_eq!((&missed["status"], &missed["error"]), (&404.into(), &"no_route".into()));
    assert_eq!((&missed["endpoint"], &missed["route"]), (&Value::Null, &Value::Null));
    client.ask("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for direction in ["inbound", "outbound"] {
        let refused = log.line(direction).await;
        assert_eq!((&refused["status"], &refused["error"]), (&502.into(), &"connect_refused".into()), "{refused}");
    }
    client.send(b"GET / HTTP/1.1\r\nbad header\r\n\r\n").await;
    let malformed = log.line("outbound").await;
    assert_eq!((&malformed["status"], &malformed["error"]), (&400.into(), &"bad_request".into()));
    assert_eq!(malformed["method"], Value::Null);
}

#[tokio::test(flavor = "local")]
async fn a_request_that_the_policy_refuses_is_named_with_its_client() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let server = mesh.server_with("catalogue", echo().await, DefaultPolicy::Deny);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    mesh.connect().await.ask(&traced("00")).await;
    let line = log.line("inbound").await;
    assert_eq!((&line["status"], &line["error"]), (&403.into(), &"policy_denied".into()));
    assert_eq!((&line["path"], &line["client_identity"]), (&"/a".into(), &id("front-end").as_str().into()));
}

#[tokio::test(flavor = "local")]
async fn a_client_that_leaves_is_not_blamed_on_the_server() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let server = mesh.server("catalogue", app(|mut peer| async move { drop(peer.rest().await) }).await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.tcp.set_zero_linger().expect("linger");
    drop(client);
    let line = log.line("outbound").await;
    assert_eq!((&line["status"], &line["error"]), (&499.into(), &"client_closed".into()));
}

#[tokio::test(flavor = "local")]
async fn an_opaque_connection_is_one_line_at_its_end() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let app = app(|mut peer| async move {
        let bytes = peer.exactly(5).await.expect("all");
        peer.send(&bytes[..3]).await;
        peer.rest().await;
    });
    let server = mesh.server("catalogue", app.await);
    mesh.service(Protocol::Opaque, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"\x00abcd").await;
    assert_eq!(client.exactly(3).await.as_deref(), Some(&b"\x00ab"[..]));
    client.tcp.shutdown().await.expect("shutdown");
    client.rest().await;
    for direction in ["inbound", "outbound"] {
        let line = log.line(direction).await;
        assert_eq!((&line["protocol"], &line["close"]), (&"TCP".into(), &"clean".into()), "{line}");
        assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&5.into(), &3.into()));
        assert_eq!((&line["status"], &line["server_identity"]), (&Value::Null, &id("catalogue").as_str().into()));
    }
}

#[tokio::test(flavor = "local")]
async fn an_applications_own_tls_is_named_after_the_server_it_asks_for() {
    let (observe, mut log) = to_memory(false, &[]);
    let mesh = Mesh::observed(observe);
    let server = mesh.server("catalogue", app(|mut peer| async move { drop(peer.rest().await) }).await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(&client_hello("Shop.example.com")).await;
    client.tcp.shutdown().await.expect("shutdown");
    client.rest().await;
    let line = log.line("outbound").await;
    assert_eq!((&line["protocol"], &line["tls_server_name"]), (&"TCP".into(), &"shop.example.com".into()), "{line}");
}

#[tokio::test(flavor = "local")]
async fn a_log_that_nobody_reads_stalls_no_request() {
    let (observe, metrics, _reads) = to_nobody();
    let mesh = Mesh::observed(observe);
    let server = mesh.server("catalogue", echo().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let request = format!("GET /{} HTTP/1.1\r\nHost: catalogue\r\n\r\n", "long".repeat(1000));
    let mut client = mesh.connect().await;
    // two lines each: more than all buffers hold
    for _ in 0..400 {
        assert!(client.ask(&request).await.starts_with("HTTP/1.1 200 "));
    }
    assert!(metrics.log_dropped_lines() > 0);
}

async fn spans_of_two_requests(
    transport: observe::Transport,
    mut requests: tokio::sync::mpsc::UnboundedReceiver<ExportRequest>,
) {
    let mesh = Mesh::observed(to_collector(transport));
    let server = mesh.server("catalogue", echo().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.ask(&traced("00")).await;
    client.ask(&traced("01")).await;
    let mut spans = Vec::new();
    while spans.len() < 2 {
        let request = requests.recv().await.expect("an export");
        let resource = request.resource_spans[0].resource.clone().expect("a resource");
        let keys: Vec<&str> = resource.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert!(keys.starts_with(&["service.name", "service.namespace"]) && keys.contains(&"k8s.pod.name"), "{keys:?}");
        spans.extend(spans_of(&request));
    }
    spans.sort_by_key(|span| span.kind);
    // server before client; both beside the application's spans, below the one that sent the request
    assert_eq!(spans.iter().map(|span| span.kind).collect::<Vec<_>>(), [2, 3]);
    for span in &spans {
        assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    }
    assert_ne!(spans[0].span_id, spans[1].span_id);
}

#[tokio::test(flavor = "local")]
async fn a_sampled_request_is_a_client_and_a_server_span_over_grpc() {
    let (collector, requests) = grpc_collector().await;
    spans_of_two_requests(observe::Transport::grpc(&collector, None).expect("a transport"), requests).await;
}

#[tokio::test(flavor = "local")]
async fn a_sampled_request_is_a_client_and_a_server_span_over_http() {
    let (collector, requests) = http_collector(&[503]).await;
    spans_of_two_requests(observe::Transport::http(collector, None), requests).await;
}
