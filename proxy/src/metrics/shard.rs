//! What a worker counts besides edges: errors, retries, detection, refusals, connects, waits.
//!
//! One [`WorkerCells`] per worker, made once at its start.

use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::Direction;
use minimesh_runtime::metrics::Counter;

use super::cells::{Bounded, BoundedTotals, Cells};
use super::words::{Connected, Detected, EarlyConnect, Handshake, MirrorResult, Refusal, RetryReason, RetrySkipped};

/// One worker's counters. Added to by that worker alone.
#[derive(Debug)]
pub struct WorkerCells {
    errors: usize,
    counters: Cells,
    connects: [Bounded; 2],
    pool_wait: Bounded,
    connections: Counter,
    finished: Counter,
}

impl WorkerCells {
    /// An error of the data path; `kind` is its index in the table of codes given to `Metrics::new`.
    pub fn error(&self, direction: Direction, kind: usize) {
        if kind < self.errors {
            self.counters.add(FIXED + direction as usize * self.errors + kind, 1);
        }
    }

    /// Something became of a copy.
    pub fn mirrored(&self, result: MirrorResult) {
        self.counters.add(MIRRORS + result as usize, 1);
    }

    /// A request that the route wants to be sent again is not.
    pub fn retry_skipped(&self, reason: RetrySkipped) {
        self.counters.add(SKIPPED + reason as usize, 1);
    }

    /// A request or connection is tried on another endpoint.
    pub fn retry(&self, reason: RetryReason) {
        self.counters.add(RETRIES + reason as usize, 1);
    }

    /// Detection came to a result.
    pub fn detected(&self, direction: Direction, result: Detected) {
        self.counters.add(DETECTED + direction as usize * Detected::COUNT + result as usize, 1);
    }

    /// A connection that detection opened early was used, or not.
    pub fn early_connect(&self, fate: EarlyConnect) {
        self.counters.add(EARLY + fate as usize, 1);
    }

    /// Inbound refused a connection or request.
    pub fn refused(&self, reason: Refusal) {
        self.counters.add(REFUSED + reason as usize, 1);
    }

    /// A TLS handshake of the mesh succeeded.
    pub fn handshake(&self, direction: Direction, kind: Handshake) {
        self.counters.add(HANDSHAKES + direction as usize * Handshake::COUNT + kind as usize, 1);
    }

    /// Connecting (outbound: to an endpoint, TLS included; inbound: to the application) came to a result.
    pub fn connect(&self, direction: Direction, result: Connected, took: Duration) {
        self.counters.add(CONNECTS + direction as usize * Connected::COUNT + result as usize, 1);
        self.connects[direction as usize].record(took);
    }

    /// A request waited for a connection.
    pub fn pool_wait(&self, took: Duration) {
        self.pool_wait.record(took);
    }

    /// A connection was accepted.
    pub fn accepted(&self) {
        self.connections.add(1);
    }

    /// An accepted connection is done.
    pub fn finished(&self) {
        self.finished.add(1);
    }

    pub(super) fn new(errors: usize) -> Arc<WorkerCells> {
        Arc::new(WorkerCells {
            errors,
            counters: Cells::new(FIXED + 2 * errors),
            connects: [Bounded::new(CONNECT_BOUNDS), Bounded::new(CONNECT_BOUNDS)],
            pool_wait: Bounded::new(CONNECT_BOUNDS),
            connections: Counter::new(),
            finished: Counter::new(),
        })
    }

    pub(super) fn add_to(&self, totals: &mut WorkerTotals) {
        self.counters.add_to(&mut totals.counters);
        for (cells, total) in self.connects.iter().zip(&mut totals.connects) {
            cells.add_to(total);
        }
        self.pool_wait.add_to(&mut totals.pool_wait);
        totals.accepted += self.connections.value();
        totals.finished += self.finished.value();
    }
}

/// Sums over the workers. Indexed by the constants below.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkerTotals {
    counters: Vec<u64>,
    pub(super) connects: [BoundedTotals; 2],
    pub(super) pool_wait: BoundedTotals,
    pub(super) accepted: u64,
    pub(super) finished: u64,
}

impl WorkerTotals {
    pub(super) fn counter(&self, index: usize) -> u64 {
        self.counters.get(index).copied().unwrap_or(0)
    }
}

pub(super) const RETRIES: usize = 0;
pub(super) const SKIPPED: usize = RETRIES + RetryReason::COUNT;
pub(super) const MIRRORS: usize = SKIPPED + RetrySkipped::COUNT;
pub(super) const DETECTED: usize = MIRRORS + MirrorResult::COUNT;
pub(super) const EARLY: usize = DETECTED + 2 * Detected::COUNT;
pub(super) const REFUSED: usize = EARLY + EarlyConnect::COUNT;
pub(super) const HANDSHAKES: usize = REFUSED + Refusal::COUNT;
pub(super) const CONNECTS: usize = HANDSHAKES + 2 * Handshake::COUNT;
/// Where the errors begin: outbound after inbound, as many as there are codes.
pub(super) const FIXED: usize = CONNECTS + 2 * Connected::COUNT;

/// Upper bounds of connect and wait times, microseconds: a loopback connect takes 30, a handshake a few hundred.
pub(super) const CONNECT_BOUNDS: &[u64] =
    &[50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 3_000_000];
