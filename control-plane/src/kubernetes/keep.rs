//! The loop of those who keep something written in the cluster (`statuses`, `trust_maps`): while this replica leads, when something
//! else is wanted, again after an error, and everything afresh now and then, so that what was deleted or changed by hand comes back.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::lease::Leadership;

/// Who writes.
pub(super) trait Writer: Send {
    /// Writes what is not written yet; false: not everything could be. `afresh`: what was written before may be so no more.
    fn write(&mut self, afresh: bool) -> impl Future<Output = bool> + Send;

    /// Resolves when something else may be wanted; false: nobody says any more what.
    fn changed(&mut self) -> impl Future<Output = bool> + Send;
}

/// Writes until nobody says any more what.
pub(super) async fn keep(mut writer: impl Writer, mut leadership: Leadership) {
    let mut afresh = Instant::now();
    loop {
        if !leadership.leads() {
            leadership.gained().await;
            // somebody else wrote meanwhile
            afresh = Instant::now();
        }
        let is_due = Instant::now() >= afresh;
        if is_due {
            afresh = Instant::now() + AFRESH;
        }
        let again = match writer.write(is_due).await {
            true => AFRESH,
            false => AGAIN,
        };
        let goes_on = tokio::select! {
            goes_on = writer.changed() => goes_on,
            () = sleep(again) => true,
        };
        if !goes_on {
            return;
        }
    }
}

/// Everything is written again after that.
const AFRESH: Duration = Duration::from_secs(300);
/// After an error, or where an object was newer than what was judged.
const AGAIN: Duration = Duration::from_secs(5);
