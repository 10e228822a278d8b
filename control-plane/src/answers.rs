//! What operators are told: golden metrics per edge, who has which certificate, and how far the replacement of the root is.
//!
//! Served on the operator socket and on a port of the pod's loopback; never to the network.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use minimesh_api::grpc::operator_server::Operator;
use minimesh_api::grpc::{
    EdgesRequest, EdgesResponse, IdentitiesRequest, IdentitiesResponse, RotateRequest, RotateResponse, update,
};
use minimesh_api::model::{AuthorityCertificate, HeldCertificate, Identities, RotationPhase, WorkloadRef};
use minimesh_api::wire::{State, version};
use minimesh_identity::{Fingerprint, expiry};
use tonic::{Request, Response, Status};

use crate::issuing::{InForce, Issuing};
use crate::kubernetes::{Issuer, IssuerError, Leadership};
use crate::ledger::{Held, Ledger};
use crate::publish::{Publisher, Subscriber};
use crate::telemetry::Reports;

/// The gRPC service `minimesh.v1.Operator`.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// Where reports are.
    pub(crate) reports: Reports,
    /// Knows the pods.
    pub(crate) publisher: Publisher,
    /// Whom everybody trusts.
    pub(crate) in_force: InForce,
    /// Who has what.
    pub(crate) ledger: Ledger,
    /// Who may replace the root.
    pub(crate) keeper: Keeper,
}

/// Who keeps the authority's keys.
#[derive(Clone, Debug)]
pub(crate) enum Keeper {
    /// A folder, which is read when the process starts.
    Folder,
    /// A Secret, which the replica that leads changes.
    Secret {
        /// It.
        issuer: Box<Issuer>,
        /// Whether this replica leads.
        leadership: Leadership,
        /// Name of this replica.
        replica: Arc<str>,
    },
}

#[tonic::async_trait]
impl Operator for Answers {
    async fn edges(&self, request: Request<EdgesRequest>) -> Result<Response<EdgesResponse>, Status> {
        let window = Duration::try_from(request.into_inner());
        let window = window.map_err(|invalid| Status::invalid_argument(invalid.to_string()))?;
        let edges = self.reports.edges(window).await?;
        Ok(Response::new(EdgesResponse::from(edges.as_slice())))
    }

    async fn identities(&self, _: Request<IdentitiesRequest>) -> Result<Response<IdentitiesResponse>, Status> {
        Ok(Response::new(IdentitiesResponse::from(&self.identities_now().await?)))
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<RotateResponse>, Status> {
        let RotateRequest { from, force } = request.into_inner();
        let from = RotationPhase::try_from(from).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Keeper::Secret { issuer, .. } = &self.keeper else {
            let message = "this control plane keeps its keys in a folder; move the folder away and start it anew";
            return Err(Status::failed_precondition(message));
        };
        if !force {
            let behind = behind(from, &self.identities_now().await?);
            if !behind.is_empty() {
                return Err(Status::failed_precondition(format!("not followed yet by {}", behind.join(", "))));
            }
        }
        let phase = issuer.rotate(from).await.map_err(|error| match error {
            IssuerError::Api(_) => Status::unavailable(error.to_string()),
            IssuerError::Keys(_) | IssuerError::NotLeading => Status::failed_precondition(error.to_string()),
        })?;
        Ok(Response::new(RotateResponse { phase: minimesh_api::grpc::RotationPhase::from(phase).into() }))
    }
}

impl Answers {
    async fn identities_now(&self) -> Result<Identities, Status> {
        let issuing = self.in_force.now();
        let internal = |error: minimesh_identity::Error| Status::internal(error.to_string());
        let trust = State::Trust(issuing.trust().map_err(internal)?);
        let current = version(&update::State::from(&trust));
        let mut held = Vec::new();
        for (subscriber, entry) in self.ledger.all() {
            let workload = self.workload(&subscriber).await;
            held.push(certificate(&subscriber, workload, &entry, current));
        }
        held.sort_by(|a, b| a.workload.cmp(&b.workload));
        let (replica, leads) = match &self.keeper {
            Keeper::Folder => ("folder".into(), true),
            Keeper::Secret { replica, leadership, .. } => (Arc::clone(replica), leadership.leads()),
        };
        Ok(Identities {
            replica,
            leads,
            trust_domain: issuing.authority.trust_domain().into(),
            phase: issuing.phase,
            roots: roots(&issuing).map_err(internal)?,
            held,
        })
    }

