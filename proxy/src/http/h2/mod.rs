//! HTTP/2 as it passes through the proxy, stream by stream, over the h2 crate (ADR 7).
//!
//! `accept` is a connection of a client, `link` one to a server, `pool` the links to one server. `exchange` takes one request
//! over one link and its response back; `body` moves one direction. Each stream is a task of its own: it waits for its own
//! windows and for nobody else's. `ledger` counts what all of them hold together.

mod accept;
mod answer;
mod body;
mod copy;
mod exchange;
mod head;
mod ledger;
mod link;
mod pool;
mod unfinished;
mod wire;

pub(crate) use accept::{Ended, Incoming, Parting, accept};
pub(crate) use answer::{Reply, answer, tell};
pub(crate) use copy::{Copied, send_copy};
pub(crate) use exchange::{Downstream, Failed, Forwarded, Passage, forward};
pub(crate) use head::{Fields, Outgoing, check, is_grpc, view};
pub(crate) use link::{Driver, Keep, Link, Slot, drive};
pub(crate) use pool::{Dialling, Pool, Use};
pub(crate) use wire::{Socket, wire};

use bytes::Bytes;

/// Requests of one client at once. Long streams count, so it is well above the 100 to 250 of common servers.
const STREAMS: u32 = 512;

/// What a peer may send on one stream before its receiver has taken any: at 1 ms of round trip 128 MB/s.
const WINDOW: u32 = 128 * 1024;

/// All streams may stall with full windows, and the next one still goes on: no stream waits for another's receiver. It is
/// also the most that one connection can make us hold in one direction.
const CONNECTION_WINDOW: u32 = STREAMS * WINDOW;

/// Taken for a stream beyond what its receiver's window lets out.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that a client cancelled before we looked at them, and streams that we reset: a client that cancels a burst of calls
/// is common, one that does nothing else is an attack (CVE-2023-44487). Also streams that a peer made us reset by breaking the
/// protocol (CVE-2025-8671): nobody does that so often by mistake, and each costs more than it costs the peer.
const RESET_STREAMS: usize = 128;

/// h2 counts 32 bytes for each header and answers what is beyond without our code; our own limit comes first.
fn header_list(limit: usize) -> u32 {
    u32::try_from(limit.saturating_mul(2)).unwrap_or(u32::MAX)
}

fn server(limit: usize) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(header_list(limit))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(Some(RESET_STREAMS))
        .enable_connect_protocol();
    builder
}

fn client(limit: usize) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(link::UNSETTLED)
        .max_header_list_size(header_list(limit))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .enable_push(false);
    builder
}

type Sender = h2::SendStream<Bytes>;
