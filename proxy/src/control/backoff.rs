//! Back-off with full jitter: a replica that comes back is not met by every proxy at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use minimesh_balance::Rng;

/// Delays that grow from `first` to `most`; each is drawn from the whole span below.
#[derive(Debug)]
pub(crate) struct Backoff {
    rng: Rng,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(most: Duration, seed: u64) -> Backoff {
        Backoff { rng: Rng::new(seed), most, next: FIRST }
    }

    /// The next delay.
    pub(crate) fn delay(&mut self) -> Duration {
        let span = self.next;
        self.next = (self.next * 2).min(self.most);
        LEAST + between(Duration::ZERO, span.saturating_sub(LEAST), &mut self.rng)
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

/// Uniform between two durations, to the microsecond.
pub(super) fn between(low: Duration, high: Duration, rng: &mut Rng) -> Duration {
    let span = high.saturating_sub(low).as_micros().min(u128::from(u32::MAX) * 1_000) as usize;
    low + Duration::from_micros(rng.below(span) as u64)
}

/// A seed of this process's own.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

const FIRST: Duration = Duration::from_millis(200);
/// Not zero, so that a failure that comes at once cannot spin.
const LEAST: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_over_a_span_that_doubles_to_its_bound() {
        let most = Duration::from_secs(10);
        let mut largest = [Duration::ZERO; 12];
        for seed in 0..500 {
            let mut backoff = Backoff::new(most, seed);
            for (step, largest) in largest.iter_mut().enumerate() {
                let delay = backoff.delay();
                let span = (FIRST * 2u32.pow(step as u32)).min(most);
                assert!(delay >= LEAST && delay <= span, "{delay:?} of {span:?}");
                *largest = delay.max(*largest);
            }
            backoff.reset();
            assert!(backoff.delay() <= FIRST);
        }
        assert!(largest[0] > FIRST / 2 && largest[11] > most / 2, "{largest:?}");
    }
}