    async fn workload(&self, subscriber: &Subscriber) -> WorkloadRef {
        match self.publisher.pod_of(subscriber.clone()).await {
            Ok(Some(pod)) => pod.workload,
            // Its pod is gone, or not known by its address yet.
            _ => WorkloadRef {
                namespace: subscriber.id.namespace().into(),
                kind: "ServiceAccount".into(),
                name: subscriber.id.service_account().into(),
                pod: subscriber.ip.to_string().into(),
            },
        }
    }
}

fn roots(issuing: &Issuing) -> Result<Vec<AuthorityCertificate>, minimesh_identity::Error> {
    let now = SystemTime::now();
    let authority = &issuing.authority;
    let root = |root: &minimesh_identity::CertificateDer<'static>| {
        let ends = expiry(root).map_err(|error| minimesh_identity::Error::Certificate(error.to_string()))?;
        let issuer = (root == authority.root()).then(|| left(authority.issuer_not_after(), now));
        let fingerprint = Fingerprint::of(root).to_string().into();
        Ok(AuthorityCertificate { fingerprint, expires_in: left(ends, now), issuer_expires_in: issuer })
    };
    authority.bundle()?.roots().iter().map(root).collect()
}

fn certificate(subscriber: &Subscriber, workload: WorkloadRef, held: &Held, current: u64) -> HeldCertificate {
    HeldCertificate {
        workload,
        identity: subscriber.id.to_shared(),
        expires_in: left(held.certificate.not_after, SystemTime::now()),
        root: held.certificate.root.map(|root| root.to_string()).unwrap_or_default().into(),
        trusts_current: held.trust == Some(current),
        connected: held.streams > 0,
    }
}

fn left(until: SystemTime, now: SystemTime) -> Duration {
    Duration::from_secs(until.duration_since(now).unwrap_or_default().as_secs())
}

/// Connected proxies that would be cut off by the step from that phase: nobody may sign what somebody does not trust yet, nor stop
/// trusting what somebody still presents.
fn behind(from: RotationPhase, identities: &Identities) -> Vec<String> {
    let issuing = identities.roots.iter().find(|root| root.issuer_expires_in.is_some());
    let is_behind = |held: &&HeldCertificate| match from {
        RotationPhase::Steady => false,
        RotationPhase::Added => !held.trusts_current,
        RotationPhase::Switched => issuing.is_some_and(|root| root.fingerprint != held.root),
    };
    let behind = identities.held.iter().filter(|held| held.connected).filter(is_behind);
    behind.map(|held| format!("{}/{}", held.workload.namespace, held.workload.pod)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(pod: &str, root: &str, trusts_current: bool, connected: bool) -> HeldCertificate {
        let workload = WorkloadRef { namespace: "shop".into(), kind: "Pod".into(), name: pod.into(), pod: pod.into() };
        let identity = "spiffe://cluster.local/ns/shop/sa/a".into();
        let expires_in = Duration::from_secs(60);
        HeldCertificate { workload, identity, expires_in, root: root.into(), trusts_current, connected }
    }

    #[test]
    fn a_step_waits_for_every_connected_proxy_that_it_would_cut_off() {
        let root = |fingerprint: &str, issuer_expires_in| AuthorityCertificate {
            fingerprint: fingerprint.into(),
            expires_in: Duration::from_secs(60),
            issuer_expires_in,
        };
        let identities = Identities {
            replica: "a".into(),
            leads: true,
            trust_domain: "cluster.local".into(),
            phase: RotationPhase::Added,
            roots: vec![root("old", None), root("new", Some(Duration::from_secs(60)))],
            held: vec![
                held("trusting", "old", true, true),
                held("slow", "new", false, true),
                held("gone", "old", false, false),
            ],
        };
        assert_eq!(behind(RotationPhase::Steady, &identities), Vec::<String>::new());
        assert_eq!(behind(RotationPhase::Added, &identities), ["shop/slow"]);
        assert_eq!(behind(RotationPhase::Switched, &identities), ["shop/trusting"]);
    }
}
