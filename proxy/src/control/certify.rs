//! Certificates: asks for one, renews it long before it ends, keeps serving with the last good one meanwhile.

use std::path::Path;
use std::time::{Duration, SystemTime};

use minimesh_api::grpc;
use minimesh_api::grpc::identity_client::IdentityClient;
use minimesh_api::wire::{Certified, Certify};
use minimesh_balance::Rng;
use minimesh_identity::{CertificateDer, Leaf, PrivateKey};
use tokio::time::{sleep, timeout};

use super::backoff::{Backoff, between};
use super::client::Client;
use super::failure::Failure;
use super::identity::Identity;
use crate::metrics::{ControlFailure, ControlMetrics};

/// Runs as long as the proxy.
pub(super) async fn run(client: &Client, identity: &Identity, token_file: &Path, metrics: &ControlMetrics, seed: u64) {
    let mut backoff = Backoff::new(LONGEST_BACKOFF, seed);
    let mut rng = Rng::new(seed);
    loop {
        let wait = match obtain(client, identity, token_file, metrics).await {
            Ok(renew_in) => {
                backoff.reset();
                between(renew_in.mul_f64(0.9), renew_in.mul_f64(1.1), &mut rng)
            }
            Err(failure) => {
                metrics.certify_failed(failure.reason);
                let wait = backoff.delay();
                say(&failure, identity, wait);
                if failure.reason == ControlFailure::Tls {
                    identity.reload_bundle();
                }
                wait
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = identity.renewal_wanted() => {}
        }
    }
}

/// One certificate; answers when to renew it.
async fn obtain(
    client: &Client,
    identity: &Identity,
    token_file: &Path,
    metrics: &ControlMetrics,
) -> Result<Duration, Failure> {
    let token = read_token(token_file)?;
    let key = PrivateKey::generate()?;
    let request = Certify { csr: key.csr(None)?, token };
    let channel = client.connect(&identity.bundle(), None).await?;
    let call = async { IdentityClient::new(channel).certify(grpc::CertifyRequest::from(request)).await };
    let answer = match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(|status| Failure::of_status(&status))?,
        Err(_) => return Err(Failure::new(ControlFailure::Unavailable, "no certificate within 10 s")),
    };
    let certified = Certified::try_from(answer.into_inner())?;
    let chain = certified.chain.into_iter().map(CertificateDer::from).collect();
    let credentials = identity.certified(Leaf::new(chain, key)?, &certified.trust)?;
    let now = SystemTime::now();
    metrics.certificate(credentials.leaf().not_after(), now);
    if let Err(error) = credentials.leaf().check_validity(now) {
        metrics.certify_failed(ControlFailure::Clock);
        tracing::error!(%error, "clock: the certificate just issued does not hold by this host's clock; set the clock");
    }
    let (id, serial) = (credentials.id(), credentials.leaf().serial());
    tracing::info!(%id, serial, expires_in = ?certified.expires_in, renew_in = ?certified.renew_in, "certificate issued");
    Ok(certified.renew_in)
}

/// Read for every certificate: a projected token changes on disk before it expires.
fn read_token(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(ControlFailure::TokenFile, format!("token file {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() { Err(failed("is empty".to_owned())) } else { Ok(token.to_owned()) }
}

fn say(failure: &Failure, identity: &Identity, wait: Duration) {
    let left = identity
        .credentials()
        .map(|credentials| credentials.leaf().not_after().duration_since(SystemTime::now()).unwrap_or_default());
    match left {
        None => tracing::warn!(error = %failure, retry_in = ?wait, "no certificate yet"),
        Some(Duration::ZERO) => {
            tracing::error!(error = %failure, retry_in = ?wait, "certificate expired and cannot be renewed");
        }
        Some(left) => {
            let left = Duration::from_secs(left.as_secs());
            tracing::warn!(error = %failure, retry_in = ?wait, expires_in = ?left, "certificate not renewed; the last one stays");
        }
    }
}

/// An answer takes a signature and a look at the pod.
const ANSWER: Duration = Duration::from_secs(10);
/// A third of a day is left for renewal; a first certificate should not wait long after the control plane is back.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
