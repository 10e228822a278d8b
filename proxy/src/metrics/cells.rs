//! Cells: counters with a single writer, readable from every thread.
//!
//! A worker adds with a load and a store, no read-modify-write: an atomic increment costs a bus lock that a single writer
//! does not need. Two writers on one cell would lose counts, never corrupt; that is why every handle has cells of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use minimesh_api::histogram::{BUCKETS, Histogram, bucket};

/// One counter.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    /// By the single writer.
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A fixed number of counters.
#[derive(Debug)]
pub(super) struct Cells(Box<[Cell]>);

impl Cells {
    pub(super) fn new(count: usize) -> Cells {
        Cells((0..count).map(|_| Cell::default()).collect())
    }

    pub(super) fn add(&self, index: usize, n: u64) {
        if let Some(cell) = self.0.get(index) {
            cell.add(n);
        }
    }

    /// Adds every cell to `total`, which grows as needed.
    pub(super) fn add_to(&self, total: &mut Vec<u64>) {
        total.resize(total.len().max(self.0.len()), 0);
        for (sum, cell) in total.iter_mut().zip(&self.0) {
            *sum += cell.get();
        }
    }
}

/// Counts in the log-linear layout, microseconds.
#[derive(Debug)]
pub(super) struct LogLinear {
    counts: Cells,
    sum: Cell,
}

impl LogLinear {
    pub(super) fn new() -> LogLinear {
        LogLinear { counts: Cells::new(BUCKETS), sum: Cell::default() }
    }

    pub(super) fn record(&self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.counts.add(bucket(micros), 1);
        self.sum.add(micros);
    }

    pub(super) fn add_to(&self, total: &mut Histogram) {
        let counts = self.counts.0.iter().enumerate().map(|(index, cell)| (index as u32, cell.get()));
        let own = Histogram::from_counts(counts.filter(|(_, count)| *count > 0), self.sum.get());
        total.add(&own);
    }
}

/// Counts by fixed upper bounds, microseconds.
#[derive(Debug)]
pub(super) struct Bounded {
    bounds: &'static [u64],
    counts: Cells,
    sum: Cell,
}

impl Bounded {
    pub(super) fn new(bounds: &'static [u64]) -> Bounded {
        Bounded { bounds, counts: Cells::new(bounds.len() + 1), sum: Cell::default() }
    }

    pub(super) fn record(&self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.counts.add(self.bounds.partition_point(|bound| *bound < micros), 1);
        self.sum.add(micros);
    }

    pub(super) fn add_to(&self, total: &mut BoundedTotals) {
        self.counts.add_to(&mut total.counts);
        total.sum += self.sum.get();
    }
}

/// What [`Bounded`] counted: one count per bound and one beyond the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BoundedTotals {
    pub(super) counts: Vec<u64>,
    pub(super) sum: u64,
}

impl BoundedTotals {
    pub(super) fn add(&mut self, other: &BoundedTotals) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.sum += other.sum;
    }
}
