//! The choice: two at random, the less loaded of them.

use std::time::Instant;

use crate::{Rng, Slot};

/// Picks one of `n` endpoints, whose slots `slot` finds; `None` where there are none.
///
/// Power of two choices (Mitzenmacher, 2001): nearly as even as asking all, and a new endpoint is not flooded by everyone at
/// once as it would be if the best of all were taken.
pub fn pick_p2c<'s>(n: usize, slot: impl Fn(usize) -> &'s Slot, now: Instant, rng: &mut Rng) -> Option<usize> {
    if n < 2 {
        return (n == 1).then_some(0);
    }
    let first = rng.below(n);
    // one of the n - 1 others
    let second = (first + 1 + rng.below(n - 1)) % n;
    Some(if is_less_loaded(slot(second), slot(first), now) { second } else { first })
}

/// An endpoint that never answered has no latency to compare: whatever was assumed, where the others are faster it would not
/// be asked until they slow down. It is taken to be as fast as the other one.
fn is_less_loaded(one: &Slot, other: &Slot, now: Instant) -> bool {
    if one.is_unknown() || other.is_unknown() {
        return one.in_flight() < other.in_flight();
    }
    one.load(now) < other.load(now)
}
