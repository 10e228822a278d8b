//! What a route wants to be sent again, copies of requests, and client sessions: the bytes are those that were sent, and each arrives as often as
//! it should.

use std::cell::RefCell;
use std::collections::HashMap;

use minimesh_api::model::{BackendKey, BackendRef, Filter, HttpRule, Mirror, Retry, Session, SessionKind, Timeouts};
use minimesh_balance::Rng;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::routes::{route, rule};
use super::*;
use crate::metrics::Exposition;

/// The rule for `/old` with this word about repetition.
pub(super) fn retrying(codes: &[u16], attempts: u32) -> HttpRule {
    HttpRule {
        retry: Some(Retry { codes: codes.to_vec(), attempts, backoff: Some(Duration::from_millis(1)) }),
        ..rule(vec![])
    }
}

/// A counter of the client's proxy, by its line up to the value.
pub(super) fn counter_of(mesh: &Mesh, line: &str) -> u64 {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(Arc::clone(&mesh.client.metrics))));
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    let value = text.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_else(|| panic!("{line}\n{text}"));
    value.trim().parse().expect("a number")
}

/// What an application got, and how often it was connected to.
#[derive(Default)]
pub(super) struct Log {
    pub(super) messages: RefCell<Vec<Vec<u8>>>,
    connections: Cell<usize>,
}

/// Answers with `answers` in turn, and then always with the last. An empty one: it ends the connection instead.
async fn scripted(answers: &'static [&'static str]) -> (SocketAddr, Rc<Log>) {
    let log = Rc::new(Log::default());
    let kept = Rc::clone(&log);
    let address = app(move |mut peer| {
        let log = Rc::clone(&log);
        async move {
            log.connections.set(log.connections.get() + 1);
            while let Some(message) = peer.message().await {
                log.messages.borrow_mut().push(message);
                let turn = (log.messages.borrow().len() - 1).min(answers.len() - 1);
                if answers[turn].is_empty() {
                    return;
                }
                peer.send(answers[turn].as_bytes()).await;
            }
        }
    })
    .await;
    (address, kept)
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(super) const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
const CHUNKED: &str = "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
const POST: &str = "POST /old HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
const GET: &str = "GET /old HTTP/1.1\r\nHost: a\r\n\r\n";

pub(super) async fn mesh_with(rule: HttpRule, answers: &'static [&'static str]) -> (Mesh, Server, Rc<Log>) {
    let mesh = Mesh::new();
    let (app, log) = scripted(answers).await;
    let server = mesh.server("catalogue", app);
    mesh.routed(Protocol::Detect, &[route(vec![rule])], vec![server.endpoint()]);
    (mesh, server, log)
}

#[tokio::test(flavor = "local")]
async fn a_listed_code_is_asked_again_and_the_second_answer_returned() {
    let (mesh, _server, log) = mesh_with(retrying(&[500, 503], 2), &[BUSY, CHUNKED, OK]).await;
    let mut client = mesh.connect().await;
    assert_eq!(client.ask(POST).await, OK);
    assert_eq!(client.ask(GET).await, OK);
    let messages = log.messages.borrow();
    assert_eq!(messages.len(), 4);
    assert!(
        messages[0] == messages[1] && messages[1] == messages[2] && messages[0].ends_with(b"4\r\nbody\r\n0\r\n\r\n")
    );
    assert_eq!(log.connections.get(), 1, "a whole answer is thrown away, not its connection");
    assert_eq!(counter_of(&mesh, "minimesh_retries_total{reason=\"status\"}"), 2);
}

