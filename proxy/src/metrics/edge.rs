//! Edges: who talked to whom, counted by the worker that carried it.
//!
//! [`EdgeCells`] is a worker's own shard of one edge. It is made when an endpoint or an inbound peer is set up and added to
//! per request by that one worker. When it is dropped its totals move into the edge's base, so counters never go down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::histogram::Histogram;
use minimesh_api::model::{DefaultPolicy, EdgeKey, EdgeProtocol, EdgeReport};
use minimesh_runtime::metrics as runtime;

use super::cells::{Bounded, BoundedTotals, Cells};
use super::registry::Registry;
use super::words::{Classification, CloseReason, GRPC_CELLS, STATUS_CELLS, status_cell};

/// What an edge's series carry besides its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeLabels {
    /// Outbound: the endpoint. Inbound: the original destination.
    pub target: Option<SocketAddr>,
    /// Outbound: the endpoint's zone.
    pub zone: Option<Arc<str>>,
    /// Inbound: the policy that let the peer in.
    pub policy: Option<Policy>,
}

/// A default policy as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Policy(pub &'static str);

impl From<DefaultPolicy> for Policy {
    fn from(policy: DefaultPolicy) -> Policy {
        Policy(match policy {
            DefaultPolicy::AllAuthenticated => "all-authenticated",
            DefaultPolicy::AllUnauthenticated => "all-unauthenticated",
            DefaultPolicy::Audit => "audit",
            DefaultPolicy::ClusterAuthenticated => "cluster-authenticated",
            DefaultPolicy::ClusterUnauthenticated => "cluster-unauthenticated",
            DefaultPolicy::Deny => "deny",
        })
    }
}

/// One worker's counters of one edge. Added to by that worker alone.
#[derive(Debug)]
pub struct EdgeCells {
    cells: Arc<Shard>,
    registry: Arc<Registry>,
    series: SeriesKey,
}

impl EdgeCells {
    /// A request's head was read and let through.
    pub fn request(&self) {
        self.cells.requests.add(1);
    }

    /// Inbound: a request, or an opaque connection, was refused by policy.
    pub fn denied(&self) {
        self.cells.denied.add(1);
    }

    /// Inbound: a request, or an opaque connection, was let in by `audit` alone.
    pub fn audited(&self) {
        self.cells.audited.add(1);
    }

    /// A response ended. `latency`: request head read → response ended; `added`: what the proxy itself took of it.
    pub fn response(&self, status: u16, class: Classification, latency: Duration, added: Duration) {
        if let Some(http) = &self.cells.http {
            http.statuses.add(class as usize * STATUS_CELLS + status_cell(status), 1);
            http.latency.record_duration(latency);
            http.added.record_duration(added);
        }
    }

    /// The same for gRPC, whose responses all have the status 200: a call fails by its own status, as gRPC clients and
    /// Linkerd count.
    pub fn grpc_response(&self, status: u8, latency: Duration, added: Duration) {
        if let Some(http) = &self.cells.http {
            let class = Classification::of_grpc(status);
            http.grpc.add(class as usize * GRPC_CELLS + usize::from(status).min(GRPC_CELLS - 1), 1);
            http.latency.record_duration(latency);
            http.added.record_duration(added);
        }
    }

    /// A TCP connection to (outbound) or from (inbound) the peer is open.
    pub fn opened(&self) {
        self.cells.opened.add(1);
    }

    /// It is closed, after `lifetime`.
    pub fn closed(&self, reason: CloseReason, lifetime: Duration) {
        self.cells.closed.add(reason as usize, 1);
        self.cells.lifetime.record(lifetime);
    }

    /// Bytes of the application read from the peer.
    pub fn read(&self, bytes: u64) {
        self.cells.read.add(bytes);
    }

    /// Bytes of the application written to the peer.
    pub fn written(&self, bytes: u64) {
        self.cells.written.add(bytes);
    }

    pub(super) fn new(registry: Arc<Registry>, series: SeriesKey, cells: Arc<Shard>) -> EdgeCells {
        EdgeCells { cells, registry, series }
    }
}

impl Drop for EdgeCells {
    fn drop(&mut self) {
        self.registry.retire(&self.series, &self.cells);
    }
}

/// What tells two series apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SeriesKey {
    pub(super) edge: EdgeKey,
    pub(super) labels: EdgeLabels,
}

/// The cells behind an [`EdgeCells`].
#[derive(Debug)]
pub(super) struct Shard {
    requests: runtime::Counter,
    denied: runtime::Counter,
    audited: runtime::Counter,
    opened: runtime::Counter,
    closed: Cells,
    read: runtime::Counter,
    written: runtime::Counter,
    lifetime: Bounded,
    http: Option<HttpShard>,
}

