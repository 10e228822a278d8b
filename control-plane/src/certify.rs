//! Certify: a pod's token becomes a certificate of its service account. The only call without a client certificate.
//!
//! The token says which pod asks, the pod says which service account it is; from the signing request comes the key and
//! nothing else. Tokens are never logged.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use minimesh_api::grpc::identity_server::Identity;
use minimesh_api::grpc::{CertifyRequest, CertifyResponse};
use minimesh_api::wire::{Certified, Certify};
use minimesh_identity::SpiffeId;
use minimesh_identity::authority::Authority;
use minimesh_index::PodInfo;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::publish::Publisher;

/// The gRPC service `minimesh.v1.Identity`.
#[derive(Debug)]
pub(crate) struct Certifier {
    /// Signs.
    pub(crate) authority: Arc<Authority>,
    /// Knows the pods.
    pub(crate) publisher: Publisher,
    /// Of the certificates.
    pub(crate) lifetime: Duration,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl Identity for Certifier {
    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let from = request.extensions().get::<Peer>().map(|peer| peer.address);
        let from = from.map(|address| address.to_string()).unwrap_or_default();
        match self.answer(request.into_inner()).await {
            Ok((pod, id, certified)) => {
                self.metrics.certified.increment();
                info!(%id, pod = %pod.workload.pod, from, expires_in = ?certified.expires_in, "certificate issued");
                Ok(Response::new((&certified).into()))
            }
            Err(status) => {
                self.metrics.certify_refused.increment();
                warn!(from, reason = status.message(), "certificate refused");
                Err(status)
            }
        }
    }
}

impl Certifier {
    async fn answer(&self, request: CertifyRequest) -> Result<(PodInfo, SpiffeId, Certified), Status> {
        let request = Certify::try_from(request).map_err(|invalid| Status::invalid_argument(invalid.to_string()))?;
        let pod = self.pod(&request.token).await?;
        let id = SpiffeId::new(self.authority.trust_domain(), &pod.workload.namespace, &pod.service_account)
            .map_err(|error| Status::failed_precondition(format!("the pod's service account: {error}")))?;
        let chain = self
            .authority
            .issue(&request.csr, &id, self.lifetime)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let issuer_ends = self.authority.issuer_not_after().duration_since(SystemTime::now()).unwrap_or_default();
        // A certificate's times are whole seconds.
        let expires_in = self.lifetime.min(issuer_ends).saturating_sub(Duration::from_secs(1));
        let trust = trust(&self.authority).map_err(|error| Status::internal(error.to_string()))?;
        let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
        Ok((pod, id, Certified { chain, expires_in, renew_in: expires_in / RENEWALS, trust }))
    }

    /// The pod that the token was made for. A wrong token and an unknown pod are told apart for nobody.
    async fn pod(&self, token: &str) -> Result<PodInfo, Status> {
        // The file that it comes from may end in a newline; a token has no white space.
        let sha256 = digest::digest(&digest::SHA256, token.trim().as_bytes());
        let sha256 = sha256.as_ref().try_into().map_err(|_| Status::internal("SHA-256 is not 32 bytes"))?;
        let pod = self.publisher.pod_by_token(sha256).await.map_err(|error| Status::unavailable(error.to_string()))?;
        pod.ok_or_else(|| {
            Status::unauthenticated(
                "no pod has this token; its SHA-256 must be in the pod's annotation minimesh.io/token-sha256",
            )
        })
    }
}

/// The bundle in force, as it travels.
pub(crate) fn trust(authority: &Authority) -> Result<minimesh_api::model::TrustBundle, minimesh_identity::Error> {
    let bundle = authority.bundle()?;
    Ok(minimesh_api::model::TrustBundle {
        trust_domain: bundle.trust_domain().to_owned(),
        roots: bundle.roots().iter().map(|root| root.to_vec()).collect(),
    })
}

/// Renewed at a third of its life: two more chances before it ends (DESIGN part 5).
const RENEWALS: u32 = 3;
