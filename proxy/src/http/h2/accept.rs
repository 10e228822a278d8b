//! A client's connection: streams in, each a task of its own, and how the connection ends.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use http::request::Parts;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::exchange::Downstream;
use super::link::Timer;
use super::wire::{Socket, Wire};
use super::{ledger, server};
use crate::error::{Error, Kind, Side};
use crate::http::linger;
use crate::metrics::CloseReason;
use crate::worker::Worker;

/// The preface is 24 bytes, and whoever sends it does so at once.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that has heard GOAWAY, and has no streams, takes what is left for it and closes: this is for one that does not.
const PARTING: Duration = Duration::from_secs(60);

/// When a connection is gone its streams hear of it at once; what does not answer is dropped.
const AFTERMATH: Duration = Duration::from_secs(5);

/// A request as it comes in.
pub(crate) struct Incoming {
    pub(crate) head: Parts,
    pub(crate) down: Downstream,
    /// Its connection has its share of the streams that a worker takes: to be refused.
    pub(crate) surplus: bool,
}

impl Incoming {
    /// Refuses the stream: nothing of it was seen, so it can be sent again (RFC 9113 section 8.7).
    pub(crate) fn refuse(mut self) -> Error {
        self.down.reset(Reason::REFUSED_STREAM);
        Error::new(Kind::TooManyStreams, Side::Downstream)
    }
}

/// Whether a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// GOAWAY, streams go on to their ends.
    Now,
    /// GOAWAY, and what is under way is cut off: the client may not be here any more.
    Revoked,
    /// As `Now`, but not before it has served a stream: a client that has just connected would only connect again.
    Served,
    /// Not at all.
    Stay,
}

#[allow(clippy::large_enum_variant, reason = "the largest is the usual one, and is taken apart at once")]
enum Event {
    End(CloseReason),
    /// A head that does not come to its end.
    Slow,
    Stopped,
    Stream(Request<RecvStream>, SendResponse<Bytes>),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) reason: CloseReason,
    /// What the client did wrong, where it did.
    pub(crate) error: Option<Kind>,
}

/// What there is to wait for beside the connection itself.
#[derive(Default)]
struct Clock {
    /// The worker's minute in which the last stream began or ended.
    idle_since: u32,
    /// GOAWAY was said.
    parted: bool,
    /// Since when there have been no streams after it.
    empty_since: Option<Instant>,
    slow: Timer,
    leaving: Timer,
}

/// Serves a connection to its end. `parting` is asked on every wake-up; `each` makes the task of a stream, or refuses it.
pub(crate) async fn accept<F: Future<Output = ()> + 'static>(
    worker: &Worker,
    wire: Wire,
    socket: &Socket,
    parting: &dyn Fn() -> Parting,
    each: impl Fn(Incoming) -> Option<F>,
) -> Ended {
    socket.watch_heads();
    let mut connection = match timeout(PREFACE_TIMEOUT, greet(worker, wire, socket)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(reason)) => return Ended::by(reason),
        Err(_) => return Ended::slow(),
    };
    let mut streams = JoinSet::new();
    let mut served = false;
    let mut clock = Clock { idle_since: worker.idle_since(), ..Clock::default() };
    let ended = loop {
        let event = poll_fn(|cx| {
            if worker.stopped.get() {
                return Poll::Ready(Event::Stopped);
            }
            while let Poll::Ready(Some(_)) = streams.poll_join_next(cx) {
                clock.idle_since = worker.idle_since();
            }
            let parting = parting();
            let part = match parting {
                Parting::Now | Parting::Revoked => true,
                Parting::Served => served,
                Parting::Stay => streams.is_empty() && worker.is_idle_too_long(clock.idle_since),
            };
            if part && !std::mem::replace(&mut clock.parted, true) {
                connection.graceful_shutdown();
                if parting == Parting::Revoked {
                    streams.abort_all();
                }
            }
            let polled = connection.poll_accept(cx);
            if let Poll::Ready(Err(error)) = socket.poll_flush(cx) {
                return Poll::Ready(Event::End(CloseReason::of(&error)));
            }
            match polled {
                Poll::Ready(Some(Ok((request, respond)))) => Poll::Ready(Event::Stream(request, respond)),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Event::End(reason(&error))),
                Poll::Ready(None) => Poll::Ready(Event::End(CloseReason::Clean)),
                Poll::Pending => clock.poll(cx, worker, socket, streams.is_empty()),
            }
        });
        match event.await {
            Event::Stream(request, respond) => {
                served = true;
                clock.idle_since = worker.idle_since();
                worker.connections.note_activity();
                let (head, body) = request.into_parts();
                let surplus = ledger::is_crowded(streams.len(), worker.max_streams);
                if let Some(task) = each(Incoming { head, down: Downstream::new(body, respond), surplus }) {
                    streams.spawn_local(task);
                }
            }
            Event::End(reason) => break Ended::by(reason),
            Event::Slow => {
                stop(&mut connection, socket, Reason::ENHANCE_YOUR_CALM).await;
                break Ended::slow();
            }
            Event::Stopped => {
                stop(&mut connection, socket, Reason::INTERNAL_ERROR).await;
                return Ended::by(CloseReason::DrainForced);
            }
        }
    };
    drop(connection);
    let _ = timeout(AFTERMATH, async { while streams.join_next().await.is_some() {} }).await;
    if ended.reason == CloseReason::Clean {
        // The last answers may lie in the kernel, and a client that reads them opens its windows: closed now, the socket would
        // answer that with an RST, and what lies there would be lost (ADR 6).
        Box::pin(linger(socket.take())).await;
    }
    ended
}

