//! Certify: a token and a signing request in, a chain out.

use std::time::Duration;

use bytes::Bytes;

use super::{Invalid, field};
use crate::grpc;
use crate::model::TrustBundle;

/// A request for a certificate. `Debug` shows no token.
#[derive(Clone, PartialEq, Eq)]
pub struct Certify {
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    /// Bootstrap token.
    pub token: String,
}

impl std::fmt::Debug for Certify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certify {{ csr: {} bytes, token: hidden }}", self.csr.len())
    }
}

impl TryFrom<grpc::CertifyRequest> for Certify {
    type Error = Invalid;

    fn try_from(value: grpc::CertifyRequest) -> Result<Certify, Invalid> {
        field::bounded(value.csr.len(), "csr", field::CERTIFICATE_BYTES)?;
        field::bounded(value.token.len(), "token", field::TOKEN_FILE_BYTES)?;
        if value.token.is_empty() {
            return Err(Invalid::new("token", "empty"));
        }
        Ok(Certify { csr: value.csr.into(), token: value.token })
    }
}

impl From<Certify> for grpc::CertifyRequest {
    fn from(value: Certify) -> grpc::CertifyRequest {
        grpc::CertifyRequest { csr: value.csr.into(), token: value.token }
    }
}

/// A certificate, and whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// Leaf first, DER; without the root.
    pub chain: Vec<Vec<u8>>,
    /// From now.
    pub expires_in: Duration,
    /// From now: when to renew. Never after `expires_in`.
    pub renew_in: Duration,
    /// The bundle in force.
    pub trust: TrustBundle,
}

impl TryFrom<grpc::CertifyResponse> for Certified {
    type Error = Invalid;

    fn try_from(value: grpc::CertifyResponse) -> Result<Certified, Invalid> {
        let expires_in = field::duration(field::required(value.expires_in, "expires_in")?, "expires_in")?;
        let renew_in = field::duration(field::required(value.renew_in, "renew_in")?, "renew_in")?;
        if renew_in > expires_in {
            return Err(Invalid::new("renew_in", "after expires_in"));
        }
        let chain = field::certificates(value.chain, "chain")?;
        Ok(Certified { chain, expires_in, renew_in, trust: field::convert(value.trust, "trust")? })
    }
}

impl From<&Certified> for grpc::CertifyResponse {
    fn from(value: &Certified) -> grpc::CertifyResponse {
        grpc::CertifyResponse {
            chain: value.chain.iter().map(|certificate| Bytes::from(certificate.clone())).collect(),
            expires_in: Some(field::wire_duration(value.expires_in)),
            renew_in: Some(field::wire_duration(value.renew_in)),
            trust: Some((&value.trust).into()),
        }
    }
}
