//! Draining: one [`Trigger`], many [`Watch`]es. Whoever works on something holds a watch; dropping it says "done". The trigger
//! starts the drain, waits until all watches are gone or the time is over, and then forces.
//!
//! ```text
//! let (trigger, watch) = drain::channel();
//! spawn(connection(watch.clone()));          // inside: select { work, watch.started() => finish, watch.forced() => abort }
//! drop(watch);
//! let outcome = trigger.drain(Duration::from_secs(30)).await;
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// A new drain: its trigger and the first watch.
pub fn channel() -> (Trigger, Watch) {
    let (sender, receiver) = watch::channel(Phase::Open);
    let phase = Arc::new(AtomicU8::new(Phase::Open as u8));
    (Trigger { sender, phase: Arc::clone(&phase) }, Watch { receiver, phase })
}

/// Starts a drain. Dropped without a word, it never drains.
#[derive(Debug)]
pub struct Trigger {
    sender: watch::Sender<Phase>,
    phase: Arc<AtomicU8>,
}

/// Held by whoever must be waited for.
#[derive(Clone, Debug)]
pub struct Watch {
    receiver: watch::Receiver<Phase>,
    phase: Arc<AtomicU8>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every watch was released in time.
    Drained,
    /// The time was over while so many watches were held.
    Forced {
        /// Watches held when the time was over.
        held: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    Started,
    Forced,
}

impl Trigger {
    /// Starts the drain and returns at once; for a beginning without an end (the pod is marked for deletion).
    pub fn start(&self) {
        self.enter(Phase::Started);
    }

    /// Starts the drain, waits for all watches at most `max`, then forces: [`Watch::forced`] resolves, and holders get one more
    /// second to let go.
    pub async fn drain(self, max: Duration) -> Outcome {
        self.enter(Phase::Started);
        if timeout(max, self.sender.closed()).await.is_ok() {
            return Outcome::Drained;
        }
        // Receivers are more: each pending `started` or `forced` has its own.
        let held = Arc::strong_count(&self.phase) - 1;
        self.enter(Phase::Forced);
        // A task that sees `forced` needs a turn of its worker, no more; one that does not must not keep the process.
        let _ = timeout(FORCE_GRACE, self.sender.closed()).await;
        Outcome::Forced { held }
    }

    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
        self.sender.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }
}

impl Watch {
    /// Resolves when the drain starts; at once if it has.
    pub async fn started(&self) {
        self.reached(Phase::Started).await;
    }

    /// Whether the drain has started: one relaxed load, fit for every request.
    pub fn is_started(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= Phase::Started as u8
    }

    /// Resolves when the time is over and everything must end now.
    pub async fn forced(&self) {
        self.reached(Phase::Forced).await;
    }

    /// Whether the time is over.
    pub fn is_forced(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= Phase::Forced as u8
    }

    async fn reached(&self, phase: Phase) {
        // A clone, because waiting marks values as seen and a watch may be waited on from two places.
        let mut receiver = self.receiver.clone();
        if receiver.wait_for(|current| *current >= phase).await.is_err() {
            // The trigger is gone: nothing will ever drain.
            std::future::pending::<()>().await;
        }
    }
}

const FORCE_GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ends_when_the_last_watch_is_dropped() {
        let (trigger, watch) = channel();
        let second = watch.clone();
        let begin = Instant::now();
        let first = tokio::spawn(async move {
            watch.started().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        });
        tokio::spawn(async move {
            second.started().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
        assert_eq!(trigger.drain(Duration::from_secs(30)).await, Outcome::Drained);
        assert_eq!(begin.elapsed(), Duration::from_secs(5));
        assert!(first.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn forces_when_the_time_is_over() {
        let (trigger, watch) = channel();
        let begin = Instant::now();
        let holder = tokio::spawn(async move {
            watch.forced().await;
            (watch.is_started(), watch.is_forced())
        });
        assert_eq!(trigger.drain(Duration::from_secs(30)).await, Outcome::Forced { held: 1 });
        assert_eq!(begin.elapsed(), Duration::from_secs(30));
        assert_eq!(holder.await.expect("no panic"), (true, true));
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_for_a_holder_that_ignores_force() {
        let (trigger, watch) = channel();
        let begin = Instant::now();
        assert_eq!(trigger.drain(Duration::from_secs(30)).await, Outcome::Forced { held: 1 });
        assert_eq!(begin.elapsed(), Duration::from_secs(31));
        assert!(watch.is_forced());
    }

    #[tokio::test(start_paused = true)]
    async fn a_started_drain_is_seen_by_watches_cloned_later() {
        let (trigger, watch) = channel();
        assert!(!watch.is_started());
        trigger.start();
        let late = watch.clone();
        late.started().await;
        assert!(late.is_started() && !late.is_forced());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_trigger_never_drains() {
        let (trigger, watch) = channel();
        drop(trigger);
        assert!(timeout(Duration::from_secs(3600), watch.started()).await.is_err());
    }
}
