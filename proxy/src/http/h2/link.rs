//! A connection to a server: many streams, one task.
//!
//! The task (`drive`) belongs to whoever dialled and ends with the connection. The link itself is what streams are opened on:
//! it counts them against the peer's SETTINGS_MAX_CONCURRENT_STREAMS, and once retired it takes no more, while those that it
//! has go on to their ends.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong};
use http::Request;
use tokio::time::{Instant, Sleep, sleep_until};

use super::wire::{Quiet, Socket, Wire, wire};
use super::{STREAMS, Sender, client};
use crate::error::{Error, Kind, Retry, Side};
use crate::http::h1::Conn;
use crate::metrics::CloseReason;

/// What h2 takes for the peer's limit on streams until its SETTINGS have come: a number that no peer names.
pub(super) const UNSETTLED: usize = usize::MAX - 1;

/// A peer that holds streams of ours is asked this often whether it still lives (Linkerd's numbers, more patient: a worker
/// under load may be late).
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);

/// A connection to a server.
pub(crate) struct Link {
    /// `None`: retired.
    send: RefCell<Option<SendRequest<Bytes>>>,
    socket: Socket,
    /// Streams that are open.
    active: Cell<usize>,
    idle_since: Cell<Instant>,
    driver: RefCell<Option<Waker>>,
    /// Woken when a stream has ended or the peer allows more.
    room: Rc<Room>,
    /// Credentials' generation that it was dialled with.
    pub(crate) generation: u64,
    /// By which credentials, and when, the peer's certificate was judged last.
    pub(crate) judged: Cell<(u64, Instant)>,
    /// It takes no new streams from then on.
    pub(crate) until: Option<Instant>,
}

/// Requests that wait for a stream.
#[derive(Default)]
pub(super) struct Room(RefCell<Vec<Waker>>);

/// How a link is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// Without streams it is closed after this.
    pub(crate) idle: Duration,
    /// It is asked whether it lives while it has streams: for proxies of ours, other servers may take pings for abuse.
    pub(crate) ping: bool,
    /// The certificate that it was opened with runs out.
    pub(crate) until: Option<Instant>,
}

/// What `drive` polls.
pub(crate) struct Driver {
    connection: Connection<Wire, Bytes>,
    pings: Option<PingPong>,
    link: Rc<Link>,
    keep: Keep,
}

/// A stream's place on a link, counted while it lives.
pub(crate) struct Slot(Rc<Link>);

