//! The first bytes of a peer's connection: mesh TLS, other TLS, HTTP, or something else.
//!
//! There is only one application behind a port, so it may be dialled while nobody has spoken yet; whoever speaks first
//! decides. A peer that would not be let in without TLS is not worth a connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::port::Port;
use crate::detect::{Hello, Sniffed, client_hello, lean, sniff};
use crate::error::Error;
use crate::http::h1::Conn;
use crate::io::USUAL;
use crate::worker::Worker;

/// As outbound: a client that speaks first does so at once.
const SILENCE: Duration = Duration::from_millis(1);

/// What the application says first is kept back so long, from a peer whose ClientHello may be on its way: one that has to wait
/// for a processor is later than an application that is dialled and speaks at once.
const HOLD: Duration = Duration::from_millis(100);

/// As outbound: half a word, and then nothing.
const UNDECIDED: Duration = Duration::from_secs(1);

/// Who must authenticate has this long to begin.
const AUTHENTICATE: Duration = Duration::from_secs(10);

/// What came first.
pub(super) enum First {
    /// The application cannot be reached.
    Failed(Error),
    /// TLS that is not the mesh's.
    ForeignTls,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2's preface.
    Http2,
    /// The mesh's TLS.
    Mesh,
    /// Bytes of another protocol.
    Other,
    /// The application spoke first.
    Server,
    /// The peer ended, or stayed silent where it must authenticate.
    Silent,
}

enum App<'a> {
    /// Not to be dialled early.
    Never(Pin<Box<Sleep>>),
    Waiting(Pin<Box<Sleep>>),
    Dialling(Pin<Box<dyn Future<Output = Result<Conn, Error>> + 'a>>),
    /// And once it has spoken, or ended, the time that this is kept back.
    Open(Conn, Option<Pin<Box<Sleep>>>),
}

/// Waits for the first bytes; `early`: the application may be dialled meanwhile.
pub(super) async fn first(worker: &Rc<Worker>, port: &Rc<Port>, conn: &mut Conn, early: bool) -> (First, Option<Conn>) {
    let mut app = match early {
        true => App::Waiting(Box::pin(sleep(SILENCE))),
        false => App::Never(Box::pin(sleep(AUTHENTICATE))),
    };
    let mut undecided = None;
    let first = poll_fn(|cx| match poll_first(cx, worker, port, conn, &mut app) {
        Poll::Pending if early && !conn.buffer.is_empty() => poll_undecided(cx, port, conn, &mut undecided),
        polled => polled,
    })
    .await;
    match app {
        App::Open(conn, _) => (first, Some(conn)),
        _ => (first, None),
    }
}

fn poll_first<'a>(
    cx: &mut Context<'_>,
    worker: &'a Rc<Worker>,
    port: &'a Rc<Port>,
    conn: &mut Conn,
    app: &mut App<'a>,
) -> Poll<First> {
    if worker.stopped.get() {
        return Poll::Ready(First::Silent);
    }
    loop {
        match conn.stream.poll_fill(cx, &mut conn.buffer, USUAL) {
            Poll::Ready(Ok(0)) if conn.buffer.is_empty() => return Poll::Ready(First::Silent),
            Poll::Ready(Ok(0)) => return Poll::Ready(First::Other),
            Poll::Ready(Err(_)) => return Poll::Ready(First::Silent),
            Poll::Ready(Ok(_)) => {
                if let Some(first) = judge(conn.buffer.bytes(), worker.head_limit) {
                    return Poll::Ready(first);
                }
            }
            Poll::Pending => break,
        }
    }
    loop {
        match app {
            App::Never(sleep) => return sleep.as_mut().poll(cx).map(|()| First::Silent),
            App::Waiting(_) if !conn.buffer.is_empty() => return Poll::Pending,
            App::Waiting(sleep) => match sleep.as_mut().poll(cx) {
                Poll::Ready(()) => *app = App::Dialling(Box::pin(port.dial(worker))),
                Poll::Pending => return Poll::Pending,
            },
            App::Dialling(dialling) => match dialling.as_mut().poll(cx) {
                Poll::Ready(Ok(dialled)) => *app = App::Open(dialled, None),
                Poll::Ready(Err(error)) => return Poll::Ready(First::Failed(error)),
                Poll::Pending => return Poll::Pending,
            },
            App::Open(_, Some(hold)) => return hold.as_mut().poll(cx).map(|()| First::Server),
            App::Open(Conn { stream, buffer }, hold) => match stream.poll_fill(cx, buffer, USUAL) {
                Poll::Ready(_) => *hold = Some(Box::pin(sleep(HOLD))),
                Poll::Pending => return Poll::Pending,
            },
        }
    }
}

/// The peer has said something that could still become anything, and waits. A ClientHello is waited for as long as a handshake; where
/// nothing but HTTP has business, HTTP/1 has its own patience with half a word.
fn poll_undecided(
    cx: &mut Context<'_>,
    port: &Port,
    conn: &Conn,
    undecided: &mut Option<Pin<Box<Sleep>>>,
) -> Poll<First> {
    let tls = sniff(conn.buffer.bytes()) == Sniffed::Tls;
    let undecided = undecided.get_or_insert_with(|| Box::pin(sleep(if tls { AUTHENTICATE } else { UNDECIDED })));
    undecided.as_mut().poll(cx).map(|()| match lean(conn.buffer.bytes()) {
        _ if tls => First::ForeignTls,
        _ if port.is_http_only() => First::Http1,
        Sniffed::Http1 => First::Http1,
        _ => First::Other,
    })
}

fn judge(bytes: &[u8], limit: usize) -> Option<First> {
    match sniff(bytes) {
        Sniffed::Http1 => Some(First::Http1),
        Sniffed::Http2 => Some(First::Http2),
        Sniffed::Opaque => Some(First::Other),
        // a target as long as that is too long a request line
        Sniffed::More if bytes.len() >= limit => {
            Some(if lean(bytes) == Sniffed::Http1 { First::Http1 } else { First::Other })
        }
        Sniffed::More => None,
        Sniffed::Tls => match client_hello(bytes) {
            Hello::Mesh => Some(First::Mesh),
            Hello::Other => Some(First::ForeignTls),
            Hello::More => None,
        },
    }
}