#[tokio::test(flavor = "local")]
async fn attempts_and_codes_are_respected_and_the_last_answer_passes_whole() {
    let (mesh, _server, log) = mesh_with(retrying(&[503], 3), &[BUSY]).await;
    assert_eq!(mesh.connect().await.ask(GET).await, BUSY);
    assert_eq!(log.messages.borrow().len(), 4);
    assert_eq!(counter_of(&mesh, "minimesh_retries_skipped_total{reason=\"attempts\"}"), 1);
    let (mesh, _server, log) = mesh_with(retrying(&[503], 3), &[CHUNKED]).await;
    assert_eq!(mesh.connect().await.ask(GET).await, CHUNKED);
    assert_eq!(log.messages.borrow().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_ends_repeats_only_what_may_happen_twice() {
    let (mesh, _server, log) = mesh_with(retrying(&[], 2), &["", "", OK]).await;
    assert_eq!(mesh.connect().await.ask(GET).await, OK);
    assert_eq!(log.messages.borrow().len(), 3);
    let (mesh, _server, log) = mesh_with(retrying(&[], 2), &["", OK]).await;
    let response = mesh.connect().await.ask(POST).await;
    assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("upstream_unanswered"), "{response}");
    assert_eq!(log.messages.borrow().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn an_attempt_that_takes_too_long_is_repeated_within_the_requests_time() {
    let (count, turns) = counter();
    let slow = app(move |mut peer| {
        let count = Rc::clone(&count);
        async move {
            while peer.message().await.is_some() {
                count.set(count.get() + 1);
                if count.get() == 3 {
                    peer.send(OK.as_bytes()).await;
                }
            }
        }
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", slow);
    let limits = |request: u64, attempt: u64| Timeouts {
        request: (request > 0).then_some(Duration::from_millis(request)),
        backend_request: Some(Duration::from_millis(attempt)),
    };
    let rule = |timeouts| HttpRule { timeouts, ..retrying(&[], 9) };
    mesh.routed(Protocol::Detect, &[route(vec![rule(limits(0, 30))])], vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    assert_eq!(client.ask(GET).await, OK);
    assert_eq!(turns.get(), 3);
    mesh.routed(Protocol::Detect, &[route(vec![rule(limits(70, 30))])], vec![server.endpoint()]);
    let late = mesh.connect().await.ask(GET).await;
    assert!(late.starts_with("HTTP/1.1 504 ") && late.contains("request_timeout"), "{late}");
    assert!(turns.get() <= 3 + 3, "no attempt after the request's time: {}", turns.get());
}

#[tokio::test(flavor = "local")]
async fn the_next_attempt_goes_to_another_endpoint() {
    let mesh = Mesh::new();
    let busy = mesh.server("catalogue", canned(BUSY.as_bytes()).await);
    let well = mesh.server("catalogue", canned(OK.as_bytes()).await);
    let routes = [route(vec![retrying(&[503], 1)])];
    mesh.routed(Protocol::Detect, &routes, vec![busy.endpoint(), well.endpoint()]);
    let mut client = mesh.connect().await;
    for _ in 0..40 {
        assert_eq!(client.ask(POST).await, OK);
    }
}

#[tokio::test(flavor = "local")]
async fn more_than_is_held_is_not_repeated() {
    let (mesh, _server, log) = mesh_with(retrying(&[503], 3), &[BUSY, OK]).await;
    let body = vec![7; 200_000];
    let mut client = mesh.connect().await;
    client.send(format!("POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).await;
    client.send(&body).await;
    assert_eq!(client.message().await.expect("an answer"), BUSY.as_bytes());
    assert!(log.messages.borrow()[0].ends_with(&body));
    assert_eq!(counter_of(&mesh, "minimesh_retries_skipped_total{reason=\"not_held\"}"), 1);
    assert_eq!(client.ask(GET).await, OK, "the connection goes on");
}

#[tokio::test(flavor = "local")]
async fn the_budget_ends_a_storm() {
    let (mesh, _server, log) = mesh_with(retrying(&[503], 100), &[BUSY]).await;
    let mut client = mesh.connect().await;
    let began = std::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(client.ask(GET).await, BUSY);
    }
    let sent = log.messages.borrow().len();
    let earned = 1 + 10 * (1 + began.elapsed().as_secs() as usize);
    assert!(sent <= 3 + 100 + earned, "{sent} requests: 100 saved up, and ten a second");
    assert!(counter_of(&mesh, "minimesh_retries_skipped_total{reason=\"budget\"}") > 0);
}

/// Bodies of every framing in every segmentation, pipelined, to a server that answers 503 at random: what arrives is what was
/// sent, once with an answer that counts.
#[tokio::test(flavor = "local")]
async fn repeated_requests_arrive_byte_for_byte() {
    let got: Rc<RefCell<HashMap<String, Vec<Vec<u8>>>>> = Rc::default();
    let seen = Rc::clone(&got);
    let random = Rc::new(RefCell::new(Rng::new(7)));
    let flaky = app(move |mut peer| {
        let (seen, random) = (Rc::clone(&seen), Rc::clone(&random));
        async move {
            while let Some(message) = peer.message().await {
                let line = String::from_utf8_lossy(&message[..20]).into_owned();
                let path = line.split(' ').nth(1).expect("a target").to_owned();
                seen.borrow_mut().entry(path).or_default().push(message);
                let busy = random.borrow_mut().below(3) == 0;
                peer.send(if busy { BUSY.as_bytes() } else { OK.as_bytes() }).await;
            }
        }
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", flaky);
    mesh.routed(Protocol::Detect, &[route(vec![retrying(&[503], 50)])], vec![server.endpoint()]);
    let mut random = Rng::new(11);
    let (mut sent, mut stream) = (Vec::new(), Vec::new());
    for n in 0..60 {
        let body: Vec<u8> = (0..random.below(3_000)).map(|at| (at * 31 + n) as u8).collect();
        let mut request = format!("POST /old/{n:02} HTTP/1.1\r\nHost: a\r\n").into_bytes();
        if n % 2 == 0 {
            request.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            request.extend(&body);
        } else {
            request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(1 + random.below(900)) {
                request.extend(format!("{:x}\r\n", chunk.len()).bytes());
                request.extend(chunk);
                request.extend(b"\r\n");
            }
            request.extend(b"0\r\n\r\n");
        }
        stream.extend(&request);
        sent.push(request);
    }
    let Client { tcp, left } = mesh.connect().await;
    let (read, mut write) = tcp.into_split();
    let mut at = 0;
    let writing = tokio::task::spawn_local(async move {
        while at < stream.len() {
            let end = stream.len().min(at + 1 + random.below(1_500));
            write.write_all(&stream[at..end]).await.expect("written");
            tokio::task::yield_now().await;
            at = end;
        }
        write
    });
    let mut answers = left;
    let mut read = read;
    while answers.len() < sent.len() * OK.len() {
        assert!(read.read_buf(&mut answers).await.expect("read") > 0);
    }
    drop(writing.await);
    assert_eq!(answers, OK.repeat(sent.len()).into_bytes());
    let got = got.borrow();
    for (n, request) in sent.iter().enumerate() {
        let body = &request[request.windows(4).position(|four| four == b"\r\n\r\n").expect("head")..];
        let copies = &got[&format!("/old/{n:02}")];
        assert!(!copies.is_empty() && copies.iter().all(|copy| copy.ends_with(body)), "{n}");
        assert!(copies.iter().all(|copy| *copy == copies[0]), "{n}");
    }
}

/// A mesh whose Service answers and whose mirror logs.
async fn mirrored(numerator: u32, answers: &'static [&'static str]) -> (Mesh, Server, Server, Rc<Log>) {
    let copy = BackendKey { name: "copy".into(), ..key() };
    let backend = BackendRef::Service(copy.clone());
    let (mesh, server, _) =
        mesh_with(rule(vec![Filter::Mirror(Mirror { backend, numerator, denominator: 100 })]), &[OK]).await;
    let (app, log) = scripted(answers).await;
    let mirror = mesh.server("copy", app);
    mesh.client.control.endpoints(&copy, Endpoints(vec![mirror.endpoint()]));
    (mesh, server, mirror, log)
}

pub(super) async fn until(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time");
}

#[tokio::test(flavor = "local")]
async fn a_copy_arrives_whole_and_its_answer_is_nobodys() {
    let (mesh, _server, _mirror, log) = mirrored(100, &[CHUNKED, "", BUSY]).await;
    let mut client = mesh.connect().await;
    for n in 1..=6 {
        let request = if n % 2 == 0 { GET } else { POST };
        assert_eq!(client.ask(request).await, OK);
        until(|| log.messages.borrow().len() == n).await;
        let copy = String::from_utf8(log.messages.borrow()[n - 1].clone()).expect("text");
        assert!(copy.starts_with(&request[..18]) && copy.contains("Host: a\r\n"), "{copy}");
        assert_eq!(copy.ends_with("4\r\nbody\r\n0\r\n\r\n"), n % 2 == 1);
    }
    until(|| counter_of(&mesh, "minimesh_mirrors_total{result=\"answered\"}") == 6).await;
}

#[tokio::test(flavor = "local")]
async fn a_mirror_takes_its_share_and_nothing_of_its_troubles_is_seen() {
    let (mesh, _server, mirror, log) = mirrored(30, &[OK]).await;
    let mut client = mesh.connect().await;
    for _ in 0..500 {
        assert_eq!(client.ask(GET).await, OK);
    }
    let answered = || counter_of(&mesh, "minimesh_mirrors_total{result=\"answered\"}");
    until(|| answered() == log.messages.borrow().len() as u64).await;
    // 500 draws at 30 %: five standard deviations are 51
    assert!((100..=200).contains(&answered()), "{}", answered());

    let copy = BackendKey { name: "copy".into(), ..key() };
    let nowhere = endpoint(nobody().await, Transport::MutualTls { identity: id("copy").as_str().into() });
    mesh.client.control.endpoints(&copy, Endpoints(vec![nowhere]));
    for _ in 0..50 {
        assert_eq!(client.ask(POST).await, OK);
    }
    until(|| counter_of(&mesh, "minimesh_mirrors_total{result=\"failed\"}") > 0).await;
    drop(mirror);
}

#[tokio::test(flavor = "local")]
async fn what_is_not_held_is_not_copied_and_a_request_without_an_answer_is() {
    let (mesh, server, _mirror, log) = mirrored(100, &[OK]).await;
    let mut client = mesh.connect().await;
    let body = vec![7; 200_000];
    client.send(format!("POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).await;
    client.send(&body).await;
    assert_eq!(client.message().await.expect("an answer"), OK.as_bytes());
    assert_eq!(counter_of(&mesh, "minimesh_mirrors_total{result=\"too_large\"}"), 1);

    mesh.endpoints(vec![]);
    assert!(client.ask(POST).await.contains("no_endpoints"));
    until(|| log.messages.borrow().len() == 1).await;
    mesh.endpoints(vec![server.endpoint()]);
    assert_eq!(client.ask(GET).await, OK, "the connection goes on");
}

/// The rule for `/old` with sessions in a cookie.
fn with_sessions(kind: SessionKind) -> HttpRule {
    let session = Session {
        name: "shop".into(),
        kind,
        absolute_timeout: Some(Duration::from_secs(600)),
        idle_timeout: None,
        key: (*b"0123456789abcdef").into(),
    };
    HttpRule { session: Some(session), ..rule(vec![]) }
}

/// Answers with its own name.
async fn named(name: &'static str) -> SocketAddr {
    app(move |mut peer| async move {
        while peer.message().await.is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}").as_bytes()).await;
        }
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn requests_of_a_session_go_to_one_endpoint_until_it_is_gone() {
    let mesh = Mesh::new();
    let servers = [
        mesh.server("catalogue", named("a").await),
        mesh.server("catalogue", named("b").await),
        mesh.server("catalogue", named("c").await),
    ];
    let cookie = SessionKind::Cookie { path: "/".into(), permanent: true };
    let endpoints = || servers.iter().map(Server::endpoint);
    mesh.routed(Protocol::Detect, &[route(vec![with_sessions(cookie)])], endpoints().collect());
    let mut client = mesh.connect().await;
    let first = client.ask(GET).await;
    let (_, rest) = first.split_once("set-cookie: shop=").expect("a session");
    let (value, attributes) = rest.split_once(';').expect("attributes");
    assert!(attributes.starts_with(" Path=/; HttpOnly; Max-Age=600\r\n"), "{attributes}");
    assert!(value.len() == 80 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
    let with = |cookie: &str| format!("GET /old HTTP/1.1\r\nHost: a\r\nCookie: x=1; shop={cookie}\r\n\r\n");
    let home = first.chars().last().expect("a name");
    for _ in 0..20 {
        let response = client.ask(&with(value)).await;
        assert!(response.ends_with(home) && !response.contains("set-cookie"), "{response}");
    }
    // somebody else's word is worth nothing
    assert!(client.ask(&with(&value.replace(|digit: char| digit.is_ascii_digit(), "0"))).await.contains("set-cookie"));

    let index = usize::try_from(u32::from(home) - u32::from('a')).expect("a small number");
    let others = endpoints().enumerate().filter(|(at, _)| *at != index).map(|(_, endpoint)| endpoint);
    mesh.endpoints(others.collect());
    let moved = client.ask(&with(value)).await;
    assert!(!moved.ends_with(home) && moved.contains("set-cookie: shop="), "{moved}");
}

#[tokio::test(flavor = "local")]
async fn a_session_in_a_header_is_the_clients_to_carry() {
    let mesh = Mesh::new();
    let servers = [mesh.server("catalogue", named("a").await), mesh.server("catalogue", named("b").await)];
    let endpoints = servers.iter().map(Server::endpoint).collect();
    mesh.routed(Protocol::Detect, &[route(vec![with_sessions(SessionKind::Header)])], endpoints);
    let mut client = mesh.connect().await;
    let first = client.ask(GET).await;
    let (_, rest) = first.split_once("\r\nshop: ").expect("a session");
    let value = rest.split_once("\r\n").expect("a line").0;
    for _ in 0..20 {
        let response = client.ask(&format!("GET /old HTTP/1.1\r\nHost: a\r\nShop: {value}\r\n\r\n")).await;
        assert!(response.chars().last() == first.chars().last() && !response.contains("shop:"), "{response}");
    }
}
