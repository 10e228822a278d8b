//! What is known of one endpoint.

use std::cell::Cell;
use std::f64::consts::{LN_2, LOG2_E};
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
    /// It was no fault of the endpoint's, and says nothing about it.
    Aborted,
    /// No answer, or one that says that the endpoint failed.
    Failure,
    /// An answer.
    Success,
    /// The client would not wait any longer: an answer takes at least so long. Without this an endpoint that hangs would look
    /// better with each second, as its estimate falls and nothing adds to it.
    Unanswered,
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
            Outcome::Unanswered if latency > self.estimate(now) => self.observe(latency.min(nanos(WORST)), now),
            Outcome::Unanswered => {}
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
    exponential_decay(now.saturating_duration_since(observed).as_secs_f64() / DECAY.as_secs_f64())
}

/// e^-x of an x that is not negative, within 10^-8 of the true value. Not [`f64::exp`]: for this one function every sidecar would
/// hold half a megabyte of the C library's mathematics (docs/adr/008).
fn exponential_decay(x: f64) -> f64 {
    // e^-x = 2^-n / e^r, n whole and r from 0 to ln 2
    let n = (x * LOG2_E) as u64;
    if n >= EXPONENT_BIAS {
        return 0.0;
    }
    let r = x - n as f64 * LN_2;
    let e_to_r = INVERSE_FACTORIALS.iter().rev().fold(0.0, |sum, coefficient| sum * r + coefficient);
    f64::from_bits((EXPONENT_BIAS - n) << MANTISSA_BITS) / e_to_r
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// 2^0 as an f64 has this exponent.
const EXPONENT_BIAS: u64 = 1_023;
const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;

/// The series of e^r; the first term that is left out is below 10^-8 where r ≤ ln 2.
const INVERSE_FACTORIALS: [f64; 10] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decays_as_the_exponential_function_does(x in 0.0..800.0_f64) {
            let (found, expected) = (exponential_decay(x), (-x).exp());
            prop_assert!((found - expected).abs() <= expected * 1e-8 + f64::MIN_POSITIVE, "e^-{x}: {found}, not {expected}");
        }
    }

    #[test]
    fn decay_begins_at_one_and_ends_at_nothing() {
        assert_eq!(exponential_decay(0.0), 1.0);
        assert_eq!(exponential_decay(f64::MAX), 0.0);
        assert_eq!(exponential_decay(f64::INFINITY), 0.0);
    }
}
