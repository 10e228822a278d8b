//! What routes do to requests on their way: redirects, rewrites, answers to cross-origin requests.

use minimesh_api::model::{
    BackendRef, Cors, Filter, Header, HeaderModifier, HttpMatch, HttpRule, ObjectRef, PathMatch, PathModifier,
    Redirect, Rewrite, RuleOrder, Timeouts, WeightedBackend,
};

use super::*;

/// A rule for the prefix `/old` to the Service itself.
pub(super) fn rule(filters: Vec<Filter>) -> HttpRule {
    let old = HttpMatch::All { path: PathMatch::Prefix("/old".into()), headers: vec![], query: vec![], method: None };
    HttpRule {
        name: "".into(),
        matches: vec![old],
        filters,
        backends: vec![WeightedBackend { weight: 1, backend: BackendRef::Service(key()), filters: vec![] }],
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    }
}

pub(super) fn route(rules: Vec<HttpRule>) -> HttpRoute {
    let object = ObjectRef { group: "".into(), kind: "HTTPRoute".into(), namespace: "shop".into(), name: "r".into() };
    HttpRoute { object, order: RuleOrder::Specificity, rules }
}

/// A mesh whose Service has one echo server and this rule.
async fn filtered(filters: Vec<Filter>) -> (Mesh, Server) {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", echo().await);
    mesh.routed(Protocol::Detect, &[route(vec![rule(filters)])], vec![server.endpoint()]);
    (mesh, server)
}

/// What the application received, out of an answer of `echo`.
fn received(response: &str) -> &str {
    response.split_once("\r\n\r\n").expect("head and body").1
}

#[tokio::test(flavor = "local")]
async fn a_redirect_is_answered_and_the_connection_goes_on() {
    let path = Some(PathModifier::Prefix("/new".into()));
    let redirect = Redirect { scheme: None, hostname: None, path, port: None, status: 307 };
    let (mesh, server) = filtered(vec![Filter::Redirect(redirect)]).await;
    let mut client = mesh.connect().await;
    let wanted = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://echo/new/a?x=1\r\ncontent-length: 0\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(client.ask("GET /old/a?x=1 HTTP/1.1\r\nHost: echo:80\r\n\r\n").await, wanted);
        let post = "POST /old/a?x=1 HTTP/1.1\r\nHost: echo\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(client.ask(post).await, wanted);
    }
    // a body that is still to come is not read: the connection ends after the answer
    client.send(b"POST /old HTTP/1.1\r\nHost: echo\r\nContent-Length: 100000\r\n\r\nbody").await;
    let head = client.head().await.expect("an answer");
    assert!(head.contains("location: http://echo/new\r\n") && head.contains("connection: close\r\n"), "{head}");
    assert_eq!(server.proxy.metrics.reports(), []);
}

#[tokio::test(flavor = "local")]
async fn a_rewritten_request_arrives_with_its_body_and_those_behind_it() {
    let rewrite = Rewrite { hostname: Some("one.example".into()), path: Some(PathModifier::Prefix("/new".into())) };
    let modifier = HeaderModifier {
        set: vec![Header { name: "X-Set".into(), value: b"1".as_slice().into() }],
        ..HeaderModifier::default()
    };
    let (mesh, server) = filtered(vec![Filter::Rewrite(rewrite), Filter::RequestHeaders(modifier)]).await;
    // one endpoint is gone: what is sent again is the rewritten request, once
    let gone = endpoint(nobody().await, Transport::MutualTls { identity: id("catalogue").as_str().into() });
    mesh.endpoints(vec![server.endpoint(), gone]);
    let mut client = mesh.connect().await;
    let requests: String = (0..20)
        .map(|n| format!("POST /old/{n}?q=/old HTTP/1.1\r\nHost: catalogue\r\nX-Set: 0\r\nContent-Length: 2\r\n\r\nhi"))
        .collect();
    client.send(requests.as_bytes()).await;
    for n in 0..20 {
        let response = String::from_utf8(client.message().await.expect("a response")).expect("text");
        let wanted = format!(
            "POST /new/{n}?q=/old HTTP/1.1\r\nHost: one.example\r\nContent-Length: 2\r\nX-Set: 1\r\n\
             l5d-client-id: spiffe://cluster.local/ns/shop/sa/front-end\r\n\r\nhi"
        );
        assert_eq!(received(&response), wanted);
    }
}

#[tokio::test(flavor = "local")]
async fn the_error_after_a_rewrite_leaves_the_connection_usable() {
    let rewrite = Rewrite { hostname: None, path: Some(PathModifier::Full("/a-much-longer-path-than-before".into())) };
    let (mesh, server) = filtered(vec![Filter::Rewrite(rewrite)]).await;
    mesh.endpoints(vec![]);
    let mut client = mesh.connect().await;
    let request = "POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    for _ in 0..2 {
        assert!(client.ask(request).await.contains("minimesh-error: no_endpoints"));
    }
    mesh.endpoints(vec![server.endpoint()]);
    assert!(received(&client.ask(request).await).starts_with("POST /a-much-longer-path-than-before HTTP/1.1\r\n"));
}

#[tokio::test(flavor = "local")]
async fn preflights_are_answered_and_actual_responses_carry_what_the_filter_says() {
    let cors = Cors {
        origins: vec!["https://*.example".into()],
        credentials: true,
        methods: vec!["PUT".into()],
        headers: vec!["x-a".into()],
        expose: vec!["x-b".into()],
        max_age: 9,
    };
    let mesh = Mesh::new();
    let app =
        canned(b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\nContent-Length: 0\r\n\r\n").await;
    let server = mesh.server("catalogue", app);
    mesh.routed(Protocol::Detect, &[route(vec![rule(vec![Filter::Cors(cors)])])], vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    let preflight =
        "OPTIONS /old HTTP/1.1\r\nHost: a\r\nOrigin: https://www.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n";
    client.send(preflight.as_bytes()).await;
    assert_eq!(
        client.head().await.expect("an answer"),
        "HTTP/1.1 204 No Content\r\naccess-control-allow-origin: https://www.example\r\n\
         access-control-allow-credentials: true\r\naccess-control-expose-headers: x-b\r\n\
         vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n\
         access-control-allow-methods: PUT\r\naccess-control-allow-headers: x-a\r\naccess-control-max-age: 9\r\n\r\n"
    );
    let put = |origin: &str| format!("PUT /old HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        client.ask(&put("https://www.example")).await,
        "HTTP/1.1 200 OK\r\nVary: Accept\r\nContent-Length: 0\r\naccess-control-allow-origin: https://www.example\r\n\
         access-control-allow-credentials: true\r\naccess-control-expose-headers: x-b\r\nvary: Origin\r\n\r\n"
    );
    assert_eq!(
        client.ask(&put("https://elsewhere.org")).await,
        "HTTP/1.1 200 OK\r\nVary: Accept\r\nContent-Length: 0\r\nvary: Origin\r\n\r\n"
    );
}
