//! Certificates: asks for one, renews it long before it ends, keeps serving with the last good one meanwhile.

use std::path::Path;
use std::time::{Duration, SystemTime};

use minimesh_api::grpc;
use minimesh_api::grpc::identity_client::IdentityClient;
use minimesh_api::wire::{Certified, Certify};
use minimesh_balance::Rng;
use minimesh_identity::{CertificateDer, Leaf, PrivateKey, TrustBundle};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::{Backoff, between};
use super::client::Client;
use super::failure::Failure;
use super::identity::Identity;
use crate::metrics::{ControlFailure, ControlMetrics};

/// Keeps this proxy's certificate.
pub(super) struct Certifier<'a> {
    pub(super) client: &'a Client,
    pub(super) identity: &'a Identity,
    pub(super) token_file: &'a Path,
    pub(super) metrics: &'a ControlMetrics,
}

impl Certifier<'_> {
    /// Runs as long as the proxy.
    pub(super) async fn run(&self, seed: u64) {
        let mut backoff = Backoff::new(LONGEST_BACKOFF, seed);
        let mut rng = Rng::new(seed);
        loop {
            let bundle = self.identity.bundle();
            match self.obtain(&bundle).await {
                Ok(renew_in) => {
                    backoff.reset();
                    let wait = between(renew_in.mul_f64(0.9), renew_in.mul_f64(1.1), &mut rng).max(SOONEST);
                    tokio::select! {
                        () = passed(wait, || self.identity.now()) => {}
                        () = self.identity.renewal_wanted() => {}
                    }
                }
                Err(failure) => {
                    self.metrics.certify_failed(failure.reason);
                    let wait = backoff.delay();
                    self.say(&failure, wait);
                    self.identity.doubt(&failure, &bundle);
                    sleep(wait).await;
                }
            }
        }
    }

    /// One certificate; answers when to renew it.
    async fn obtain(&self, bundle: &TrustBundle) -> Result<Duration, Failure> {
        let token = read_token(self.token_file)?;
        let key = PrivateKey::generate()?;
        let request = Certify { csr: key.csr(None)?, token };
        let channel = self.client.connect(bundle, None).await?;
        let call = async { IdentityClient::new(channel).certify(grpc::CertifyRequest::from(request)).await };
        let answer = match timeout(ANSWER, call).await {
            Ok(answer) => answer.map_err(|status| Failure::of_status(&status))?,
            Err(_) => return Err(Failure::new(ControlFailure::Unavailable, "no certificate within 10 s")),
        };
        let certified = Certified::try_from(answer.into_inner())?;
        let chain = certified.chain.into_iter().map(CertificateDer::from).collect();
        let (credentials, clock) = self.identity.certified(Leaf::new(chain, key)?, &certified.trust)?;
        self.metrics.certificate(credentials.leaf().not_after(), self.identity.now());
        let (id, serial) = (credentials.id(), credentials.leaf().serial());
        tracing::info!(%id, serial, expires_in = ?certified.expires_in, renew_in = ?certified.renew_in, "certificate issued");
        if let Some(error) = clock {
            self.metrics.certify_failed(ControlFailure::Clock);
            tracing::error!(%error, "clock: the certificate just issued does not hold by this host's clock; set the clock");
        }
        Ok(certified.renew_in)
    }

    fn say(&self, failure: &Failure, wait: Duration) {
        let left = self
            .identity
            .credentials()
            .map(|credentials| credentials.leaf().not_after().duration_since(self.identity.now()).unwrap_or_default());
        match left {
            None => tracing::warn!(error = %failure, hint = failure.hint(), retry_in = ?wait, "no certificate yet"),
            Some(Duration::ZERO) => {
                tracing::error!(error = %failure, hint = failure.hint(), retry_in = ?wait, "certificate expired and cannot be renewed");
            }
            Some(left) => {
                let left = Duration::from_secs(left.as_secs());
                tracing::warn!(error = %failure, hint = failure.hint(), retry_in = ?wait, expires_in = ?left, "certificate not renewed; the last one stays");
            }
        }
    }
}

/// Waits by the clock that timers use and by the wall's, whichever is first: the former stands still while a machine sleeps,
/// certificates age by the latter.
async fn passed(wait: Duration, wall: impl Fn() -> SystemTime) {
    let (end, begun) = (Instant::now() + wait, wall());
    // a wall's clock that was set back says nothing
    while Instant::now() < end && wall().duration_since(begun).unwrap_or_default() < wait {
        sleep_until(end.min(Instant::now() + LOOK)).await;
    }
}

/// Read for every certificate: a projected token changes on disk before it expires.
fn read_token(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(ControlFailure::TokenFile, format!("token file {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() { Err(failed("is empty".to_owned())) } else { Ok(token.to_owned()) }
}

/// An answer takes a signature and a look at the pod.
const ANSWER: Duration = Duration::from_secs(10);
/// A third of a day is left for renewal; a first certificate should not wait long after the control plane is back.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Whatever the control plane says, certificates are not renewed without pause.
const SOONEST: Duration = Duration::from_millis(500);
/// Between looks at the wall's clock.
const LOOK: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How long `passed` takes for an hour, by the timers' clock, where the wall's jumps by so many seconds after a minute.
    async fn an_hour_with_a_jump(seconds: i64) -> Duration {
        let (begun, set) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30));
        let jumped = Cell::new(0u32);
        let wall = || {
            let now = set + begun.elapsed();
            jumped.set(jumped.get() + 1);
            match (begun.elapsed() > LOOK / 2, seconds) {
                (false, _) => now,
                (true, 0..) => now + Duration::from_secs(seconds.unsigned_abs()),
                (true, _) => now - Duration::from_secs(seconds.unsigned_abs()),
            }
        };
        passed(Duration::from_secs(3600), wall).await;
        assert!(jumped.get() > 1);
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_ahead_is_seen_within_a_minute_and_one_set_back_delays_nothing() {
        assert_eq!(an_hour_with_a_jump(0).await, Duration::from_secs(3600));
        assert_eq!(an_hour_with_a_jump(7200).await, LOOK);
        // an hour of it: at most as long as it would have been
        assert_eq!(an_hour_with_a_jump(-86_400).await, Duration::from_secs(3600));
        assert!(an_hour_with_a_jump(1800).await <= Duration::from_secs(1860));
    }
}
