//! What is known of one endpoint.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// State of one endpoint, owned by one worker (`!Sync`). It outlives updates of the list that the endpoint stands in.
#[derive(Debug)]
pub struct Slot {
    in_flight: Cell<u32>,
    /// Peak EWMA of latency, nanoseconds, as of `observed`.
    estimate: Cell<f64>,
    /// `None`: nothing was ever observed, and `estimate` is the default.
    observed: Cell<Option<Instant>>,
}

/// How a request ended, as far as its endpoint is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client went away, or another attempt won: says nothing about the endpoint.
    Aborted,
    /// No answer, or one that says that the endpoint failed.
    Failure,
    /// An answer.
    Success,
}

/// Time constant of the estimate: Finagle's and Linkerd's default, 10 s.
const DECAY: Duration = Duration::from_secs(10);
/// A failure counts as this many times the present estimate: an endpoint that fails fast must not look fast, while one
/// failure among many answers is forgotten in DECAY × ln 2 = 7 s.
const FAILURE_FACTOR: f64 = 2.0;
/// Above this all are equally bad, so that an endpoint that failed for an hour comes back as soon as one that failed for a
/// minute.
const WORST: Duration = Duration::from_secs(60);

impl Slot {
    /// An endpoint that was never asked. `default_latency` should be what a typical endpoint takes.
    pub fn new(default_latency: Duration) -> Slot {
        Slot { in_flight: Cell::new(0), estimate: Cell::new(nanos(default_latency)), observed: Cell::new(None) }
    }

    /// A request goes to this endpoint. Every `start` needs one [`Slot::finish`].
    pub fn start(&self) {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
    }

    /// A request that began at `started` is over: it was answered, has failed or was given up.
    pub fn finish(&self, started: Instant, now: Instant, outcome: Outcome) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        let latency = nanos(now.saturating_duration_since(started));
        match outcome {
            Outcome::Aborted => {}
            Outcome::Failure => self.observe(latency.max(self.estimate(now) * FAILURE_FACTOR).min(nanos(WORST)), now),
            Outcome::Success => self.observe(latency.min(nanos(WORST)), now),
        }
    }

    /// Whether it has never answered.
    pub fn is_unknown(&self) -> bool {
        self.observed.get().is_none()
    }

    /// Requests started and not finished.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// The smaller, the better.
    pub fn load(&self, now: Instant) -> f64 {
        self.estimate(now) * (f64::from(self.in_flight.get()) + 1.0)
    }

    /// Latency expected now; between observations it falls towards zero.
    pub fn latency(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.estimate(now) as u64)
    }

    fn estimate(&self, now: Instant) -> f64 {
        match self.observed.get() {
            None => self.estimate.get(),
            Some(observed) => self.estimate.get() * remaining(observed, now),
        }
    }

    fn observe(&self, latency: f64, now: Instant) {
        let estimate = match self.observed.get() {
            // the default was a guess
            None => latency,
            Some(_) if latency >= self.estimate.get() => latency,
            Some(observed) => {
                let weight = remaining(observed, now);
                self.estimate.get() * weight + latency * (1.0 - weight)
            }
        };
        self.estimate.set(estimate);
        self.observed.set(self.observed.get().max(Some(now)));
    }
}

/// Share of an estimate of `observed` that is left at `now`.
fn remaining(observed: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(observed).as_secs_f64() / DECAY.as_secs_f64()).exp()
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}
