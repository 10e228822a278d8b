//! Golden metrics per edge, as a proxy reports them.

use std::sync::Arc;
use std::time::Duration;

use super::{BackendKey, WorkloadRef};
use crate::histogram::Histogram;

/// Which side of a connection reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The server's proxy.
    Inbound,
    /// The client's proxy.
    Outbound,
}

/// What was carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EdgeProtocol {
    /// Requests.
    Http,
    /// Bytes.
    Tcp,
}

/// What this side knows of the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Security {
    /// `no_tls_reason` as in metrics.
    None(Arc<str>),
    /// The SPIFFE ID verified in a TLS handshake.
    Verified(Arc<str>),
}

impl Security {
    /// `no_tls_reason` of plaintext that came from the server's own node.
    pub const NODE: &'static str = "node";
}

/// One row of the mesh as one proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeKey {
    /// Which side.
    pub direction: Direction,
    /// What was carried.
    pub protocol: EdgeProtocol,
    /// Outbound: the Service dialled, unless a pod was.
    pub service: Option<BackendKey>,
    /// Outbound: the endpoint's workload.
    pub peer: Option<WorkloadRef>,
    /// Inbound: the application's port. Outbound: the endpoint's. 0: several (the overflow edge).
    pub port: u16,
    /// What this side knows of the other.
    pub security: Security,
}

/// Counters of an edge since the proxy's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeReport {
    /// Which edge.
    pub key: EdgeKey,
    /// Requests whose head was read.
    pub requests: u64,
    /// Responses classified as success.
    pub successes: u64,
    /// Responses classified as failure (5xx, made by the proxy or not, and broken ones).
    pub failures: u64,
    /// TCP connections opened.
    pub tcp_opened: u64,
    /// TCP connections closed.
    pub tcp_closed: u64,
    /// Bytes read from the peer.
    pub bytes_read: u64,
    /// Bytes written to the peer.
    pub bytes_written: u64,
    /// Response latency, microseconds.
    pub latency: Histogram,
    /// Time that the proxy added, microseconds.
    pub added: Histogram,
}

impl EdgeReport {
    /// Of an edge on which nothing happened.
    pub fn nothing(key: EdgeKey) -> EdgeReport {
        EdgeReport {
            key,
            requests: 0,
            successes: 0,
            failures: 0,
            tcp_opened: 0,
            tcp_closed: 0,
            bytes_read: 0,
            bytes_written: 0,
            latency: Histogram::default(),
            added: Histogram::default(),
        }
    }
}

/// What one proxy reported about one edge, over a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedEdge {
    /// From the reporter's certificate and pod.
    pub reporter: WorkloadRef,
    /// The SPIFFE ID in the reporter's certificate.
    pub reporter_identity: Arc<str>,
    /// Differences over `over`, except `tcp_opened` and `tcp_closed`: totals, so that their difference is what is open now.
    pub edge: EdgeReport,
    /// The span that the differences cover; shorter than the window for a young proxy.
    pub over: Duration,
    /// Since the proxy's start.
    pub total_requests: u64,
    /// Since the proxy's start.
    pub total_failures: u64,
    /// Since the last report of this proxy.
    pub age: Duration,
}
