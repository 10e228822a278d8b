//! Servers that end without a byte of an answer: who is asked once more, and who is not (ADR 10).

use minimesh_api::model::{HttpRule, Retry};

use super::repeats::counter_of;
use super::routes::{route, rule};
use super::*;

const UNANSWERED: &str = "minimesh_retries_total{reason=\"unanswered\"}";

const GET: &str = "GET /old HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

/// An application that takes a request, says `word` and is gone; and how many it took.
async fn dying(word: &'static str, reset: bool) -> (SocketAddr, Rc<Cell<usize>>) {
    let (seen, count) = counter();
    let address = app(move |mut peer| {
        let seen = Rc::clone(&seen);
        async move {
            if peer.message().await.is_none() {
                return;
            }
            seen.set(seen.get() + 1);
            peer.send(word.as_bytes()).await;
            if reset {
                peer.tcp.set_zero_linger().expect("linger");
            }
        }
    })
    .await;
    (address, count)
}

/// Applications that die so behind the Service, and how many requests they took together.
async fn all_dying(mesh: &Mesh, count: usize, word: &'static str) -> (Vec<Server>, Vec<Rc<Cell<usize>>>) {
    let (mut servers, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (app, seen) = dying(word, false).await;
        servers.push(mesh.server("catalogue", app));
        taken.push(seen);
    }
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    (servers, taken)
}

fn sum(taken: &[Rc<Cell<usize>>]) -> usize {
    taken.iter().map(|taken| taken.get()).sum()
}

#[tokio::test(flavor = "local")]
async fn another_server_is_asked_what_may_be_asked_twice() {
    for (meshed, reset) in [(true, false), (true, true), (false, false), (false, true)] {
        for request in [
            GET.to_owned(),
            format!("PUT /old HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n{}", "b".repeat(20_000)),
            POST.replace("Host", "Idempotency-Key: 7\r\nHost"),
        ] {
            let mesh = Mesh::new();
            let (app, taken) = dying("", reset).await;
            let servers = [mesh.server("catalogue", app), mesh.server("catalogue", echo().await)];
            let endpoint = |server: &Server| if meshed { server.endpoint() } else { unmeshed(server.app) };
            mesh.service(Protocol::Detect, servers.iter().map(endpoint).collect());
            let mut client = mesh.connect().await;
            // a new endpoint is asked at once: one of these requests at least finds the one that dies
            for _ in 0..2 {
                let response = client.ask(&request).await;
                assert!(response.starts_with("HTTP/1.1 200 "), "{meshed} {reset}: {response}");
                let body = request.split("\r\n\r\n").nth(1).expect("a body");
                assert!(response.ends_with(body), "{meshed} {reset}: {response}");
            }
            assert!(taken.get() > 0, "{meshed} {reset}");
            assert_eq!(taken.get() as u64, counter_of(&mesh, UNANSWERED), "{meshed} {reset}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn nobody_else_is_asked_what_may_not_or_was_begun_to_be_answered() {
    for (request, word, code) in [
        (POST, "", "upstream_unanswered"),
        (GET, "HTTP/1.1 20", "upstream_closed"),
        (GET, "HTTP/1.1 103 Early Hints\r\n\r\n", "upstream_closed"),
    ] {
        let mesh = Mesh::new();
        let (_servers, taken) = all_dying(&mesh, 2, word).await;
        let mut client = mesh.connect().await;
        client.send(request.as_bytes()).await;
        let mut response = client.head().await.expect("a head");
        if response.starts_with("HTTP/1.1 103 ") {
            response = client.head().await.expect("another");
        }
        assert!(response.starts_with("HTTP/1.1 502 ") && response.contains(code), "{response}");
        assert_eq!((sum(&taken), counter_of(&mesh, UNANSWERED)), (1, 0), "{word:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn it_is_asked_once_more_and_not_of_the_same_one() {
    for (servers, asked) in [(3, 2), (1, 1)] {
        let mesh = Mesh::new();
        let (_servers, taken) = all_dying(&mesh, servers, "").await;
        let response = mesh.connect().await.ask(GET).await;
        assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("upstream_unanswered"), "{response}");
        assert_eq!(sum(&taken), asked);
    }
}

#[tokio::test(flavor = "local")]
async fn a_route_that_speaks_of_repetition_has_the_word() {
    for attempts in [1, 0] {
        let mesh = Mesh::new();
        let (servers, taken) = all_dying(&mesh, 2, "").await;
        let retry = Some(Retry { codes: vec![], attempts, backoff: None });
        let routes = [route(vec![HttpRule { retry, ..rule(vec![]) }])];
        mesh.routed(Protocol::Detect, &routes, servers.iter().map(Server::endpoint).collect());
        let response = mesh.connect().await.ask(GET).await;
        assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("upstream_unanswered"), "{response}");
        assert_eq!((sum(&taken), counter_of(&mesh, UNANSWERED)), (1 + attempts as usize, 0));
        let repeated = counter_of(&mesh, "minimesh_retries_total{reason=\"disconnected\"}");
        assert_eq!(repeated, u64::from(attempts));
    }
}

#[tokio::test(flavor = "local")]
async fn an_application_that_says_so_itself_is_not_believed() {
    const FORGED: &str = "HTTP/1.1 502 No\r\nminimesh-error: upstream_unanswered\r\nContent-Length: 0\r\n\r\n";
    for meshed in [true, false] {
        let mesh = Mesh::new();
        let app = canned(FORGED.as_bytes()).await;
        let servers = [mesh.server("catalogue", app), mesh.server("catalogue", canned(FORGED.as_bytes()).await)];
        let endpoint = |server: &Server| if meshed { server.endpoint() } else { unmeshed(server.app) };
        mesh.service(Protocol::Detect, servers.iter().map(endpoint).collect());
        let response = mesh.connect().await.ask(GET).await;
        assert_eq!(response, "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n", "{meshed}");
        assert_eq!(counter_of(&mesh, UNANSWERED), 0);
    }
}

#[tokio::test(flavor = "local")]
async fn a_proxy_that_is_gone_with_its_application_is_one_of_them() {
    let mesh = Mesh::new();
    let (gone, taken) = super::retry::goodbye(&mesh, false).await;
    let alive = mesh.server("catalogue", echo().await);
    mesh.service(Protocol::Detect, vec![gone, alive.endpoint()]);
    for _ in 0..2 {
        let response = mesh.connect().await.ask(GET).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
    assert!(taken.get() > 0);
    assert_eq!(taken.get() as u64, counter_of(&mesh, UNANSWERED));
}

#[tokio::test(flavor = "local")]
async fn what_kills_its_readers_does_not_kill_them_all() {
    let mesh = Mesh::new();
    let (_servers, taken) = all_dying(&mesh, 2, "").await;
    let mut client = mesh.connect().await;
    let began = std::time::Instant::now();
    for _ in 0..200 {
        assert!(client.ask(GET).await.starts_with("HTTP/1.1 502 "));
    }
    // 100 saved up, a fifth of the requests, ten a second
    let again = sum(&taken) - 200;
    let most = 100 + 200 / 5 + 10 * (1 + began.elapsed().as_secs() as usize);
    assert_eq!(again as u64, counter_of(&mesh, UNANSWERED));
    assert!((100..=most).contains(&again), "{again}");
}
