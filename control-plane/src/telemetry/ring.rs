//! The recent past of one proxy: what each report added, in slots that grow with age.
//!
//! A slot is what was added between two reports. Old slots are merged (5 s become 15 s, then 60 s), so that fifteen minutes
//! are at most a few dozen slots; what did not change takes no room.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use minimesh_api::model::{EdgeKey, EdgeReport};
use tokio::time::Instant;

/// Slots of one proxy, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<Slot>);

#[derive(Debug)]
struct Slot {
    start: Instant,
    end: Instant,
    added: HashMap<EdgeKey, EdgeReport>,
}

/// What was added within a window.
#[derive(Debug)]
pub(super) struct Sum {
    /// From the first slot's start to the last one's end; `None`: no slot lies in the window.
    pub(super) span: Option<(Instant, Instant)>,
    /// Per edge; edges without change are absent.
    pub(super) added: HashMap<EdgeKey, EdgeReport>,
}

impl Ring {
    /// Adds what a report added, forgets what is too old, and merges what is old.
    pub(super) fn push(&mut self, start: Instant, end: Instant, added: HashMap<EdgeKey, EdgeReport>) {
        self.0.push_back(Slot { start, end, added });
        while self.0.front().is_some_and(|slot| end.saturating_duration_since(slot.end) > HISTORY) {
            self.0.pop_front();
        }
        self.merge(end);
    }

    /// The sum of the slots whose middle lies within `window` before `now`; for a window shorter than the reports' interval,
    /// of the last slot.
    pub(super) fn sum(&self, window: Duration, now: Instant) -> Sum {
        let inside = |slot: &&Slot| {
            let half = slot.end.saturating_duration_since(slot.start) / 2;
            now.saturating_duration_since(slot.end) + half <= window
        };
        let fresh = |slot: &&Slot| now.saturating_duration_since(slot.start) <= LATE;
        let last = self.0.back().filter(|slot| !inside(slot) && fresh(slot));
        let mut sum = Sum { span: None, added: HashMap::new() };
        for slot in self.0.iter().filter(inside).chain(last) {
            let (start, end) = sum.span.unwrap_or((slot.start, slot.end));
            sum.span = Some((start.min(slot.start), end.max(slot.end)));
            add_all(&mut sum.added, &slot.added);
        }
        sum
    }

    fn merge(&mut self, now: Instant) {
        let mut index = 0;
        while index + 1 < self.0.len() {
            let (older, newer) = (&self.0[index], &self.0[index + 1]);
            let span = newer.end.saturating_duration_since(older.start);
            let fits = span <= granularity(now.saturating_duration_since(newer.end));
            if !fits {
                index += 1;
                continue;
            }
            if let Some(newer) = self.0.remove(index + 1) {
                let older = &mut self.0[index];
                older.end = older.end.max(newer.end);
                add_all(&mut older.added, &newer.added);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn add_all(to: &mut HashMap<EdgeKey, EdgeReport>, from: &HashMap<EdgeKey, EdgeReport>) {
    for (key, added) in from {
        match to.get_mut(key) {
            Some(edge) => add(edge, added),
            None => drop(to.insert(key.clone(), added.clone())),
        }
    }
}

/// Adds counters and histograms.
fn add(edge: &mut EdgeReport, added: &EdgeReport) {
    edge.requests = edge.requests.saturating_add(added.requests);
    edge.successes = edge.successes.saturating_add(added.successes);
    edge.failures = edge.failures.saturating_add(added.failures);
    edge.tcp_opened = edge.tcp_opened.saturating_add(added.tcp_opened);
    edge.tcp_closed = edge.tcp_closed.saturating_add(added.tcp_closed);
    edge.bytes_read = edge.bytes_read.saturating_add(added.bytes_read);
    edge.bytes_written = edge.bytes_written.saturating_add(added.bytes_written);
    edge.latency.add(&added.latency);
    edge.added.add(&added.added);
}

/// What was added since `earlier`; a counter that went down counts as unchanged.
pub(super) fn since(edge: &EdgeReport, earlier: &EdgeReport) -> EdgeReport {
    EdgeReport {
        key: edge.key.clone(),
        requests: edge.requests.saturating_sub(earlier.requests),
        successes: edge.successes.saturating_sub(earlier.successes),
        failures: edge.failures.saturating_sub(earlier.failures),
        tcp_opened: edge.tcp_opened.saturating_sub(earlier.tcp_opened),
        tcp_closed: edge.tcp_closed.saturating_sub(earlier.tcp_closed),
        bytes_read: edge.bytes_read.saturating_sub(earlier.bytes_read),
        bytes_written: edge.bytes_written.saturating_sub(earlier.bytes_written),
        latency: edge.latency.since(&earlier.latency),
        added: edge.added.since(&earlier.added),
    }
}

/// Longest slot at an age.
fn granularity(age: Duration) -> Duration {
    match age.as_secs() {
        0..60 => Duration::ZERO,
        60..300 => Duration::from_secs(15),
        _ => Duration::from_secs(60),
    }
}

/// A proxy whose last report is older is late: its silence counts as time in which nothing happened.
pub(super) const LATE: Duration = Duration::from_secs(15);

/// How far back `Edges` can be asked (mesh.proto).
pub(super) const HISTORY: Duration = Duration::from_secs(15 * 60);
