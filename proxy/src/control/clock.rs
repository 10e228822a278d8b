//! The wall's clock, by which certificates are judged and age. Handed in, so that a test can set it wrong.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

/// A clock, to the second.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<dyn TimeProvider>);

impl Clock {
    /// The host's.
    pub(crate) fn system() -> Clock {
        Clock(Arc::new(DefaultTimeProvider))
    }

    #[cfg(test)]
    pub(super) fn of(provider: Arc<dyn TimeProvider>) -> Clock {
        Clock(provider)
    }

    pub(super) fn now(&self) -> SystemTime {
        // none: the host's clock stands before 1970
        let since = self.0.current_time().map_or(0, |now| now.as_secs());
        SystemTime::UNIX_EPOCH + Duration::from_secs(since)
    }

    /// As rustls wants it.
    pub(super) fn provider(&self) -> Arc<dyn TimeProvider> {
        Arc::clone(&self.0)
    }
}
