//! A client's connection: streams in, each a task of its own, and how the connection ends.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use http::request::Parts;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::exchange::Downstream;
use super::server;
use super::wire::{Socket, Wire};
use crate::metrics::CloseReason;
use crate::worker::Worker;

/// The preface is 24 bytes, and whoever sends it does so at once.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// When a connection is gone its streams hear of it at once; what does not answer is dropped.
const AFTERMATH: Duration = Duration::from_secs(5);

/// A request as it comes in.
pub(crate) struct Incoming {
    pub(crate) head: Parts,
    pub(crate) down: Downstream,
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
    Stopped,
    Stream(Request<RecvStream>, SendResponse<Bytes>),
}

/// Serves a connection to its end. `parting` is asked on every wake-up; `each` makes the task of a stream.
pub(crate) async fn accept<F: Future<Output = ()> + 'static>(
    worker: &Worker,
    wire: Wire,
    socket: &Socket,
    parting: &dyn Fn() -> Parting,
    each: impl Fn(Incoming) -> F,
) -> CloseReason {
    let mut connection = match timeout(PREFACE_TIMEOUT, greet(worker, wire, socket)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(reason)) => return reason,
        Err(_) => return CloseReason::TimedOut,
    };
    let mut streams = JoinSet::new();
    let (mut served, mut parted) = (false, false);
    let end = loop {
        let event = poll_fn(|cx| {
            if worker.stopped.get() {
                return Poll::Ready(Event::Stopped);
            }
            while let Poll::Ready(Some(_)) = streams.poll_join_next(cx) {}
            let parting = parting();
            let part = match parting {
                Parting::Now | Parting::Revoked => true,
                Parting::Served => served,
                Parting::Stay => false,
            };
            if part && !std::mem::replace(&mut parted, true) {
                connection.graceful_shutdown();
                if parting == Parting::Revoked {
                    streams.abort_all();
                }
            }
            let polled = connection.poll_accept(cx);
            if let Poll::Ready(Err(error)) = socket.poll_flush(cx) {
                return Poll::Ready(Event::End(CloseReason::of(&error)));
            }
            polled.map(|accepted| match accepted {
                Some(Ok((request, respond))) => Event::Stream(request, respond),
                Some(Err(error)) => Event::End(reason(&error)),
                None => Event::End(CloseReason::Clean),
            })
        });
        match event.await {
            Event::Stream(request, respond) => {
                served = true;
                worker.connections.note_activity();
                let (head, body) = request.into_parts();
                streams.spawn_local(each(Incoming { head, down: Downstream::new(body, respond) }));
            }
            Event::End(end) => break end,
            Event::Stopped => {
                stop(&mut connection, socket).await;
                return CloseReason::DrainForced;
            }
        }
    };
    drop(connection);
    let _ = timeout(AFTERMATH, async { while streams.join_next().await.is_some() {} }).await;
    end
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
async fn stop(connection: &mut Connection<Wire, Bytes>, socket: &Socket) {
    connection.abrupt_shutdown(Reason::INTERNAL_ERROR);
    poll_fn(|cx| {
        let _ = connection.poll_closed(cx);
        let _ = socket.poll_flush(cx);
        Poll::Ready(())
    })
    .await;
}
