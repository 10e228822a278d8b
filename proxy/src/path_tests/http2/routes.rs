//! What routes do to HTTP/2: the same as to HTTP/1, stream by stream.

use std::cell::RefCell;

use minimesh_api::model::{
    BackendKey, BackendRef, Cors, Filter, HttpRule, Mirror, PathModifier, Redirect, Retry, Rewrite, Session,
    SessionKind,
};

use super::*;
use crate::path_tests::repeats::{counter_of, until};
use crate::path_tests::routes::{route, rule};

async fn mesh_with(rule: HttpRule, app: SocketAddr) -> (Mesh, Server, Caller) {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", app);
    mesh.routed(Protocol::Detect, &[route(vec![rule])], vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    (mesh, server, caller)
}

#[tokio::test(flavor = "local")]
async fn redirects_and_preflights_are_answered() {
    let path = Some(PathModifier::Prefix("/new".into()));
    let redirect = Redirect { scheme: None, hostname: None, path, port: None, status: 301 };
    let (_mesh, _server, caller) = mesh_with(rule(vec![Filter::Redirect(redirect)]), mirror().await).await;
    let answer = caller.ask(request(Method::POST, "/old/a?x=1"), b"body").await.expect("an answer");
    assert_eq!((answer.status, answer.header("location")), (301, "http://catalogue/new/a?x=1"));

    let cors = Cors { origins: vec!["https://a.example".into()], methods: vec!["PUT".into()], ..Cors::default() };
    let (_mesh, _server, caller) = mesh_with(rule(vec![Filter::Cors(cors)]), mirror().await).await;
    let with = |method, origin: &str| {
        let mut request = request(method, "/old");
        request.headers_mut().insert("origin", origin.parse().expect("a value"));
        request.headers_mut().insert("access-control-request-method", HeaderValue::from_static("PUT"));
        request
    };
    let preflight = caller.ask(with(Method::OPTIONS, "https://a.example"), b"").await.expect("an answer");
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, "PUT"));
    let actual = caller.ask(with(Method::PUT, "https://a.example"), b"body").await.expect("an answer");
    assert_eq!(actual.header("access-control-allow-origin"), "https://a.example");
    assert_eq!(actual.body, b"body");
    let foreign = caller.ask(with(Method::PUT, "https://b.example"), b"").await.expect("an answer");
    assert_eq!(foreign.header("access-control-allow-origin"), "");
}

#[tokio::test(flavor = "local")]
async fn a_rewritten_url_arrives() {
    let rewrite = Rewrite { hostname: Some("one.example".into()), path: Some(PathModifier::Prefix("/new".into())) };
    let (_mesh, _server, caller) = mesh_with(rule(vec![Filter::Rewrite(rewrite)]), mirror().await).await;
    let answer = caller.ask(request(Method::POST, "/old/a?x"), b"body").await.expect("an answer");
    assert!(answer.header("x-seen").starts_with("POST http://one.example/new/a?x "), "{}", answer.header("x-seen"));
}

/// Answers 503 to all but every third request, and logs bodies.
async fn busy() -> (SocketAddr, Rc<RefCell<Vec<Vec<u8>>>>) {
    let log: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
    let kept = Rc::clone(&log);
    let address = serve(move |request, mut respond| {
        let log = Rc::clone(&log);
        async move {
            let body = read_body(&mut request.into_body()).await.expect("a body");
            log.borrow_mut().push(body);
            let status = if log.borrow().len().is_multiple_of(3) { 200 } else { 503 };
            let response = Response::builder().status(status).body(()).expect("valid");
            let mut to = respond.send_response(response, false).expect("sent");
            to.send_data(Bytes::from_static(b"said"), true).expect("sent");
        }
    })
    .await;
    (address, kept)
}

