//! The registry of edges: shards in, sums out.
//!
//! Workers come here when an endpoint or peer is set up and when it is dropped, scrapes and reports when they read. The lock
//! is held for a map operation on the workers' side; a reader holds it while it sums.

use std::collections::HashMap;
use std::sync::Arc;

use minimesh_api::model::{EdgeKey, EdgeReport, Security};
use minimesh_runtime::metrics::{Bounds, LATENCY_MS, Unit};

use super::edge::{EdgeCells, EdgeTotals, SeriesKey, Shard};

/// All edges of this proxy.
#[derive(Debug)]
pub(super) struct Registry {
    // allowed: taken at setup, drop, scrape and report, never between two requests
    #[allow(clippy::disallowed_types)]
    series: std::sync::Mutex<Edges>,
    /// What the cells carry along; the exposition sums first and uses bounds of its own.
    bounds: Arc<Bounds>,
}

#[derive(Debug, Default)]
struct Edges {
    series: HashMap<SeriesKey, Series>,
    /// Evicted: no longer exposed, still reported, and taken up again where they come back. A count is never in two places.
    evicted: HashMap<SeriesKey, Series>,
    limit: usize,
    /// Orders retirements, so that the one retired longest ago is evicted first.
    clock: u64,
    overflowed: u64,
    evictions: u64,
}

#[derive(Debug, Default)]
struct Series {
    /// What retired shards counted.
    base: EdgeTotals,
    live: Vec<Arc<Shard>>,
    retired_at: u64,
}

impl Series {
    fn totals(&self) -> EdgeTotals {
        let mut totals = self.base.clone();
        for shard in &self.live {
            shard.add_to(&mut totals);
        }
        totals
    }
}

/// How the cap on series fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub(super) series: u64,
    /// Edges counted in the overflow series because the cap was reached.
    pub(super) overflowed: u64,
    /// Idle edges whose series were left out to make room.
    pub(super) evicted: u64,
}

impl Registry {
    pub(super) fn new(limit: usize) -> Registry {
        Registry {
            series: Edges { limit, ..Edges::default() }.into(),
            bounds: Arc::new(Bounds::new(Unit::Milliseconds, &LATENCY_MS)),
        }
    }

    /// A new shard of an edge, or of the overflow edge where there is no room.
    pub(super) fn shard(self: &Arc<Registry>, wanted: SeriesKey) -> EdgeCells {
        let mut edges = self.lock();
        let key = edges.admit(wanted);
        let shard = Arc::new(Shard::new(key.edge.protocol, &self.bounds));
        let Edges { series, evicted, .. } = &mut *edges;
        let series = series.entry(key.clone()).or_insert_with(|| evicted.remove(&key).unwrap_or_default());
        series.live.push(shard.clone());
        EdgeCells::new(self.clone(), key, shard)
    }

    /// A shard's owner is gone: its totals stay.
    pub(super) fn retire(&self, key: &SeriesKey, shard: &Arc<Shard>) {
        let mut edges = self.lock();
        edges.clock += 1;
        let now = edges.clock;
        let Some(series) = edges.series.get_mut(key) else { return };
        series.live.retain(|live| !Arc::ptr_eq(live, shard));
        shard.add_to(&mut series.base);
        series.retired_at = now;
    }

    /// Every series with its totals, ordered.
    pub(super) fn series(&self) -> Vec<(SeriesKey, EdgeTotals)> {
        let edges = self.lock();
        sorted(edges.series.iter().map(|(key, series)| (key.clone(), series.totals())).collect())
    }

    /// Every edge as it is reported: series that differ by labels alone are one edge, and evicted ones are part of it, because
    /// what is reported must never go down.
    pub(super) fn reports(&self) -> Vec<EdgeReport> {
        let all = {
            let edges = self.lock();
            let all = edges.series.iter().chain(&edges.evicted);
            sorted(all.map(|(key, series)| (key.clone(), series.totals())).collect())
        };
        let mut edges: Vec<(EdgeKey, EdgeTotals)> = Vec::new();
        for (key, totals) in all {
            match edges.last_mut() {
                Some((edge, sum)) if *edge == key.edge => sum.add(&totals),
                _ => edges.push((key.edge, totals)),
            }
        }
        edges.into_iter().map(|(key, totals)| totals.report(key)).collect()
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        let edges = self.lock();
        Occupancy { series: edges.series.len() as u64, overflowed: edges.overflowed, evicted: edges.evictions }
    }

    #[allow(clippy::disallowed_types)]
    fn lock(&self) -> std::sync::MutexGuard<'_, Edges> {
        self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Edges {
    /// The key under which `wanted` is counted.
    fn admit(&mut self, wanted: SeriesKey) -> SeriesKey {
        if self.series.contains_key(&wanted) || self.series.len() < self.limit || self.evict() {
            return wanted;
        }
        self.overflowed += 1;
        overflow(&wanted.edge)
    }

    /// Leaves out the edge that was retired longest ago. False where every edge is live.
    fn evict(&mut self) -> bool {
        let idle = self.series.iter().filter(|(key, series)| series.live.is_empty() && !is_overflow(key));
        let Some(oldest) = longest_retired(idle) else { return false };
        let Some(series) = self.series.remove(&oldest) else { return false };
        self.evicted.insert(oldest, series);
        self.evictions += 1;
        if self.evicted.len() > self.limit * REMEMBERED
            && let Some(oldest) = longest_retired(self.evicted.iter())
        {
            self.evicted.remove(&oldest);
        }
        true
    }
}

fn longest_retired<'a>(series: impl Iterator<Item = (&'a SeriesKey, &'a Series)>) -> Option<SeriesKey> {
    series.min_by_key(|(_, series)| series.retired_at).map(|(key, _)| key.clone())
}

fn sorted(mut all: Vec<(SeriesKey, EdgeTotals)>) -> Vec<(SeriesKey, EdgeTotals)> {
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

/// The edge that counts what has no room of its own.
fn overflow(edge: &EdgeKey) -> SeriesKey {
    SeriesKey {
        edge: EdgeKey {
            direction: edge.direction,
            protocol: edge.protocol,
            service: None,
            peer: None,
            port: 0,
            security: Security::None(OVERFLOW.into()),
        },
        labels: Default::default(),
    }
}

fn is_overflow(key: &SeriesKey) -> bool {
    matches!(&key.edge.security, Security::None(reason) if &**reason == OVERFLOW)
}

/// The `no_tls_reason` of the overflow edges: nothing can be said about what they sum.
const OVERFLOW: &str = "overflow";

/// Evicted edges that are remembered, as a multiple of the limit: sparse sums without live cells, which the control plane has room
/// for (10 000 of one process).
const REMEMBERED: usize = 4;