/// What only an HTTP edge has: cells of 10 KiB, so a TCP edge goes without.
#[derive(Debug)]
struct HttpShard {
    statuses: Cells,
    grpc: Cells,
    latency: runtime::Histogram,
    added: runtime::Histogram,
}

impl Shard {
    pub(super) fn new(protocol: EdgeProtocol, bounds: &Arc<runtime::Bounds>) -> Shard {
        Shard {
            requests: runtime::Counter::new(),
            denied: runtime::Counter::new(),
            audited: runtime::Counter::new(),
            opened: runtime::Counter::new(),
            closed: Cells::new(CloseReason::COUNT),
            read: runtime::Counter::new(),
            written: runtime::Counter::new(),
            lifetime: Bounded::new(LIFETIME_BOUNDS),
            http: (protocol == EdgeProtocol::Http).then(|| HttpShard {
                statuses: Cells::new(Classification::COUNT * STATUS_CELLS),
                grpc: Cells::new(Classification::COUNT * GRPC_CELLS),
                latency: runtime::Histogram::new(bounds.clone()),
                added: runtime::Histogram::new(bounds.clone()),
            }),
        }
    }

    pub(super) fn add_to(&self, totals: &mut EdgeTotals) {
        totals.requests += self.requests.value();
        totals.denied += self.denied.value();
        totals.audited += self.audited.value();
        totals.opened += self.opened.value();
        self.closed.add_to(&mut totals.closed);
        totals.read += self.read.value();
        totals.written += self.written.value();
        self.lifetime.add_to(&mut totals.lifetime);
        if let Some(http) = &self.http {
            http.statuses.add_to(&mut totals.statuses);
            http.grpc.add_to(&mut totals.grpc);
            totals.latency.add(&http.latency.snapshot());
            totals.added.add(&http.added.snapshot());
        }
    }
}

/// An edge's counters, summed over shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EdgeTotals {
    pub(super) requests: u64,
    pub(super) denied: u64,
    pub(super) audited: u64,
    pub(super) opened: u64,
    /// By [`CloseReason`].
    pub(super) closed: Vec<u64>,
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) lifetime: BoundedTotals,
    /// By [`Classification`], then status cell.
    pub(super) statuses: Vec<u64>,
    /// By [`Classification`], then gRPC status.
    pub(super) grpc: Vec<u64>,
    pub(super) latency: Histogram,
    pub(super) added: Histogram,
}

impl EdgeTotals {
    pub(super) fn add(&mut self, other: &EdgeTotals) {
        self.requests += other.requests;
        self.denied += other.denied;
        self.audited += other.audited;
        self.opened += other.opened;
        add_each(&mut self.closed, &other.closed);
        self.read += other.read;
        self.written += other.written;
        self.lifetime.add(&other.lifetime);
        add_each(&mut self.statuses, &other.statuses);
        add_each(&mut self.grpc, &other.grpc);
        self.latency.add(&other.latency);
        self.added.add(&other.added);
    }

    /// Connections closed, for whatever reason.
    pub(super) fn all_closed(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> u64 {
        self.opened.saturating_sub(self.all_closed())
    }

    /// Responses of one classification.
    pub(super) fn responses(&self, class: Classification) -> u64 {
        let of = |cells: &[u64], each: usize| cells.iter().skip(class as usize * each).take(each).sum::<u64>();
        of(&self.statuses, STATUS_CELLS) + of(&self.grpc, GRPC_CELLS)
    }

    pub(super) fn report(self, key: EdgeKey) -> EdgeReport {
        EdgeReport {
            key,
            requests: self.requests,
            successes: self.responses(Classification::Success),
            failures: self.responses(Classification::Failure),
            tcp_opened: self.opened,
            tcp_closed: self.all_closed(),
            bytes_read: self.read,
            bytes_written: self.written,
            latency: self.latency,
            added: self.added,
        }
    }
}

fn add_each(total: &mut Vec<u64>, other: &[u64]) {
    total.resize(total.len().max(other.len()), 0);
    for (sum, count) in total.iter_mut().zip(other) {
        *sum += count;
    }
}

/// Upper bounds of `tcp_connection_duration_ms`, microseconds: those of the latency families, to ten minutes and beyond.
pub(super) const LIFETIME_BOUNDS: &[u64] =
    &[1_000, 10_000, 100_000, 1_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000, 600_000_000, 3_600_000_000];
