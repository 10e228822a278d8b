//! A histogram of microseconds in the contract's log-linear layout (`minimesh_api::histogram`): recorded by one writer without a
//! lock, reported sparse, and exposed to Prometheus with bounds of the reader's choice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use minimesh_api::histogram::{self as layout, BUCKETS};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Cells of the layout. One writer.
pub struct Histogram {
    cells: Box<[AtomicU64]>,
    sum: AtomicU64,
    bounds: Arc<Bounds>,
}

impl Histogram {
    /// Empty; `bounds` say how it is exposed, and are shared by all histograms of a family.
    pub fn new(bounds: Arc<Bounds>) -> Histogram {
        Histogram { cells: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0), bounds }
    }

    /// Counts a value in microseconds.
    pub fn record(&self, micros: u64) {
        let cell = &self.cells[layout::bucket(micros)];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.sum.store(self.sum.load(Ordering::Relaxed).wrapping_add(micros), Ordering::Relaxed);
    }

    /// Counts a duration.
    pub fn record_duration(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// What was counted so far. A value that is being counted meanwhile may be in the counts and not yet in the sum.
    pub fn snapshot(&self) -> layout::Histogram {
        let counts = self.cells.iter().enumerate().map(|(bucket, cell)| (bucket as u32, cell.load(Ordering::Relaxed)));
        layout::Histogram::from_counts(counts.filter(|(_, count)| *count > 0), self.sum.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.snapshot(), f)
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.bounds.encode(&self.snapshot(), encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

/// The unit in which bounds and sum are exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// For `…_ms`.
    Milliseconds,
    /// For `…_seconds`.
    Seconds,
}

impl Unit {
    fn micros(self) -> f64 {
        match self {
            Unit::Milliseconds => 1_000.0,
            Unit::Seconds => 1_000_000.0,
        }
    }
}

/// Upper bounds (`le`) of an exposed histogram. A bucket of the layout that straddles a bound counts below it if its middle does:
/// a value within 3.2 % of a bound may be on its other side.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    unit: Unit,
    /// Each bound with the first bucket of the layout that lies above it.
    bounds: Vec<(f64, usize)>,
}

impl Bounds {
    /// Ascending bounds; the infinite one is added.
    pub fn new(unit: Unit, bounds: &[f64]) -> Bounds {
        let middle = |bucket: usize| (layout::lower_bound(bucket) + layout::lower_bound(bucket + 1) - 1) as f64 / 2.0;
        let first_above = |bound: f64| (0..BUCKETS).find(|b| middle(*b) > bound * unit.micros()).unwrap_or(BUCKETS);
        let bounds = bounds.iter().map(|&bound| (bound, first_above(bound)));
        Bounds { unit, bounds: bounds.chain([(f64::INFINITY, BUCKETS)]).collect() }
    }

    /// Writes a snapshot, of one cell or the sum of many, as a classic histogram.
    pub fn encode(&self, histogram: &layout::Histogram, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut counts = histogram.counts().iter().peekable();
        let buckets: Vec<(f64, u64)> = self
            .bounds
            .iter()
            .map(|&(bound, first_above)| {
                let mut count = 0u64;
                while let Some((_, n)) = counts.next_if(|(bucket, _)| (*bucket as usize) < first_above) {
                    count = count.saturating_add(*n);
                }
                (bound, count)
            })
            .collect();
        let sum = histogram.sum() as f64 / self.unit.micros();
        encoder.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)
    }
}

/// The bounds of Linkerd's `response_latency_ms`, which existing dashboards know.
pub const LATENCY_MS: [f64; 25] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1_000.0, 2_000.0,
    3_000.0, 4_000.0, 5_000.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0,
];

/// For times that should be far below a millisecond and are of interest when they are not: 10 µs to 5 s.
pub const SECONDS: [f64; 18] = [
    0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram() -> Histogram {
        Histogram::new(Arc::new(Bounds::new(Unit::Milliseconds, &LATENCY_MS)))
    }

    #[test]
    fn a_snapshot_holds_what_was_recorded() {
        let histogram = histogram();
        histogram.record(7);
        histogram.record(7);
        histogram.record_duration(Duration::from_millis(3));
        histogram.record_duration(Duration::MAX);
        let bucket = |value| layout::bucket(value) as u32;
        let expected = [(bucket(7), 2), (bucket(3_000), 1), (BUCKETS as u32 - 1, 1)];
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts(), expected);
        assert_eq!(snapshot.sum(), 3_013);
    }

    #[test]
    fn bounds_cut_the_layout_within_a_bucket_of_their_value() {
        for unit in [Unit::Milliseconds, Unit::Seconds] {
            let bounds = Bounds::new(unit, &LATENCY_MS);
            for &(bound, first_above) in &bounds.bounds[..LATENCY_MS.len()] {
                let micros = (bound * unit.micros()) as u64;
                let exact = layout::bucket(micros) + 1;
                assert!(first_above == exact || first_above + 1 == exact, "{bound}: {first_above}, {exact}");
            }
        }
    }

    proptest! {
        #[test]
        fn exposed_counts_add_up(values in proptest::collection::vec(0u64..100_000_000, 0..50)) {
            let histogram = histogram();
            values.iter().for_each(|value| histogram.record(*value));
            prop_assert_eq!(histogram.snapshot().count(), values.len() as u64);
            prop_assert_eq!(histogram.snapshot().sum(), values.iter().sum::<u64>());
        }
    }
}
