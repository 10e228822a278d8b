//! Hostile bytes against a pair, and against either proxy alone: what is dangerous is refused, what is harmless arrives unaltered.
//!
//! A `Vector` is bytes and what an oracle says of them. The application is a recorder: it judges nothing, so that whatever a
//! proxy lets through is seen. Vectors are raw bytes because every library is too polite to send them.

mod bodies;
mod desync;
mod detection;
mod heads;
mod http2;
mod lines;
mod responses;
mod slow;
mod tls;

use std::cell::RefCell;

use super::*;

/// What is to become of a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Answered with this status, and nothing of it reaches the application.
    Refused(u16),
    /// It arrives byte for byte.
    Passes,
    /// It arrives as these bytes: a hop must not pass the rest on.
    Becomes(Vec<u8>),
    /// No HTTP: answered with 400 where HTTP is declared, bytes where it is not.
    Bytes,
}

/// Bytes of a client, and what is to become of them.
#[derive(Clone, Debug)]
struct Vector {
    name: String,
    bytes: Vec<u8>,
    verdict: Verdict,
}

fn vector(name: impl Into<String>, bytes: impl Into<Vec<u8>>, verdict: Verdict) -> Vector {
    Vector { name: name.into(), bytes: bytes.into(), verdict }
}

/// Follows every vector that is refused: were it seen by anyone, the vector would have smuggled it.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const IDENTITY: &[u8] = b"l5d-client-id: spiffe://cluster.local/ns/shop/sa/front-end\r\n";

/// An application that notes everything it gets, and answers each time it has got as much as is expected.
#[derive(Default)]
struct Recorder {
    got: RefCell<Vec<u8>>,
    expected: Cell<usize>,
}

impl Recorder {
    /// Forgets what it has, and expects `bytes`.
    fn expect(&self, bytes: usize) {
        self.got.borrow_mut().clear();
        self.expected.set(bytes);
    }

    fn got(&self) -> Vec<u8> {
        self.got.borrow().clone()
    }
}

async fn recorder() -> (SocketAddr, Rc<Recorder>) {
    let recorder = Rc::new(Recorder::default());
    let recording = Rc::clone(&recorder);
    let address = app(move |mut peer| {
        let recorder = Rc::clone(&recording);
        async move {
            while peer.tcp.read_buf(&mut peer.left).await.is_ok_and(|count| count > 0) {
                let got = {
                    let mut got = recorder.got.borrow_mut();
                    got.append(&mut peer.left);
                    got.len()
                };
                if got == recorder.expected.get() {
                    peer.send(OK).await;
                }
            }
        }
    })
    .await;
    (address, recorder)
}

/// Which proxies stand between client and application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// Both.
    Pair,
    /// The client's: the application is not meshed.
    Outbound,
    /// The application's: the client is not meshed.
    Inbound,
}

/// A recorder behind proxies, whose ports are declared or sniffed.
struct Stage {
    mesh: Mesh,
    server: Server,
    recorder: Rc<Recorder>,
    between: Between,
    protocol: Protocol,
}

impl Stage {
    async fn new(between: Between, protocol: Protocol) -> Stage {
        let mesh = Mesh::new();
        let (app, recorder) = recorder().await;
        let server = mesh.server("catalogue", app);
        let policy = DefaultPolicy::AllUnauthenticated;
        server.proxy.control.port(app.port(), PortPolicy { protocol, policy });
        let endpoint = if between == Between::Pair { server.endpoint() } else { unmeshed(app) };
        mesh.service(protocol, vec![endpoint]);
        Stage { mesh, server, recorder, between, protocol }
    }

    async fn client(&self) -> Client {
        match self.between {
            Between::Pair | Between::Outbound => self.mesh.connect().await,
            Between::Inbound => direct(&self.server).await,
        }
    }

