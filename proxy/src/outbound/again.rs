//! Whether a request that got no answer is sent once more: one judgement for HTTP/1 and HTTP/2.
//!
//! Called by `http` and `h2` after an attempt that failed. Never sends anything, and never waits. What proves that a request was
//! not delivered is listed in ADR 9, what is asked once more without a proof in ADR 10.

use minimesh_balance::Budget;
use tokio::time::Instant;

use super::backend::Tried;
use super::choose::Choice;
use super::endpoint::Endpoint;
use super::tcp::reason;
use crate::error::{Error, Kind, Retry};
use crate::http::Retries;
use crate::metrics::{RetryReason, RetrySkipped};
use crate::worker::Worker;

/// A failed attempt, as far as both protocols know such a thing.
pub(super) struct Lost<'a> {
    pub(super) error: &'a Error,
    /// All of the request is still here, and the client has nothing of an answer.
    pub(super) repeatable: bool,
    /// What proves that it was not delivered, where that is more than the error.
    pub(super) proof: Option<RetryReason>,
    /// It may happen twice; need not be known of a request whose server did answer, or was not asked.
    pub(super) idempotent: bool,
    /// What the route wants.
    pub(super) retries: Option<&'a Retries<'a>>,
    /// What the target has left for attempts without a proof.
    pub(super) budget: &'a Budget,
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
    pub(super) fn again(&self, worker: &Worker, endpoint: &Endpoint, lost: &Lost<'_>, tried: &mut Tried) -> Again {
        if !lost.repeatable || !self.is_in_time() {
            return Again::Never;
        }
        if self.goes_elsewhere(worker, endpoint, lost, tried) || self.is_asked_again(worker, endpoint, lost, tried) {
            return Again::AtOnce;
        }
        match lost.retries.is_some_and(|retries| retries.repeats(lost.error)) {
            true => Again::AfterPause,
            false => Again::Never,
        }
    }

    /// Whether a request that may happen twice, and whose server ended without a byte of an answer, is sent to another one
    /// (ADR 10): once, and only where the route says nothing of repetition itself.
    pub(super) fn may_ask_again(&self, worker: &Worker, endpoint: &Endpoint, tried: &Tried) -> bool {
        let unsaid = self.rule.is_none_or(|rule| rule.retry.is_none());
        unsaid && !tried.was_unanswered() && self.is_in_time() && self.backend.has_other(worker, endpoint, tried)
    }

    fn is_in_time(&self) -> bool {
        self.deadline().is_none_or(|deadline| Instant::now() < deadline)
    }

    fn goes_elsewhere(&self, worker: &Worker, endpoint: &Endpoint, lost: &Lost<'_>, tried: &mut Tried) -> bool {
        // After a goodbye the endpoint itself may be well: only the connection is gone.
        let connection = matches!(lost.proof, Some(RetryReason::CloseNotify | RetryReason::GoAway));
        let elsewhere = connection || self.backend.has_other(worker, endpoint, tried);
        let exclude = (!connection).then_some(endpoint.address);
        if lost.error.retry != Retry::OtherEndpoint || !elsewhere || !tried.again(exclude) {
            return false;
        }
        worker.cells.retry(lost.proof.unwrap_or_else(|| reason(lost.error)));
        true
    }

    fn is_asked_again(&self, worker: &Worker, endpoint: &Endpoint, lost: &Lost<'_>, tried: &mut Tried) -> bool {
        let unanswered = lost.error.kind == Kind::UpstreamUnanswered && lost.idempotent;
        if !unanswered || !self.may_ask_again(worker, endpoint, tried) {
            return false;
        }
        // a request that kills whoever reads it must not kill everybody: a budget bounds all of them together
        if !lost.budget.withdraw(Instant::now().into_std()) {
            worker.cells.retry_skipped(RetrySkipped::Budget);
            return false;
        }
        let again = tried.again(Some(endpoint.address));
        if again {
            tried.note_unanswered();
            worker.cells.retry(RetryReason::Unanswered);
        }
        again
    }
}