impl Ended {
    fn by(reason: CloseReason) -> Ended {
        Ended { reason, error: (reason == CloseReason::Protocol).then_some(Kind::ProtocolViolation) }
    }

    fn slow() -> Ended {
        Ended { reason: CloseReason::TimedOut, error: Some(Kind::HeadTimeout) }
    }
}

impl Clock {
    /// What happens because nothing happens.
    fn poll(&mut self, cx: &mut Context<'_>, worker: &Worker, socket: &Socket, no_streams: bool) -> Poll<Event> {
        if let Some(since) = socket.unfinished_since()
            && self.slow.poll(cx, since + worker.head_timeout).is_ready()
        {
            return Poll::Ready(Event::Slow);
        }
        if !self.parted || !no_streams {
            self.empty_since = None;
            return Poll::Pending;
        }
        let since = *self.empty_since.get_or_insert_with(Instant::now);
        self.leaving.poll(cx, since + PARTING).map(|()| Event::End(CloseReason::Clean))
    }
}

/// Why h2 ended a connection: the socket, that the client broke the protocol or flooded us, or what the client itself said.
fn reason(error: &h2::Error) -> CloseReason {
    match error.get_io() {
        Some(error) => CloseReason::of(error),
        None if error.is_library() => CloseReason::Protocol,
        None => CloseReason::Other,
    }
}

/// SETTINGS out, preface in.
async fn greet(worker: &Worker, wire: Wire, socket: &Socket) -> Result<Connection<Wire, Bytes>, CloseReason> {
    let mut greeting = pin!(server(worker.head_limit).handshake::<_, Bytes>(wire));
    poll_fn(|cx| {
        if worker.stopped.get() {
            return Poll::Ready(Err(CloseReason::DrainForced));
        }
        let polled = greeting.as_mut().poll(cx);
        if let Poll::Ready(Err(error)) = socket.poll_flush(cx) {
            return Poll::Ready(Err(CloseReason::of(&error)));
        }
        polled.map_err(|error| reason(&error))
    })
    .await
}

/// Says that everything ends, as far as the socket takes it: the streams that are open were not answered, and not refused.
async fn stop(connection: &mut Connection<Wire, Bytes>, socket: &Socket, reason: Reason) {
    connection.abrupt_shutdown(reason);
    poll_fn(|cx| {
        let _ = connection.poll_closed(cx);
        let _ = socket.poll_flush(cx);
        Poll::Ready(())
    })
    .await;
}
