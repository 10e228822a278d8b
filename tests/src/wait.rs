//! Waiting for something that happens elsewhere: a condition, and a deadline that names what did not happen.

use std::time::{Duration, Instant};

/// Long enough for a machine that compiles at the same time; nothing waits this long unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition in another process is looked at: no event of it reaches us.
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks at `condition` until it gives something. Panics, with `what`, when [`PATIENCE`] is over.
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition)
}

/// The same with another deadline.
pub fn within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::park_timeout(INTERVAL);
    }
}
