//! Clients that go on sending when they have been answered, and read nothing before they have sent everything: they must be able
//! to send it, and find the answer.

use minimesh_api::model::BackendRef;
use minimesh_identity::Alpn;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;

use super::*;
use crate::io::{Buffer, Session, Stream, Tls};

/// Larger than what sockets and proxies hold together.
const BODY: usize = 32 * 1024 * 1024;

/// A connection as another proxy makes it.
pub(super) async fn as_peer(mesh: &Mesh, server: &Server, alpn: Alpn) -> Stream {
    let credentials = mesh.credentials(&mesh.authority, &id("front-end"), Duration::from_secs(3600));
    let config = credentials.client_config(&server.proxy.identity, alpn).expect("a configuration");
    let name = ServerName::IpAddress(server.proxy.address.ip().into());
    let session = UnbufferedClientConnection::new(config, name).expect("a session");
    let tcp = TcpStream::connect(server.proxy.address).await.expect("inbound listener");
    Stream::Tls(Tls::handshake(tcp, Session::Client(session), Buffer::default()).await.expect("a handshake"))
}

/// Sends a head and a long body, and only then looks for the answer.
async fn answer_to_upload(mut stream: Stream, head: &str) -> String {
    let piece = vec![b'x'; 64 * 1024];
    stream.send(head.as_bytes()).await.expect("the head is taken");
    for _ in 0..BODY / piece.len() {
        stream.send(&piece).await.expect("all of the body is taken");
    }
    let mut answer = Buffer::default();
    while stream.fill(&mut answer).await.expect("a clean end") > 0 {}
    String::from_utf8_lossy(answer.bytes()).into_owned()
}

async fn plain(address: SocketAddr) -> Stream {
    Stream::Plain(TcpStream::connect(address).await.expect("listener"))
}

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n")
}

#[tokio::test(flavor = "local")]
async fn an_application_that_resets_in_the_middle_of_an_upload_is_answered_for() {
    let resetting = app(|mut peer| async move {
        peer.head().await.expect("a head");
        peer.exactly(100_000).await.expect("some of the body");
        peer.tcp.set_zero_linger().expect("linger");
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", resetting);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let ways = [
        plain(mesh.client.address).await,
        plain(server.proxy.address).await,
        as_peer(&mesh, &server, Alpn::Http).await,
    ];
    for (way, stream) in ways.into_iter().enumerate() {
        let answer = answer_to_upload(stream, &post("/")).await;
        // a peer was told before that its request had been delivered
        let answer = answer.split_once("minimesh-delivered: yes\r\n\r\n").map_or(&*answer, |(_, rest)| rest);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{way}: {answer}");
        assert!(answer.contains("minimesh-error: upstream_unanswered\r\n"), "{way}: {answer}");
        assert!(answer.contains("connection: close\r\n") && answer.ends_with('}'), "{way}: {answer}");
    }
}

#[tokio::test(flavor = "local")]
async fn an_application_that_refuses_an_upload_and_leaves_is_heard() {
    const REFUSAL: &str = "HTTP/1.1 413 Too Long\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    let refusing = app(|mut peer| async move {
        peer.head().await.expect("a head");
        // and the end, with bytes of the body unread: an RST
        peer.send(REFUSAL.as_bytes()).await;
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", refusing);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    for stream in [plain(mesh.client.address).await, plain(server.proxy.address).await] {
        assert_eq!(answer_to_upload(stream, &post("/")).await, REFUSAL);
    }
}

#[tokio::test(flavor = "local")]
async fn the_proxies_own_refusals_are_heard() {
    let mesh = Mesh::new();
    let strict = mesh.server_with("catalogue", echo().await, DefaultPolicy::AllAuthenticated);
    let routes = [retry::route(Duration::from_secs(9), vec![BackendRef::Service(key())])];
    mesh.routed(Protocol::Detect, &routes, vec![strict.endpoint()]);
    let refused = mesh.server_with("orders", echo().await, DefaultPolicy::Deny);
    for (stream, head, code) in [
        (plain(mesh.client.address).await, post("/nowhere"), "404 Not Found\r\nminimesh-error: no_route"),
        (plain(mesh.client.address).await, post("/a\r\n b"), "400 Bad Request\r\nminimesh-error: bad_request"),
        (plain(strict.proxy.address).await, post("/a"), "403 Forbidden\r\nminimesh-error: policy_denied"),
        (as_peer(&mesh, &refused, Alpn::Http).await, post("/a"), "403 Forbidden\r\nminimesh-error: policy_denied"),
    ] {
        let answer = answer_to_upload(stream, &head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}\r\n")) && answer.ends_with('}'), "{code}: {answer}");
    }
}
