//! Finding out what a connection carries, without ever letting a client wait for nothing.
//!
//! A client that stays silent for a millisecond may be waiting for the server: one connection is opened to an endpoint of the
//! target, on which the far proxy dials its application at once. Whoever speaks first decides.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use minimesh_api::model::Direction;
use minimesh_identity::Alpn;
use tokio::time::{Instant, Sleep, sleep};

use super::backend::Tried;
use super::endpoint::Upstream;
use super::target::{Plan, Target};
use super::tcp::{self, Carried};
use crate::detect::{self, Hello, Sniffed};
use crate::error::{Error, Kind, Side};
use crate::http::h1::Conn;
use crate::io::USUAL;
use crate::metrics::{Detected, EarlyConnect, RetryReason};
use crate::worker::Worker;

/// Clients that speak first do so within microseconds of connecting; a connection opened in vain costs a handshake.
const SILENCE: Duration = Duration::from_millis(1);

/// A client that says half a word and waits for the server speaks neither HTTP nor TLS as anybody does. Long enough for a lost
/// segment to be sent again twice; a word that is typed by hand becomes opaque, and arrives as well.
const UNDECIDED: Duration = Duration::from_secs(1);

/// A server that speaks later than this may be answering silence (408), not greeting.
const GREETING: Duration = Duration::from_secs(1);

/// What a connection turned out to be.
pub(super) enum Sniffing {
    /// No way to serve it.
    Failed(Error),
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Bytes; with the connection that was opened early.
    Opaque(Option<Carried>),
    /// It ended before it said anything.
    Silent,
}

/// The early connection and what is known of it.
enum Early<'a> {
    None,
    Waiting(Pin<Box<Sleep>>),
    Opening(Pin<Box<dyn Future<Output = Result<Carried, Error>> + 'a>>),
    Open(Carried, Instant),
}

/// What is waited for.
struct Waiting<'a> {
    early: Early<'a>,
    /// Runs while the client has said something that could still become anything.
    undecided: Option<Pin<Box<Sleep>>>,
    /// Endpoints whose application was not there.
    tried: Tried,
}

/// Whoever spoke first.
enum First {
    Client(Sniffed),
    ClientEnded,
    Failed(Error),
    Server {
        proven: bool,
    },
    /// Without a word.
    ServerEnded,
}

/// Sniffs the client; `early`: the target may be one whose server speaks first.
pub(super) async fn sniff(
    worker: &Rc<Worker>,
    target: &Target,
    plan: &Rc<Plan>,
    conn: &mut Conn,
    early: bool,
) -> Sniffing {
    let early = match (early, target.is_server_first()) {
        (false, _) => Early::None,
        (true, false) => Early::Waiting(Box::pin(sleep(SILENCE))),
        (true, true) => Early::Opening(open(worker, plan, Tried::default())),
    };
    let mut state = Waiting { early, undecided: None, tried: Tried::default() };
    let first = poll_fn(|cx| poll_first(cx, worker, plan, conn, &mut state)).await;
    let (carried, opening) = match state.early {
        Early::Open(carried, _) => (Some(carried), false),
        Early::Opening(_) => (None, true),
        Early::None | Early::Waiting(_) => (None, false),
    };
    let (detected, sniffing) = match first {
        First::Failed(error) => return Sniffing::Failed(error),
        First::ClientEnded => (Detected::Silent, Sniffing::Silent),
        First::Client(sniffed @ (Sniffed::Http1 | Sniffed::Http2)) => {
            target.learn_server_first(false);
            if carried.is_some() || opening {
                worker.cells.early_connect(EarlyConnect::Unused);
            }
            if let Some(carried) = carried {
                carried.upstream.close();
            }
            return http(worker, sniffed);
        }
        First::Client(Sniffed::Tls) => (Detected::Tls, Sniffing::Opaque(carried)),
        First::Client(_) => (Detected::Opaque, Sniffing::Opaque(carried)),
        First::Server { proven } => {
            if proven {
                target.learn_server_first(true);
            }
            (Detected::ServerFirst, Sniffing::Opaque(carried))
        }
        First::ServerEnded => (Detected::ServerFirst, Sniffing::Opaque(carried)),
    };
    if matches!(sniffing, Sniffing::Opaque(Some(_))) {
        worker.cells.early_connect(EarlyConnect::Used);
    }
    worker.cells.detected(Direction::Outbound, detected);
    sniffing
}

fn http(worker: &Worker, sniffed: Sniffed) -> Sniffing {
    let (detected, sniffing) = match sniffed {
        Sniffed::Http2 => (Detected::Http2, Sniffing::Http2),
        _ => (Detected::Http1, Sniffing::Http1),
    };
    worker.cells.detected(Direction::Outbound, detected);
    sniffing
}