#[tokio::test(flavor = "local")]
async fn a_listed_code_is_asked_again_with_the_body() {
    let retry = Retry { codes: vec![503], attempts: 2, backoff: Some(Duration::from_millis(1)) };
    let (app, log) = busy().await;
    let (mesh, _server, caller) = mesh_with(HttpRule { retry: Some(retry), ..rule(vec![]) }, app).await;
    for n in 1..=10u8 {
        let body = vec![n; 20_000];
        let answer = caller.ask(request(Method::POST, "/old"), &body).await.expect("an answer");
        assert_eq!((answer.status, &*answer.body), (200, &b"said"[..]));
        let log = log.borrow();
        assert!(log.len() == usize::from(n) * 3 && log.iter().rev().take(3).all(|sent| *sent == body));
    }
    assert_eq!(counter_of(&mesh, "minimesh_retries_total{reason=\"status\"}"), 20);
    // more than is held: the first answer passes
    let answer = caller.ask(request(Method::POST, "/old"), &vec![7; 300_000]).await.expect("an answer");
    assert_eq!((answer.status, log.borrow().len()), (503, 31));
    assert_eq!(counter_of(&mesh, "minimesh_retries_skipped_total{reason=\"not_held\"}"), 1);
}

#[tokio::test(flavor = "local")]
async fn a_copy_arrives_with_body_and_trailers() {
    let copy = BackendKey { name: "copy".into(), ..key() };
    let to = Mirror { backend: BackendRef::Service(copy.clone()), numerator: 1, denominator: 1 };
    let (mesh, _server, caller) = mesh_with(rule(vec![Filter::Mirror(to)]), mirror().await).await;
    let seen: Rc<RefCell<Vec<(String, usize, bool)>>> = Rc::default();
    let log = Rc::clone(&seen);
    let app = serve(move |request, mut respond| {
        let log = Rc::clone(&log);
        async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let length = read_body(&mut body).await.expect("a body").len();
            let trailers = body.trailers().await.expect("an end").is_some();
            log.borrow_mut().push((path, length, trailers));
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let copies = mesh.server("copy", app);
    mesh.client.control.endpoints(&copy, Endpoints(vec![copies.endpoint()]));
    let answer = caller.ask(request(Method::POST, "/old/1"), &[1; 30_000]).await.expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (200, 30_000));
    let (response, mut stream) = caller.begin(request(Method::POST, "/old/2")).await;
    stream.send_data(Bytes::from_static(b"hi"), false).expect("sent");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", HeaderValue::from_static("1"));
    stream.send_trailers(trailers).expect("sent");
    assert_eq!(read(response.await.expect("an answer")).await.expect("whole").body, b"hi");
    until(|| seen.borrow().len() == 2).await;
    let mut got = seen.borrow().clone();
    got.sort();
    assert_eq!(got, [("/old/1".to_owned(), 30_000, false), ("/old/2".to_owned(), 2, true)]);
    until(|| counter_of(&mesh, "minimesh_mirrors_total{result=\"failed\"}") == 2).await;
    let answer = caller.ask(request(Method::POST, "/old"), &vec![1; 300_000]).await.expect("an answer");
    assert_eq!(answer.body.len(), 300_000);
    assert_eq!(counter_of(&mesh, "minimesh_mirrors_total{result=\"too_large\"}"), 1);
}

#[tokio::test(flavor = "local")]
async fn a_session_stays_at_its_endpoint() {
    let session = Session {
        name: "shop".into(),
        kind: SessionKind::Cookie { path: "/".into(), permanent: false },
        absolute_timeout: None,
        idle_timeout: None,
        key: (*b"0123456789abcdef").into(),
    };
    let named = |name: &'static str| {
        serve(move |_, mut respond| async move {
            let response = Response::builder().header("x-name", name).body(()).expect("valid");
            respond.send_response(response, true).expect("sent");
        })
    };
    let (mesh, server, caller) = mesh_with(HttpRule { session: Some(session), ..rule(vec![]) }, named("a").await).await;
    let other = mesh.server("catalogue", named("b").await);
    mesh.endpoints(vec![server.endpoint(), other.endpoint()]);
    let first = caller.get("/old").await.expect("an answer");
    let cookie = first.header("set-cookie").split(';').next().expect("a value").to_owned();
    assert!(cookie.starts_with("shop="), "{cookie}");
    for _ in 0..20 {
        let mut request = request(Method::GET, "/old");
        request.headers_mut().insert("cookie", cookie.parse().expect("a value"));
        let again = caller.ask(request, b"").await.expect("an answer");
        assert_eq!((again.header("x-name"), again.header("set-cookie")), (first.header("x-name"), ""));
    }
}
