//! Repetition that a route asks for (GEP-1731), decided for HTTP/1 and HTTP/2 alike: what was answered with a code that the route
//! lists, and what failed or timed out.
//!
//! Beside it stands what needs no route: a request that provably was not delivered goes to another endpoint, and one that was
//! not answered with a single byte does once (ADR 10). A failure that proves nothing repeats only what may happen twice (RFC 9110
//! section 9.2.2: "a proxy MUST NOT automatically retry non-idempotent requests"); a code that the route lists repeats every
//! method, because the route's author says so.

use std::cell::Cell;
use std::time::Duration;

use minimesh_api::model::Retry as Policy;
use minimesh_balance::Budget;
use minimesh_route::RequestView;
use tokio::time::Instant;

use crate::error::{Error, Kind, Retry};
use crate::metrics::{RetryReason, RetrySkipped, WorkerCells};

/// What is left of a request's repetitions.
pub(crate) struct Retries<'a> {
    policy: &'a Policy,
    budget: &'a Budget,
    cells: &'a WorkerCells,
    idempotent: bool,
    made: Cell<u32>,
}

/// Least pause between attempts where the route names none.
const PAUSE: Duration = Duration::from_millis(25);

/// The pause doubles so many times.
const DOUBLINGS: u32 = 4;

impl<'a> Retries<'a> {
    /// For a new request.
    pub(crate) fn new(
        policy: &'a Policy,
        budget: &'a Budget,
        cells: &'a WorkerCells,
        request: &RequestView<'_>,
    ) -> Retries<'a> {
        let mut has_key = false;
        request.headers.get_all(KEY, &mut |_| has_key = true);
        let idempotent = is_idempotent(request.method, has_key);
        Retries { policy, budget, cells, idempotent, made: Cell::new(0) }
    }

    /// Whether a response is thrown away, because the request is sent again. `cause`: an error of the far proxy, known by its
    /// certificate, that stands for a response.
    pub(crate) fn discards(&self, status: u16, cause: Option<Kind>) -> bool {
        if let Some(Kind::UpstreamClosed | Kind::UpstreamUnanswered) = cause
            && self.idempotent
        {
            return self.take(RetryReason::Disconnected);
        }
        self.policy.codes.contains(&status) && self.take(RetryReason::Status)
    }

    /// Whether a request that failed without an answer is sent again.
    pub(crate) fn repeats(&self, error: &Error) -> bool {
        let reason = match error.kind {
            _ if error.retry == Retry::OtherEndpoint => RetryReason::NotDelivered,
            Kind::RequestTimeout if self.idempotent => RetryReason::Timeout,
            Kind::UpstreamClosed | Kind::UpstreamUnanswered if self.idempotent => RetryReason::Disconnected,
            _ => return false,
        };
        self.take(reason)
    }

    /// An answer to a request of which more was sent than is held for a repetition.
    pub(crate) fn lost(&self, status: u16) {
        if self.policy.codes.contains(&status) {
            self.cells.retry_skipped(RetrySkipped::NotHeld);
        }
    }

    /// How long to wait before the next attempt: never less than the route says, longer each time, and not all at once.
    pub(crate) fn pause(&self, random: u64) -> Duration {
        let least = self.policy.backoff.unwrap_or(PAUSE);
        let doubled = least.saturating_mul(1 << self.made.get().saturating_sub(1).min(DOUBLINGS));
        // up to half as much again
        let jitter = (doubled.as_nanos().min(u128::from(u64::MAX)) * u128::from(random)) >> 65;
        doubled + Duration::from_nanos(u64::try_from(jitter).unwrap_or(0))
    }

    fn take(&self, reason: RetryReason) -> bool {
        if self.made.get() >= self.policy.attempts {
            self.cells.retry_skipped(RetrySkipped::Attempts);
            return false;
        }
        if !self.budget.withdraw(Instant::now().into_std()) {
            self.cells.retry_skipped(RetrySkipped::Budget);
            return false;
        }
        self.made.set(self.made.get() + 1);
        self.cells.retry(reason);
        true
    }
}

/// Whether a request may happen twice: RFC 9110 section 9.2.2, and the client's own word
/// (draft-ietf-httpapi-idempotency-key-header).
pub(crate) fn is_idempotent(method: &str, has_key: bool) -> bool {
    has_key || matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

/// The header of that word.
pub(crate) const KEY: &str = "idempotency-key";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CODES, Side};
    use crate::metrics::Metrics;

    fn policy(codes: &[u16], attempts: u32, backoff: Option<Duration>) -> Policy {
        Policy { codes: codes.to_vec(), attempts, backoff }
    }

    /// What `check` finds with a request of this method and these headers.
    fn with<R>(policy: &Policy, method: &str, headers: &[(&str, &str)], check: impl FnOnce(&Retries<'_>) -> R) -> R {
        let (budget, cells) = (Budget::new(std::time::Instant::now()), Metrics::new(CODES).worker());
        let headers = headers.to_vec();
        let request = RequestView { method, path: b"/", query: None, headers: &headers };
        check(&Retries::new(policy, &budget, &cells, &request))
    }

    #[test]
    fn listed_codes_repeat_every_method_and_no_more_often_than_attempts() {
        let policy = policy(&[500, 503], 2, None);
        let taken = with(&policy, "POST", &[], |retries| [503, 404, 500, 500].map(|code| retries.discards(code, None)));
        assert_eq!(taken, [true, false, true, false]);
    }

    #[test]
    fn what_proves_nothing_repeats_only_what_may_happen_twice() {
        let policy = policy(&[], 9, None);
        let error = |kind| Error::new(kind, Side::Upstream);
        let repeats = |retries: &Retries<'_>| {
            let kinds = [Kind::UpstreamUnanswered, Kind::RequestTimeout, Kind::ConnectRefused, Kind::UpstreamMalformed];
            let said = [Kind::UpstreamClosed, Kind::UpstreamUnanswered];
            (kinds.map(|kind| retries.repeats(&error(kind))), said.map(|kind| retries.discards(502, Some(kind))))
        };
        assert_eq!(with(&policy, "PUT", &[], repeats), ([true, true, true, false], [true; 2]));
        assert_eq!(with(&policy, "POST", &[], repeats), ([false, false, true, false], [false; 2]));
        assert_eq!(with(&policy, "POST", &[("Idempotency-Key", "1")], repeats), ([true, true, true, false], [true; 2]));
    }

    #[test]
    fn pauses_are_never_shorter_than_the_route_says_and_grow() {
        let policy = policy(&[500], 9, Some(Duration::from_millis(100)));
        let pauses = with(&policy, "GET", &[], |retries| {
            [0, u64::MAX, 0, 0, 0, 0, 0].map(|random| {
                assert!(retries.discards(500, None));
                retries.pause(random).as_millis()
            })
        });
        assert_eq!(pauses, [100, 299, 400, 800, 1600, 1600, 1600]);
    }
}
