//! What became of access log lines and of spans. Counted by workers, the writing thread and the exporter; none of them often.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the access log and of traces.
#[derive(Debug, Default)]
pub struct ObserveMetrics {
    log_written: AtomicU64,
    log_dropped: AtomicU64,
    spans_exported: AtomicU64,
    spans_dropped: AtomicU64,
    spans_failed: AtomicU64,
}

impl ObserveMetrics {
    /// Lines that stdout took.
    pub(crate) fn log_written(&self, lines: u64) {
        self.log_written.fetch_add(lines, Ordering::Relaxed);
    }

    /// Lines that stdout did not take in time, or at all.
    pub(crate) fn log_dropped(&self, lines: u64) {
        self.log_dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Spans that the collector took.
    pub(crate) fn spans_exported(&self, spans: u64) {
        self.spans_exported.fetch_add(spans, Ordering::Relaxed);
    }

    /// Spans for which the queue had no room.
    pub(crate) fn spans_dropped(&self, spans: u64) {
        self.spans_dropped.fetch_add(spans, Ordering::Relaxed);
    }

    /// Spans that the collector refused, or could not be given.
    pub(crate) fn spans_failed(&self, spans: u64) {
        self.spans_failed.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn log_written_lines(&self) -> u64 {
        self.log_written.load(Ordering::Relaxed)
    }

    pub(crate) fn log_dropped_lines(&self) -> u64 {
        self.log_dropped.load(Ordering::Relaxed)
    }

    /// Exported, dropped, failed.
    pub(crate) fn spans(&self) -> [u64; 3] {
        [&self.spans_exported, &self.spans_dropped, &self.spans_failed].map(|count| count.load(Ordering::Relaxed))
    }
}
