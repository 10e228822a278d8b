//! How many requests may be sent again: a share of those that are sent, and a few beside.
//!
//! Retries multiply load exactly when a server can bear it least. A budget bounds that: whatever the rules of single requests
//! say, the retries of a target stay a fifth of its requests, and ten a second where there are few requests.

use std::cell::Cell;
use std::time::Instant;

/// Retries that are still allowed, for one target and one worker (`!Sync`). A token bucket.
#[derive(Debug)]
pub struct Budget {
    /// In billionths.
    tokens: Cell<u64>,
    /// Requests since then, which are not in `tokens` yet.
    requests: Cell<u64>,
    counted: Cell<Instant>,
}

/// A retry.
const TOKEN: u64 = 1_000_000_000;
/// What a request brings: one retry for five requests (Linkerd's and Finagle's default).
const PER_REQUEST: u64 = TOKEN / 5;
/// Tokens that a second brings, which is billionths that a nanosecond brings (the same).
const PER_SECOND: u64 = 10;
/// Most that is saved up, and what there is at the start: ten seconds of the least, the same defaults' window.
const MOST: u64 = 100 * TOKEN;

impl Budget {
    /// A full one.
    pub fn new(now: Instant) -> Budget {
        Budget { tokens: Cell::new(MOST), requests: Cell::new(0), counted: Cell::new(now) }
    }

    /// A request is sent for the first time. All are counted, and few are ever sent again: this is one addition, the rest is
    /// done when somebody asks.
    pub fn deposit(&self) {
        self.requests.set(self.requests.get().saturating_add(1));
    }

    /// A request is to be sent again; `false`: not now.
    pub fn withdraw(&self, now: Instant) -> bool {
        let level = self.level(now);
        let enough = level >= TOKEN;
        self.tokens.set(if enough { level - TOKEN } else { level });
        self.requests.set(0);
        self.counted.set(self.counted.get().max(now));
        enough
    }

    fn level(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.counted.get()).as_nanos();
        let brought = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(PER_SECOND);
        let earned = self.requests.get().saturating_mul(PER_REQUEST);
        self.tokens.get().saturating_add(brought).saturating_add(earned).min(MOST)
    }
}
