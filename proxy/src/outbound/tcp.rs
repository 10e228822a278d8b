//! Opaque connections: one connection to an endpoint, bytes both ways.

use std::rc::Rc;
use std::sync::Arc;

use minimesh_api::model::Direction;
use minimesh_balance::Outcome;
use minimesh_identity::{Alpn, SpiffeId};
use tokio::time::Instant;

use super::backend::Tried;
use super::count;
use super::endpoint::{Endpoint, Upstream};
use super::target::Plan;
use crate::detect::{Undecided, server_name};
use crate::error::{Error, Kind, Retry, Side};
use crate::http::h1::Conn;
use crate::io::{RelayEnd, Watcher, relay};
use crate::metrics::{CloseReason, EdgeCells, RetryReason};
use crate::observe::{Moved, Record, Wire};
use crate::worker::Worker;

/// A connection to an endpoint that carries, or is to carry, an opaque connection.
pub(super) struct Carried {
    pub(super) upstream: Upstream,
    load: Load,
}

impl Carried {
    /// Whether another endpoint is to be tried: to this one nothing was sent, and nothing came but its end.
    pub(super) fn is_to_be_replaced(&self, worker: &Worker, plan: &Plan, tried: &mut Tried) -> bool {
        let endpoint = &self.load.endpoint;
        matches!(plan, Plan::Service(service) if service.own.has_other(worker, endpoint, tried))
            && tried.again(Some(endpoint.address))
    }
}

/// Counts in the endpoint's load while it lives.
struct Load {
    endpoint: Rc<Endpoint>,
    since: Instant,
}

impl Drop for Load {
    fn drop(&mut self) {
        // how long a connection lasts says nothing of how fast the endpoint answers
        self.endpoint.slot.finish(self.since.into_std(), Instant::now().into_std(), Outcome::Aborted);
    }
}

/// Carries an opaque connection to its end; `word`: what it has said so far may still become HTTP.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    plan: &Rc<Plan>,
    conn: Conn,
    early: Option<Carried>,
    word: &Undecided,
) {
    let mut record = observe(worker, plan, &conn);
    let carried = match early {
        Some(carried) => carried,
        None => match connect(worker, plan, Alpn::Raw, Tried::default()).await {
            Ok(carried) => carried,
            Err(error) => {
                count(worker, &error);
                if let Some(mut record) = record {
                    record.failed(error.kind, None);
                    worker.observer.finish(record);
                }
                return conn.stream.reset();
            }
        },
    };
    let Carried { upstream, load } = carried;
    if let Some(record) = &mut record {
        record.endpoint = Some(load.endpoint.address);
        record.server_identity = load.endpoint.identity().map(SpiffeId::to_shared);
        record.waited = record.began.elapsed();
    }
    let moved = tunnel(worker, conn, upstream, word).await;
    drop(load);
    if let Some(mut record) = record {
        record.closed(&moved);
        worker.observer.finish(record);
    }
}

/// Begins a record of the connection, where somebody wants to know.
fn observe(worker: &Worker, plan: &Plan, conn: &Conn) -> Option<Box<Record>> {
    let mut record = worker.observer.connection(Direction::Outbound, Wire::Tcp, &conn.stream)?;
    record.client_identity = worker.own_identity();
    record.tls_server_name = server_name(conn.buffer.bytes());
    if let Plan::Service(service) = plan {
        record.backend = Some(service.own.key.clone());
    }
    Some(record)
}

/// Both connections become one, until both directions ended.
pub(super) async fn tunnel(worker: &Rc<Worker>, down: Conn, mut upstream: Upstream, word: &Undecided) -> Moved {
    let up = upstream.take();
    let watcher = Outgoing { worker, cells: upstream.cells(), moved: Moved::default(), word };
    let relayed = relay(down.stream, down.buffer, up.stream, up.buffer, &watcher).await;
    let reason = match (relayed.end, &relayed.error) {
        (RelayEnd::Complete, _) => CloseReason::Clean,
        (RelayEnd::Stopped, _) => CloseReason::DrainForced,
        (RelayEnd::Reset, Some(error)) => CloseReason::of(error),
        (RelayEnd::Reset, None) => CloseReason::Reset,
    };
    let moved = watcher.moved.by(reason);
    upstream.ended_by(reason);
    moved
}

/// Opens a connection for a target; what was not delivered is tried on another endpoint.
pub(super) async fn connect(
    worker: &Rc<Worker>,
    plan: &Rc<Plan>,
    alpn: Alpn,
    mut tried: Tried,
) -> Result<Carried, Error> {
    loop {
        let endpoint = match &**plan {
            Plan::Endpoint(endpoint) | Plan::Passthrough(endpoint) => Rc::clone(endpoint),
            Plan::Service(service) => service.own.pick(worker, &tried).await?,
        };
        endpoint.slot.start();
        let load = Load { endpoint: Rc::clone(&endpoint), since: Instant::now() };
        let error = match endpoint.connect(worker, alpn).await {
            Ok(upstream) => return Ok(Carried { upstream, load }),
            Err(error) => error,
        };
        let service = matches!(&**plan, Plan::Service(service) if service.own.has_other(worker, &endpoint, &tried));
        if !service || error.retry != Retry::OtherEndpoint || !tried.again(Some(endpoint.address)) {
            return Err(error);
        }
        worker.cells.retry(reason(&error));
    }
}

/// Why something is tried again, as a metric's word.
pub(super) fn reason(error: &Error) -> RetryReason {
    match error.kind {
        Kind::ConnectRefused => RetryReason::ConnectRefused,
        Kind::ConnectTimeout => RetryReason::ConnectTimeout,
        _ => RetryReason::NotDelivered,
    }
}

struct Outgoing<'a> {
    worker: &'a Worker,
    cells: &'a Arc<EdgeCells>,
    moved: Moved,
    word: &'a Undecided,
}

impl Watcher for Outgoing<'_> {
    fn passes(&self, bytes: &[u8]) -> bool {
        let passes = self.word.passes(bytes);
        if !passes {
            count(self.worker, &Error::new(Kind::BadRequest, Side::Downstream).because("a request line in two parts"));
        }
        passes
    }

    fn stopped(&self) -> bool {
        self.worker.stopped.get()
    }

    fn sent(&self, bytes: usize) {
        self.worker.connections.note_activity();
        self.cells.written(bytes as u64);
        self.moved.sent(bytes);
    }

    fn received(&self, bytes: usize) {
        self.cells.read(bytes as u64);
        self.moved.received(bytes);
    }
}
