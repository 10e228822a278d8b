//! Metrics of the proxy: handles resolved at setup, cells with one writer, sums at scrape and report.
//!
//! The data path asks for [`EdgeCells`] when an endpoint or an inbound peer is set up and for [`WorkerCells`] at a worker's
//! start; per request it only adds. Label values come from configuration and certificates, never from requests, and the
//! number of edges has a hard cap with an overflow edge behind it.

mod cells;
mod control;
mod edge;
mod expose;
#[cfg(test)]
mod golden;
mod labels;
mod observe;
mod registry;
mod shard;
mod words;

use std::sync::Arc;

use minimesh_api::model::{EdgeKey, EdgeReport};

pub use control::ControlMetrics;
pub use edge::{EdgeCells, EdgeLabels, Policy};
pub use observe::ObserveMetrics;
pub use shard::WorkerCells;
pub use words::{
    Classification, CloseReason, Connected, ControlFailure, Detected, EarlyConnect, Handshake, MirrorResult, Refusal,
    ReportResult, RetryReason, RetrySkipped, STATUS_CODES,
};

use edge::SeriesKey;
pub(crate) use expose::Exposition;
use registry::Registry;
use shard::WorkerTotals;

/// Everything this proxy counts.
#[derive(Debug)]
pub struct Metrics {
    edges: Arc<Registry>,
    error_codes: &'static [&'static str],
    // allowed: taken at a worker's start and at scrape
    #[allow(clippy::disallowed_types)]
    workers: std::sync::Mutex<Vec<Arc<WorkerCells>>>,
    control: ControlMetrics,
    observe: Arc<ObserveMetrics>,
}

impl Metrics {
    /// `error_codes`: the words of the data path's error table, in the order of its kinds.
    pub fn new(error_codes: &'static [&'static str]) -> Arc<Metrics> {
        Metrics::with_edge_limit(error_codes, EDGE_LIMIT)
    }

    /// A worker's own cells of an edge. Ask when an endpoint or an inbound peer is set up, keep while it is used, drop when
    /// it is gone.
    pub fn edge(&self, key: EdgeKey, labels: EdgeLabels) -> Arc<EdgeCells> {
        Arc::new(self.edges.shard(SeriesKey { edge: key, labels }))
    }

    /// The cells of one worker. Ask once, at its start.
    pub fn worker(&self) -> Arc<WorkerCells> {
        let cells = WorkerCells::new(self.error_codes.len());
        self.workers().push(cells.clone());
        cells
    }

    /// Every edge, cumulative.
    pub fn reports(&self) -> Vec<EdgeReport> {
        self.edges.reports()
    }

    /// Where the control thread counts.
    pub fn control(&self) -> &ControlMetrics {
        &self.control
    }

    /// Where the access log and traces count.
    pub fn observe(&self) -> &Arc<ObserveMetrics> {
        &self.observe
    }

    fn with_edge_limit(error_codes: &'static [&'static str], limit: usize) -> Arc<Metrics> {
        Arc::new(Metrics {
            edges: Arc::new(Registry::new(limit)),
            error_codes,
            workers: Vec::new().into(),
            control: ControlMetrics::default(),
            observe: Arc::default(),
        })
    }

    fn worker_totals(&self) -> WorkerTotals {
        let mut totals = WorkerTotals::default();
        self.workers().iter().for_each(|worker| worker.add_to(&mut totals));
        totals
    }

    fn worker_count(&self) -> usize {
        self.workers().len()
    }

    #[allow(clippy::disallowed_types)]
    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<WorkerCells>>> {
        self.workers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Series of edges. A proxy of a namespace with a hundred pods of ten Services stays below; beyond, the edges that were
/// retired longest ago are no longer exposed, and where all are live, new ones are summed up in the overflow edge.
const EDGE_LIMIT: usize = 1_000;
