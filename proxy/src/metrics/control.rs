//! What the control thread counts: certificate, discovery, reports. Written there alone, read at scrape.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minimesh_runtime::metrics::Counter;

use super::words::{ControlFailure, ReportResult};

/// The control thread's counters and states.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    pub(super) certificate_expires: AtomicU64,
    pub(super) certificate_refreshed: AtomicU64,
    pub(super) certificate_refreshes: Counter,
    pub(super) certify_failures: [Counter; ControlFailure::COUNT],
    pub(super) connected: AtomicBool,
    pub(super) connections: Counter,
    pub(super) watch_failures: [Counter; ControlFailure::COUNT],
    pub(super) updates: Counter,
    pub(super) nacks: Counter,
    pub(super) refused_subscriptions: Counter,
    pub(super) subscriptions: AtomicU64,
    pub(super) pending: AtomicU64,
    /// Microseconds since the epoch of the last message from the control plane; 0: none.
    pub(super) heard: AtomicU64,
    pub(super) reports: [Counter; ReportResult::COUNT],
}

impl ControlMetrics {
    /// A certificate came.
    pub(crate) fn certificate(&self, expires: SystemTime, now: SystemTime) {
        self.certificate_expires.store(micros(expires), Ordering::Relaxed);
        self.certificate_refreshed.store(micros(now), Ordering::Relaxed);
        self.certificate_refreshes.add(1);
    }

    /// Certify failed.
    pub(crate) fn certify_failed(&self, failure: ControlFailure) {
        self.certify_failures[failure as usize].add(1);
    }

    /// The Watch stream is open (its Hello came), or is not.
    pub(crate) fn connected(&self, connected: bool) {
        if connected {
            self.connections.add(1);
        }
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// The Watch stream could not be opened, or broke.
    pub(crate) fn watch_failed(&self, failure: ControlFailure) {
        self.watch_failures[failure as usize].add(1);
    }

    /// A message came from the control plane.
    pub(crate) fn heard(&self, now: SystemTime) {
        self.heard.store(micros(now), Ordering::Relaxed);
    }

    /// An update was applied.
    pub(crate) fn updated(&self) {
        self.updates.add(1);
    }

    /// An update was refused; the last good state stays.
    pub(crate) fn nacked(&self) {
        self.nacks.add(1);
    }

    /// A worker asked for one resource too many.
    pub(crate) fn refused_subscription(&self) {
        self.refused_subscriptions.add(1);
    }

    /// Resources subscribed to, and those of them that are not known yet.
    pub(crate) fn subscriptions(&self, all: usize, pending: usize) {
        self.subscriptions.store(all as u64, Ordering::Relaxed);
        self.pending.store(pending as u64, Ordering::Relaxed);
    }

    /// A report was due.
    pub(crate) fn reported(&self, result: ReportResult) {
        self.reports[result as usize].add(1);
    }

    /// Since the last message of the control plane.
    pub(super) fn silence(&self, now: SystemTime) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed);
        (heard != 0).then(|| Duration::from_micros(micros(now).saturating_sub(heard)))
    }
}

fn micros(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