impl Link {
    /// Greets the server and waits for its SETTINGS: what answers with anything else is no HTTP/2 server, and nothing was sent
    /// to it.
    pub(super) async fn open(
        conn: Conn,
        limit: usize,
        generation: u64,
        keep: Keep,
        room: Rc<Room>,
    ) -> Result<(Rc<Link>, Driver), Error> {
        let (end, socket) = wire(conn);
        let greeted = client(limit).handshake::<_, Bytes>(end).await;
        let (send, mut connection) = greeted.map_err(|error| dead(&socket, Some(error)))?;
        let settled = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            // a connection that cannot be written to shows when it is read
            let _ = socket.poll_flush(cx);
            match polled {
                _ if send.current_max_send_streams() != UNSETTLED => Poll::Ready(Ok(())),
                Poll::Ready(ended) => Poll::Ready(Err(dead(&socket, ended.err()))),
                Poll::Pending => Poll::Pending,
            }
        });
        settled.await?;
        let pings = if keep.ping { connection.ping_pong() } else { None };
        let link = Rc::new(Link {
            send: RefCell::new(Some(send)),
            socket,
            active: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            driver: RefCell::default(),
            room,
            generation,
            judged: Cell::new((generation, Instant::now())),
            until: keep.until,
        });
        let driver = Driver { connection, pings, link: Rc::clone(&link), keep };
        Ok((link, driver))
    }

    /// A place for a stream, if there is one now.
    pub(super) fn slot(self: &Rc<Self>) -> Option<Slot> {
        self.has_room().then(|| {
            self.active.set(self.active.get() + 1);
            Slot(Rc::clone(self))
        })
    }

    pub(super) fn has_room(&self) -> bool {
        self.active.get() < self.allowed().min(STREAMS as usize)
    }

    /// Whether streams may be opened on it; a GOAWAY, or its end, retires it.
    pub(super) fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match &mut *self.send.borrow_mut() {
            Some(send) => send.poll_ready(&mut cx),
            None => return false,
        };
        if matches!(ready, Poll::Ready(Err(_))) {
            self.retire();
            return false;
        }
        true
    }

    /// Streams that the peer allows at once.
    pub(super) fn allowed(&self) -> usize {
        self.send.borrow().as_ref().map_or(0, SendRequest::current_max_send_streams)
    }

    /// Whether the server takes tunnels of other protocols (RFC 8441).
    pub(crate) fn takes_extended_connect(&self) -> bool {
        self.send.borrow().as_ref().is_some_and(SendRequest::is_extended_connect_protocol_enabled)
    }

    /// What an idle link looks like from outside; one with streams is looked at by its task all the time.
    pub(super) fn quiet(&self) -> Quiet {
        if self.active.get() > 0 { Quiet::Silent } else { self.socket.quiet() }
    }

    /// The connection itself, for judging its peer.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Takes no more streams; closed when those that it has are done.
    pub(crate) fn retire(&self) {
        let send = self.send.borrow_mut().take();
        drop(send);
        self.wake();
        self.room.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.driver.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Room {
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.0.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        let waiting = std::mem::take(&mut *self.0.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Slot {
    /// Opens the stream. `None`: the connection has ended since the place was taken.
    pub(super) fn send(&self, request: Request<()>, end: bool) -> Option<Result<(ResponseFuture, Sender), h2::Error>> {
        self.0.send.borrow_mut().as_mut().map(|send| send.send_request(request, end))
    }

    /// The link that it is on.
    pub(crate) fn link(&self) -> &Link {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let link = &self.0;
        link.active.set(link.active.get() - 1);
        if link.active.get() == 0 {
            link.idle_since.set(Instant::now());
            link.wake();
        }
        link.room.wake();
    }
}

/// The task of a link, to its end.
pub(crate) async fn drive(driver: Driver) -> CloseReason {
    let Driver { mut connection, mut pings, link, keep } = driver;
    let mut idle = Timer::default();
    let mut pulse = Pulse::default();
    let mut allowed = link.allowed();
    let end = poll_fn(|cx| {
        *link.driver.borrow_mut() = Some(cx.waker().clone());
        let polled = Pin::new(&mut connection).poll(cx);
        if let Poll::Ready(Err(error)) = link.socket.poll_flush_to_reader(cx) {
            return Poll::Ready(CloseReason::of(&error));
        }
        if let Poll::Ready(ended) = polled {
            return Poll::Ready(ended.map_or_else(|error| reason(&error), |()| CloseReason::Clean));
        }
        if std::mem::replace(&mut allowed, link.allowed()) != allowed {
            link.room.wake();
        }
        if link.active.get() > 0 {
            let pings = pings.as_mut();
            return pings.map_or(Poll::Pending, |pings| pulse.poll(cx, pings)).map(|()| CloseReason::TimedOut);
        }
        if link.is_open() && idle.poll(cx, link.idle_since.get() + keep.idle).is_ready() {
            // h2 closes a connection that nobody can use any more
            link.retire();
        }
        Poll::Pending
    })
    .await;
    link.retire();
    link.socket.close();
    end
}

/// A timer that is set again and again.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }
}

/// Asks a peer with streams of ours whether it lives.
#[derive(Default)]
struct Pulse {
    timer: Timer,
    next: Option<Instant>,
    asked: bool,
}

impl Pulse {
    /// Ready when it does not answer.
    fn poll(&mut self, cx: &mut Context<'_>, pings: &mut PingPong) -> Poll<()> {
        loop {
            if self.asked && pings.poll_pong(cx).is_ready() {
                (self.asked, self.next) = (false, None);
            }
            let next = *self.next.get_or_insert_with(|| Instant::now() + PING);
            ready!(self.timer.poll(cx, next));
            if self.asked {
                return Poll::Ready(());
            }
            self.asked = pings.send_ping(Ping::opaque()).is_ok();
            self.next = Some(Instant::now() + if self.asked { PONG } else { PING });
        }
    }
}

fn reason(error: &h2::Error) -> CloseReason {
    error.get_io().map_or(CloseReason::Other, CloseReason::of)
}

/// The greeting was not answered: nothing was delivered, whatever the cause.
fn dead(socket: &Socket, error: Option<h2::Error>) -> Error {
    let refused = socket.take_refusal();
    let kind = match (&refused, &error) {
        // In TLS 1.3 a client learns from its first read that the server refused its certificate.
        (Some(refused), _) => Kind::of_peer(refused),
        (None, Some(error)) if !error.is_io() => Kind::UpstreamMalformed,
        (None, _) => Kind::UpstreamClosed,
    };
    let mut dead = Error::new(kind, Side::Upstream);
    dead.retry = Retry::OtherEndpoint;
    match error {
        Some(error) => dead.because(error),
        None => dead.because("closed before its SETTINGS came"),
    }
}
