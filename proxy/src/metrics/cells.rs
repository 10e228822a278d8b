//! Groups of cells. A cell has a single writer (`minimesh_runtime::metrics`), which is why every handle has its own.

use std::time::Duration;

use minimesh_runtime::metrics::Counter;

/// A fixed number of counters.
#[derive(Debug)]
pub(super) struct Cells(Box<[Counter]>);

impl Cells {
    pub(super) fn new(count: usize) -> Cells {
        Cells((0..count).map(|_| Counter::new()).collect())
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
            *sum += cell.value();
        }
    }
}

/// Counts by fixed upper bounds, microseconds.
#[derive(Debug)]
pub(super) struct Bounded {
    bounds: &'static [u64],
    counts: Cells,
    sum: Counter,
}

impl Bounded {
    pub(super) fn new(bounds: &'static [u64]) -> Bounded {
        Bounded { bounds, counts: Cells::new(bounds.len() + 1), sum: Counter::new() }
    }

    pub(super) fn record(&self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.counts.add(self.bounds.partition_point(|bound| *bound < micros), 1);
        self.sum.add(micros);
    }

    pub(super) fn add_to(&self, total: &mut BoundedTotals) {
        self.counts.add_to(&mut total.counts);
        total.sum += self.sum.value();
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
