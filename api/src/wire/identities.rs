//! Identities: what the control plane tells people about certificates.

use super::{Invalid, field};
use crate::grpc;
use crate::model::{AuthorityCertificate, HeldCertificate, Identities, RotationPhase};

impl TryFrom<grpc::IdentitiesResponse> for Identities {
    type Error = Invalid;

    fn try_from(value: grpc::IdentitiesResponse) -> Result<Identities, Invalid> {
        Ok(Identities {
            replica: field::hint(value.replica),
            leads: value.leads,
            trust_domain: field::name(value.trust_domain, "trust_domain")?,
            phase: RotationPhase::try_from(value.phase)?,
            roots: field::list(value.roots, "roots", field::ROUTE_ITEMS)?,
            held: field::list(value.held, "held", field::EDGES)?,
        })
    }
}

impl From<&Identities> for grpc::IdentitiesResponse {
    fn from(value: &Identities) -> grpc::IdentitiesResponse {
        grpc::IdentitiesResponse {
            replica: value.replica.as_ref().to_owned(),
            leads: value.leads,
            trust_domain: value.trust_domain.as_ref().to_owned(),
            phase: grpc::RotationPhase::from(value.phase).into(),
            roots: value.roots.iter().map(Into::into).collect(),
            held: value.held.iter().map(Into::into).collect(),
        }
    }
}

/// From the number on the wire. A phase that this version does not know cannot be left or waited for.
impl TryFrom<i32> for RotationPhase {
    type Error = Invalid;

    fn try_from(value: i32) -> Result<RotationPhase, Invalid> {
        match grpc::RotationPhase::try_from(value) {
            Ok(grpc::RotationPhase::Added) => Ok(RotationPhase::Added),
            Ok(grpc::RotationPhase::Steady) => Ok(RotationPhase::Steady),
            Ok(grpc::RotationPhase::Switched) => Ok(RotationPhase::Switched),
            Ok(grpc::RotationPhase::Unspecified) | Err(_) => Err(Invalid::new("phase", "unknown")),
        }
    }
}

impl From<RotationPhase> for grpc::RotationPhase {
    fn from(value: RotationPhase) -> grpc::RotationPhase {
        match value {
            RotationPhase::Added => grpc::RotationPhase::Added,
            RotationPhase::Steady => grpc::RotationPhase::Steady,
            RotationPhase::Switched => grpc::RotationPhase::Switched,
        }
    }
}

impl TryFrom<grpc::AuthorityCertificate> for AuthorityCertificate {
    type Error = Invalid;

    fn try_from(value: grpc::AuthorityCertificate) -> Result<AuthorityCertificate, Invalid> {
        let expires_in = field::duration(field::required(value.expires_in, "expires_in")?, "expires_in")?;
        let issuer = value.issuer_expires_in.filter(|_| value.issuing);
        let issuer = issuer.map(|time| field::duration(time, "issuer_expires_in")).transpose()?;
        if value.issuing && issuer.is_none() {
            return Err(Invalid::new("issuer_expires_in", "absent"));
        }
        let fingerprint = field::text(value.fingerprint, "fingerprint", field::VALUE_BYTES)?;
        Ok(AuthorityCertificate { fingerprint, expires_in, issuer_expires_in: issuer })
    }
}

impl From<&AuthorityCertificate> for grpc::AuthorityCertificate {
    fn from(value: &AuthorityCertificate) -> grpc::AuthorityCertificate {
        grpc::AuthorityCertificate {
            fingerprint: value.fingerprint.as_ref().to_owned(),
            expires_in: Some(field::wire_duration(value.expires_in)),
            issuing: value.issuer_expires_in.is_some(),
            issuer_expires_in: value.issuer_expires_in.map(field::wire_duration),
        }
    }
}

impl TryFrom<grpc::HeldCertificate> for HeldCertificate {
    type Error = Invalid;

    fn try_from(value: grpc::HeldCertificate) -> Result<HeldCertificate, Invalid> {
        Ok(HeldCertificate {
            workload: field::convert(value.workload, "workload")?,
            identity: field::identity(value.identity, "identity")?,
            expires_in: field::duration(field::required(value.expires_in, "expires_in")?, "expires_in")?,
            root: field::text(value.root, "root", field::VALUE_BYTES)?,
            trusts_current: value.trusts_current,
            connected: value.connected,
        })
    }
}

impl From<&HeldCertificate> for grpc::HeldCertificate {
    fn from(value: &HeldCertificate) -> grpc::HeldCertificate {
        grpc::HeldCertificate {
            workload: Some((&value.workload).into()),
            identity: value.identity.as_ref().to_owned(),
            expires_in: Some(field::wire_duration(value.expires_in)),
            root: value.root.as_ref().to_owned(),
            trusts_current: value.trusts_current,
            connected: value.connected,
        }
    }
}
