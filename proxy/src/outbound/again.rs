//! Whether a request that got no answer is sent once more: one judgement for HTTP/1 and HTTP/2.
//!
//! Called by `http` and `h2` after an attempt that failed. Never sends anything, and never waits.

use tokio::time::Instant;

use super::backend::Tried;
use super::choose::Choice;
use super::endpoint::Endpoint;
use super::tcp::reason;
use crate::error::{Error, Retry};
use crate::http::Retries;
use crate::metrics::RetryReason;
use crate::worker::Worker;

/// A failed attempt, as far as both protocols know such a thing.
pub(super) struct Lost<'a> {
    pub(super) error: &'a Error,
    /// All of the request is still here, and the client has nothing of an answer.
    pub(super) repeatable: bool,
    /// What proves that it was not delivered, where that is more than the error.
    pub(super) proof: Option<RetryReason>,
}

/// What becomes of the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It was provably not delivered: on to the next endpoint.
    AtOnce,
    /// The route wants another attempt.
    AfterPause,
    Never,
}

impl Choice<'_> {
    /// Judges an attempt on `endpoint`; another one is counted, and noted in `tried`.
    pub(super) fn again(
        &self,
        worker: &Worker,
        endpoint: &Endpoint,
        lost: &Lost<'_>,
        retries: Option<&Retries<'_>>,
        tried: &mut Tried,
    ) -> Again {
        let in_time = self.deadline().is_none_or(|deadline| Instant::now() < deadline);
        if !lost.repeatable || !in_time {
            return Again::Never;
        }
        if self.goes_elsewhere(worker, endpoint, lost, tried) {
            return Again::AtOnce;
        }
        match retries.is_some_and(|retries| retries.repeats(lost.error)) {
            true => Again::AfterPause,
            false => Again::Never,
        }
    }

    fn goes_elsewhere(&self, worker: &Worker, endpoint: &Endpoint, lost: &Lost<'_>, tried: &mut Tried) -> bool {
        // After a goodbye the endpoint itself may be well: only the connection is gone.
        let connection = matches!(lost.proof, Some(RetryReason::CloseNotify | RetryReason::GoAway));
        let elsewhere = connection || self.backend.has_other(worker, endpoint);
        let exclude = (!connection).then_some(endpoint.address);
        if lost.error.retry != Retry::OtherEndpoint || !elsewhere || !tried.again(exclude) {
            return false;
        }
        worker.cells.retry(lost.proof.unwrap_or_else(|| reason(lost.error)));
        true
    }
}
