//! What was provably not delivered is sent elsewhere; nothing else is.

use minimesh_api::model::{
    BackendRef, HttpMatch, HttpRule, ObjectRef, PathMatch, RuleOrder, Timeouts, WeightedBackend,
};
use rustls::server::UnbufferedServerConnection;

use super::*;
use crate::io::{Buffer, Session, Tls};

#[tokio::test(flavor = "local")]
async fn a_dead_endpoint_costs_no_request() {
    let mesh = Mesh::new();
    let alive = mesh.server("catalogue", echo().await);
    let without_app = mesh.server("catalogue", nobody().await);
    let gone = endpoint(nobody().await, Transport::MutualTls { identity: id("catalogue").as_str().into() });
    mesh.service(Protocol::Detect, vec![alive.endpoint(), without_app.endpoint(), gone]);
    let mut client = mesh.connect().await;
    for n in 0..40 {
        let response = client.ask(&format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")).await;
        assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("body"), "{response}");
    }
}

#[tokio::test(flavor = "local")]
async fn an_absent_application_is_named() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", nobody().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    for _ in 0..2 {
        let response = client.get().await;
        assert!(
            response.starts_with("HTTP/1.1 502 ") && response.contains("minimesh-error: connect_refused"),
            "{response}"
        );
        assert!(!response.contains("minimesh-cause"));
    }
    mesh.endpoints(vec![]);
    assert!(client.get().await.contains("minimesh-error: no_endpoints"));
}

#[tokio::test(flavor = "local")]
async fn where_nobody_can_be_reached_the_last_cause_is_named() {
    let mesh = Mesh::new();
    let without_app = mesh.server("catalogue", nobody().await);
    let gone = endpoint(nobody().await, Transport::MutualTls { identity: id("catalogue").as_str().into() });
    mesh.service(Protocol::Detect, vec![without_app.endpoint(), gone, unmeshed(nobody().await)]);
    let mut client = mesh.connect().await;
    for _ in 0..20 {
        let response = client.get().await;
        assert!(response.contains("minimesh-error: connect_refused"), "{response}");
    }
}

/// A proxy of the mesh that takes a request and says goodbye without an answer.
pub(super) async fn goodbye(mesh: &Mesh, polite: bool) -> (Endpoint, Rc<Cell<usize>>) {
    let credentials = mesh.credentials(&mesh.authority, &id("catalogue"), Duration::from_secs(60));
    let (seen, count) = counter();
    let address = app(move |peer| {
        let (config, seen) = (credentials.server_config(), Rc::clone(&seen));
        async move {
            let session = Session::Server(UnbufferedServerConnection::new(config).expect("session"));
            let tls = Tls::handshake(peer.tcp, session, Buffer::default()).await.expect("handshake");
            let mut stream = crate::io::Stream::Tls(tls);
            let mut buffer = Buffer::default();
            assert!(stream.fill(&mut buffer).await.expect("a request") > 0);
            seen.set(seen.get() + 1);
            if polite {
                stream.close().await;
            }
        }
    })
    .await;
    (endpoint(address, Transport::MutualTls { identity: id("catalogue").as_str().into() }), count)
}

#[tokio::test(flavor = "local")]
async fn close_notify_before_any_answer_means_not_delivered() {
    let mesh = Mesh::new();
    let (leaving, seen) = goodbye(&mesh, true).await;
    let alive = mesh.server("catalogue", echo().await);
    mesh.service(Protocol::Detect, vec![leaving, alive.endpoint()]);
    for _ in 0..30 {
        let response = mesh.connect().await.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
        // three attempts may all fall on the one that is leaving, before its load tells
        assert!(response.starts_with("HTTP/1.1 200 ") || response.contains("not_delivered"), "{response}");
    }
    assert!(seen.get() > 0);
}

#[tokio::test(flavor = "local")]
async fn a_bare_fin_proves_nothing() {
    let mesh = Mesh::new();
    let (dying, seen) = goodbye(&mesh, false).await;
    mesh.service(Protocol::Detect, vec![dying]);
    let response = mesh.connect().await.get().await;
    assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("upstream_unanswered"), "{response}");
    assert_eq!(seen.get(), 1);
}

pub(super) fn route(timeout: Duration, backends: Vec<BackendRef>) -> HttpRoute {
    let object = ObjectRef { group: "".into(), kind: "HTTPRoute".into(), namespace: "shop".into(), name: "r".into() };
    let all = HttpMatch::All { path: PathMatch::Prefix("/a".into()), headers: vec![], query: vec![], method: None };
    let backends =
        backends.into_iter().map(|backend| WeightedBackend { weight: 1, backend, filters: vec![] }).collect();
    let timeouts = Timeouts { request: Some(timeout), backend_request: None };
    let rule = HttpRule {
        name: "".into(),
        matches: vec![all],
        filters: vec![],
        backends,
        timeouts,
        retry: None,
        session: None,
    };
    HttpRoute { object, order: RuleOrder::Specificity, rules: vec![rule] }
}

#[tokio::test(flavor = "local")]
async fn the_routes_answers() {
    let mesh = Mesh::new();
    let silent = mesh.server("catalogue", app(|mut peer| async move { drop(peer.rest().await) }).await);
    let service = BackendRef::Service(key());
    mesh.routed(Protocol::Detect, &[route(Duration::from_millis(50), vec![service])], vec![silent.endpoint()]);
    let mut client = mesh.connect().await;
    let missed = client.get().await;
    assert!(missed.starts_with("HTTP/1.1 404 ") && missed.contains("no_route"), "{missed}");
    let late = client.ask("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(late.starts_with("HTTP/1.1 504 ") && late.contains("request_timeout"), "{late}");

    let unresolved = BackendRef::Unresolved { reason: "no such Service".into() };
    mesh.routed(Protocol::Detect, &[route(Duration::from_secs(9), vec![unresolved])], vec![]);
    let response = mesh.connect().await.ask("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 500 ") && response.contains("unresolved_backend"), "{response}");
    mesh.routed(Protocol::Detect, &[route(Duration::from_secs(9), vec![])], vec![]);
    let response = mesh.connect().await.ask("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 500 ") && response.contains("no_backend"), "{response}");
}

#[tokio::test(flavor = "local")]
async fn a_new_endpoint_is_asked_at_once() {
    let mesh = Mesh::new();
    let old = mesh.server("catalogue", echo().await);
    mesh.service(Protocol::Detect, vec![old.endpoint()]);
    let mut client = mesh.connect().await;
    for _ in 0..20 {
        client.get().await;
    }
    let new = mesh.server("catalogue", echo().await);
    mesh.endpoints(vec![old.endpoint(), new.endpoint()]);
    client.get().await;
    assert_eq!((old.proxy.edge().requests, new.proxy.edge().requests), (20, 1));
}