    /// What the application is to see of a whole request that passes as `bytes`.
    fn seen(&self, bytes: &[u8]) -> Vec<u8> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 2;
        let identity = if self.between == Between::Pair { IDENTITY } else { b"" };
        [&bytes[..end], identity, &bytes[end..]].concat()
    }

    /// Sends a vector and holds what becomes of it against the oracle.
    async fn judge(&self, vector: &Vector) {
        let expected = match &vector.verdict {
            Verdict::Passes => self.seen(&vector.bytes),
            Verdict::Becomes(bytes) => self.seen(bytes),
            Verdict::Bytes if self.protocol == Protocol::Detect => vector.bytes.clone(),
            // a stranger is not told why: it has not asked in HTTP
            Verdict::Bytes if self.between == Between::Inbound => return self.reset(vector).await,
            Verdict::Bytes => return self.refused(vector, 400).await,
            Verdict::Refused(status) => return self.refused(vector, *status).await,
        };
        self.recorder.expect(expected.len());
        let mut client = self.client().await;
        client.send(&vector.bytes).await;
        let answer = client.exactly(OK.len()).await;
        let got = self.recorder.got();
        assert_eq!(
            shown(&got),
            shown(&expected),
            "{} ({:?}): {:?}",
            vector.name,
            self.between,
            client.left.escape_ascii()
        );
        assert_eq!(answer.as_deref(), Some(OK), "{}", vector.name);
    }

    async fn reset(&self, vector: &Vector) {
        self.recorder.expect(usize::MAX);
        let mut client = self.client().await;
        client.send(&vector.bytes).await;
        assert!(client.is_reset().await, "{}", vector.name);
        assert_eq!(shown(&self.recorder.got()), "", "{}", vector.name);
    }

    /// With what it would smuggle behind it.
    async fn refused(&self, vector: &Vector, status: u16) {
        self.recorder.expect(usize::MAX);
        let mut client = self.client().await;
        client.send(&vector.bytes).await;
        client.send(SMUGGLED).await;
        let mut answer = std::mem::take(&mut client.left);
        let _ = client.tcp.read_to_end(&mut answer).await;
        let told = answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes());
        let what = format!("{} ({:?}, {:?})", vector.name, self.between, self.protocol);
        assert!(told, "{what}: {} arrived as {}", answer.escape_ascii(), shown(&self.recorder.got()));
        assert_eq!(answer.windows(7).filter(|part| part == b"HTTP/1.").count(), 1, "{what}: {}", answer.escape_ascii());
        assert_eq!(shown(&self.recorder.got()), "", "{what}");
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Every vector of the tables.
fn all() -> Vec<Vector> {
    let tables = [lines::vectors(), heads::vectors(), bodies::vectors()];
    let all = tables.concat();
    let mut names: Vec<_> = all.iter().map(|vector| &vector.name).collect();
    names.sort();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(twice.is_empty(), "named twice: {twice:?}");
    all
}

async fn judge_all(between: Between, protocol: Protocol) {
    let stage = Stage::new(between, protocol).await;
    for vector in all() {
        stage.judge(&vector).await;
    }
}

#[test]
fn there_are_as_many_vectors_as_the_peers_were_measured_with() {
    let (all, answers) = (all(), responses::vectors());
    let refused = all.iter().filter(|vector| matches!(vector.verdict, Verdict::Refused(_))).count();
    println!("{} requests, of which {refused} refused, and {} responses", all.len(), answers.len());
    assert!(all.len() + answers.len() >= 300 && refused >= 200, "{} {refused} {}", all.len(), answers.len());
}

#[tokio::test(flavor = "local")]
async fn nothing_dangerous_passes_a_pair_and_nothing_harmless_is_altered() {
    judge_all(Between::Pair, Protocol::Http1).await;
}

#[tokio::test(flavor = "local")]
async fn the_same_where_http_is_sniffed() {
    judge_all(Between::Pair, Protocol::Detect).await;
}

#[tokio::test(flavor = "local")]
async fn the_same_through_the_clients_proxy_alone() {
    judge_all(Between::Outbound, Protocol::Detect).await;
}

#[tokio::test(flavor = "local")]
async fn the_same_through_the_applications_proxy_alone() {
    judge_all(Between::Inbound, Protocol::Http1).await;
}

#[tokio::test(flavor = "local")]
async fn the_same_of_a_stranger_where_http_is_sniffed() {
    judge_all(Between::Inbound, Protocol::Detect).await;
}
