//! Opaque connections of peers: bytes to the application and back, while the permit holds.

use std::rc::Rc;
use std::sync::Arc;

use minimesh_api::model::{Direction, EdgeProtocol};
use minimesh_identity::SpiffeId;
use tokio::time::Instant;

use super::authorize::Permit;
use super::count;
use crate::detect::Undecided;
use crate::error::{Error, Kind, Side};
use crate::http::h1::Conn;
use crate::io::{RelayEnd, Watcher, relay};
use crate::metrics::{CloseReason, EdgeCells};
use crate::observe::{Moved, Record, Wire};
use crate::worker::Worker;

/// Carries an opaque connection to its end. The application is dialled at once: it may be the one that speaks first.
/// `word`: what the peer has said so far may still become HTTP.
pub(super) async fn forward(worker: &Rc<Worker>, permit: Permit, conn: Conn, app: Option<Conn>, word: &Undecided) {
    let mut record = observe(worker, &permit, &conn);
    let app = match app {
        Some(app) => app,
        None => match permit.port().dial(worker).await {
            Ok(app) => app,
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
    if let Some(record) = &mut record {
        record.waited = record.began.elapsed();
    }
    let cells = permit.port().cells(worker, EdgeProtocol::Tcp, permit.peer());
    if permit.is_audited(worker) {
        cells.audited();
    }
    let moved = tunnel(worker, &permit, &cells, (conn, app), word).await;
    if let Some(mut record) = record {
        record.closed(&moved);
        worker.observer.finish(record);
    }
}

/// Begins a record of the connection, where somebody wants to know.
fn observe(worker: &Worker, permit: &Permit, conn: &Conn) -> Option<Box<Record>> {
    let mut record = worker.observer.connection(Direction::Inbound, Wire::Tcp, &conn.stream)?;
    record.endpoint = Some(permit.port().address);
    record.client_identity = permit.peer().identity().map(SpiffeId::to_shared);
    record.server_identity = worker.own_identity();
    Some(record)
}

/// Both connections become one, until both directions ended or the permit is taken back.
pub(super) async fn tunnel(
    worker: &Rc<Worker>,
    permit: &Permit,
    cells: &Arc<EdgeCells>,
    (down, up): (Conn, Conn),
    word: &Undecided,
) -> Moved {
    let opened = Instant::now();
    cells.opened();
    let watcher = Incoming { worker, permit, cells, moved: Moved::default(), word };
    let relayed = relay(down.stream, down.buffer, up.stream, up.buffer, &watcher).await;
    let reason = match (relayed.end, &relayed.error) {
        (RelayEnd::Complete, _) => CloseReason::Clean,
        (RelayEnd::Stopped, _) if worker.stopped.get() => CloseReason::DrainForced,
        (RelayEnd::Stopped, _) => CloseReason::Policy,
        (RelayEnd::Reset, Some(error)) => CloseReason::of(error),
        (RelayEnd::Reset, None) => CloseReason::Reset,
    };
    cells.closed(reason, opened.elapsed());
    watcher.moved.by(reason)
}

struct Incoming<'a> {
    worker: &'a Worker,
    permit: &'a Permit,
    cells: &'a Arc<EdgeCells>,
    moved: Moved,
    word: &'a Undecided,
}

impl Watcher for Incoming<'_> {
    fn passes(&self, bytes: &[u8]) -> bool {
        let passes = self.word.passes(bytes);
        if !passes {
            count(self.worker, &Error::new(Kind::BadRequest, Side::Downstream).because("a request line in two parts"));
        }
        passes
    }

    fn stopped(&self) -> bool {
        self.worker.stopped.get() || !self.permit.holds(self.worker)
    }

    fn sent(&self, bytes: usize) {
        self.worker.connections.note_activity();
        self.cells.read(bytes as u64);
        self.moved.sent(bytes);
    }

    fn received(&self, bytes: usize) {
        self.cells.written(bytes as u64);
        self.moved.received(bytes);
    }
}