/// Which HTTP, where it is known that it is HTTP. What is none of them is HTTP/1's to refuse.
pub(super) async fn version(worker: &Worker, conn: &mut Conn) -> Sniffing {
    let mut undecided: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        loop {
            match detect::sniff(conn.buffer.bytes()) {
                Sniffed::Http2 => return Poll::Ready(http(worker, Sniffed::Http2)),
                Sniffed::More if conn.buffer.len() < worker.head_limit => {}
                _ => return Poll::Ready(http(worker, Sniffed::Http1)),
            }
            match conn.stream.poll_fill(cx, &mut conn.buffer, USUAL) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Sniffing::Silent),
                Poll::Pending if conn.buffer.is_empty() && worker.closing.get() => {
                    return Poll::Ready(Sniffing::Silent);
                }
                Poll::Pending if worker.stopped.get() => return Poll::Ready(Sniffing::Silent),
                Poll::Pending if conn.buffer.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    // half a word: HTTP/1 has its own patience with those
                    let undecided = undecided.get_or_insert_with(|| Box::pin(sleep(UNDECIDED)));
                    return undecided.as_mut().poll(cx).map(|()| http(worker, Sniffed::Http1));
                }
            }
        }
    })
    .await
}

/// Which HTTP the client speaks; waits for as many bytes as that takes. For answers to connections that go nowhere.
pub(super) async fn is_http(conn: &mut Conn) -> Option<Sniffed> {
    let waiting = async {
        loop {
            match detect::sniff(conn.buffer.bytes()) {
                Sniffed::More => {}
                sniffed => return Some(sniffed),
            }
            if !matches!(conn.stream.fill(&mut conn.buffer).await, Ok(1..)) {
                return None;
            }
        }
    };
    tokio::time::timeout(SILENCE, waiting).await.ok().flatten()
}

fn poll_first<'a>(
    cx: &mut Context<'_>,
    worker: &'a Rc<Worker>,
    plan: &'a Rc<Plan>,
    conn: &mut Conn,
    state: &mut Waiting<'a>,
) -> Poll<First> {
    if worker.stopped.get() {
        return Poll::Ready(First::ClientEnded);
    }
    loop {
        match conn.stream.poll_fill(cx, &mut conn.buffer, USUAL) {
            Poll::Ready(Ok(0)) if conn.buffer.is_empty() => return Poll::Ready(First::ClientEnded),
            // half a line and then nothing: opaque bytes, if anything
            Poll::Ready(Ok(0)) => return Poll::Ready(First::Client(Sniffed::Opaque)),
            Poll::Ready(Err(_)) => return Poll::Ready(First::ClientEnded),
            Poll::Ready(Ok(_)) => match detect::sniff(conn.buffer.bytes()) {
                Sniffed::More if conn.buffer.len() < worker.head_limit => {}
                // a target as long as that is too long a request line
                Sniffed::More => return Poll::Ready(First::Client(detect::lean(conn.buffer.bytes()))),
                // its name stands in it
                Sniffed::Tls if detect::client_hello(conn.buffer.bytes()) == Hello::More => {}
                sniffed => return Poll::Ready(First::Client(sniffed)),
            },
            Poll::Pending => break,
        }
    }
    let Waiting { early, undecided, tried } = state;
    if !conn.buffer.is_empty() {
        if matches!(early, Early::Waiting(_)) {
            // the client does speak, only slowly
            *early = Early::None;
        }
        let undecided = undecided.get_or_insert_with(|| Box::pin(sleep(UNDECIDED)));
        if undecided.as_mut().poll(cx).is_ready() {
            return Poll::Ready(First::Client(detect::lean(conn.buffer.bytes())));
        }
    }
    loop {
        match early {
            Early::None => return Poll::Pending,
            Early::Waiting(sleep) => match sleep.as_mut().poll(cx) {
                Poll::Ready(()) => *early = Early::Opening(open(worker, plan, *tried)),
                Poll::Pending => return Poll::Pending,
            },
            Early::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Ready(Ok(carried)) => *early = Early::Open(carried, Instant::now()),
                Poll::Ready(Err(error)) => return Poll::Ready(First::Failed(error)),
                Poll::Pending => return Poll::Pending,
            },
            Early::Open(carried, since) => match poll_server(cx, &mut carried.upstream, *since) {
                // an application that ends takes along a client that has only connected, and may be about to speak HTTP
                Poll::Ready(First::Failed(_) | First::ServerEnded)
                    if carried.is_to_be_replaced(worker, plan, tried) =>
                {
                    worker.cells.retry(RetryReason::NotDelivered);
                    *early = Early::Opening(open(worker, plan, *tried));
                }
                first => return first,
            },
        }
    }
}

/// Bytes of the server: its greeting.
fn poll_server(cx: &mut Context<'_>, upstream: &mut Upstream, since: Instant) -> Poll<First> {
    let Conn { stream, buffer } = &mut upstream.conn;
    match stream.poll_fill(cx, buffer, USUAL) {
        Poll::Ready(Ok(1..)) => {
            // an idle HTTP server that answers 408 must not teach "opaque"
            let proven = since.elapsed() < GREETING && !buffer.bytes().starts_with(b"HTTP/");
            Poll::Ready(First::Server { proven })
        }
        Poll::Ready(Ok(_)) => Poll::Ready(First::ServerEnded),
        Poll::Ready(Err(error)) => {
            Poll::Ready(First::Failed(Error::new(Kind::UpstreamClosed, Side::Upstream).because(error)))
        }
        Poll::Pending => Poll::Pending,
    }
}

fn open<'a>(
    worker: &'a Rc<Worker>,
    plan: &'a Rc<Plan>,
    tried: Tried,
) -> Pin<Box<dyn Future<Output = Result<Carried, Error>> + 'a>> {
    Box::pin(async move { tcp::connect(worker, plan, Alpn::Raw, tried).await })
}
