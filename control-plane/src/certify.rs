//! Certify: a pod's token becomes a certificate of its service account. The only call without a client certificate.
//!
//! Tokens are a folder's or the cluster's (`Tokens`). The token says which pod asks, the pod says which service account it is; from the signing request comes the key and
//! nothing else. Tokens are never logged.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use minimesh_api::grpc::identity_server::Identity;
use minimesh_api::grpc::{CertifyRequest, CertifyResponse};
use minimesh_api::wire::{Certified, Certify};
use minimesh_identity::SpiffeId;
use minimesh_index::PodInfo;
use tonic::{Code, Request, Response, Status};
use tracing::{debug, info, warn};

use crate::issuing::InForce;
use crate::kubernetes::Reviewer;
use crate::ledger::{Certificate, Ledger};
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::publish::Publisher;

/// The gRPC service `minimesh.v1.Identity`.
#[derive(Debug)]
pub(crate) struct Certifier {
    /// Signs.
    pub(crate) in_force: InForce,
    /// Whose token it is.
    pub(crate) tokens: Tokens,
    /// Knows the pods.
    pub(crate) publisher: Publisher,
    /// Of the certificates.
    pub(crate) lifetime: Duration,
    /// Who has what.
    pub(crate) ledger: Ledger,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
}

/// Who knows whose token it is.
#[derive(Clone, Debug)]
pub(crate) enum Tokens {
    /// The pods' annotations, which have their hashes.
    Folder,
    /// The API server.
    Kubernetes(Reviewer),
}

#[tonic::async_trait]
impl Identity for Certifier {
    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
        let from = peer.map(|address| address.to_string()).unwrap_or_default();
        match self.answer(request.into_inner(), peer).await {
            Ok((pod, id, certified)) => {
                self.metrics.certified.increment();
                info!(%id, pod = %pod.workload.pod, from, expires_in = ?certified.expires_in, "certificate issued");
                Ok(Response::new((&certified).into()))
            }
            Err(status) if status.code() == Code::ResourceExhausted => {
                self.metrics.certify_refused.increment();
                // as often as somebody likes, and counted
                debug!(from, reason = status.message(), "certificate refused");
                Err(status)
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
    async fn answer(
        &self,
        request: CertifyRequest,
        peer: Option<SocketAddr>,
    ) -> Result<(PodInfo, SpiffeId, Certified), Status> {
        let request = Certify::try_from(request).map_err(|invalid| Status::invalid_argument(invalid.to_string()))?;
        let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        let pod = self.pod(&request.token, from).await?;
        let issuing = self.in_force.now();
        let authority = &issuing.authority;
        let id = SpiffeId::new(authority.trust_domain(), &pod.workload.namespace, &pod.service_account)
            .map_err(|error| Status::failed_precondition(format!("the pod's service account: {error}")))?;
        let chain = authority
            .issue(&request.csr, &id, self.lifetime)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let issuer_ends = authority.issuer_not_after().duration_since(SystemTime::now()).unwrap_or_default();
        // A certificate's times are whole seconds.
        let expires_in = self.lifetime.min(issuer_ends).saturating_sub(Duration::from_secs(1));
        let trust = issuing.trust().map_err(|error| Status::internal(error.to_string()))?;
        if let Some(peer) = peer {
            let not_after = SystemTime::now() + expires_in;
            let certificate = Certificate { not_after, root: Some(authority.root_fingerprint()) };
            self.ledger.certified(peer.ip().to_canonical(), id.clone(), certificate);
        }
        let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
        Ok((pod, id, Certified { chain, expires_in, renew_in: expires_in / RENEWALS, trust }))
    }

    /// The pod that the token was made for. A wrong token and an unknown pod are told apart for nobody.
    async fn pod(&self, token: &str, from: IpAddr) -> Result<PodInfo, Status> {
        if let Tokens::Kubernetes(reviewer) = &self.tokens {
            return reviewer.pod(token, from, &self.publisher).await;
        }
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

/// Renewed at a third of its life: two more chances before it ends.
const RENEWALS: u32 = 3;
