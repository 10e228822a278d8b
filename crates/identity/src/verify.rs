//! The one verification of a peer. rustls' verifiers call it during a full handshake; `Credentials::check_*` call it after every
//! handshake, because rustls skips its verifiers when a session is resumed.
//!
//! The rules: the chain leads to a root of the bundle at this moment, for this use; the leaf names exactly one identity
//! (`certificate`); the identity belongs to the bundle's trust domain, byte for byte. DNS names and addresses mean nothing.
//!
//! A chain that was found good is remembered by its hash, with the time span in which all its certificates hold, so that the check
//! after a handshake costs one SHA-256 and not two signature verifications. The memory belongs to one bundle and dies with it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::certificate::{self, Validity};
use crate::peer_error::{system, unix};
use crate::provider::provider;
use crate::{PeerError, SpiffeId, TrustBundle};

/// A bundle and what was verified under it.
pub(crate) struct Trust {
    bundle: TrustBundle,
    verified: [OnceLock<Verified>; SLOTS],
}

/// What the peer acts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

struct Verified {
    chain: [u8; 32],
    span: Validity,
    id: SpiffeId,
}

impl Trust {
    pub(crate) fn new(bundle: TrustBundle) -> Trust {
        Trust { bundle, verified: [const { OnceLock::new() }; SLOTS] }
    }

    pub(crate) fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// The peer's identity, if its chain (leaf first) may be believed now.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: SystemTime,
    ) -> Result<SpiffeId, PeerError> {
        let chain = fingerprint(leaf, intermediates, side);
        let slots = (0..PROBES).map(|probe| &self.verified[(usize::from(chain[0]) + probe) % SLOTS]);
        let known = slots.clone().filter_map(OnceLock::get).find(|known| known.chain == chain);
        if let Some(known) = known
            && known.span.check(now).is_ok()
        {
            return Ok(known.id.clone());
        }
        let (id, span) = self.verify_signatures(leaf, intermediates, side, now)?;
        if known.is_none() {
            let mut found = Verified { chain, span, id: id.clone() };
            for slot in slots {
                match slot.set(found) {
                    Ok(()) => break,
                    Err(back) => found = back,
                }
            }
        }
        Ok(id)
    }

    fn verify_signatures(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: SystemTime,
    ) -> Result<(SpiffeId, Validity), PeerError> {
        let usage = match side {
            Side::Client => webpki::KeyUsage::client_auth(),
            Side::Server => webpki::KeyUsage::server_auth(),
        };
        let certificate = webpki::EndEntityCert::try_from(leaf).map_err(from_webpki)?;
        let algorithms = provider().signature_verification_algorithms.all;
        certificate
            .verify_for_usage(algorithms, self.bundle.anchors(), intermediates, unix(now), usage, None, None)
            .map_err(from_webpki)?;
        let contents = certificate::contents(leaf)?;
        if contents.id.trust_domain() != self.bundle.trust_domain() {
            return Err(PeerError::ForeignTrustDomain { presented: contents.id });
        }
        let mut span = contents.validity;
        for certificate in intermediates {
            span = span.within(certificate::validity(certificate)?);
        }
        Ok((contents.id, span))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.bundle, f)
    }
}

impl Validity {
    pub(crate) fn check(&self, now: SystemTime) -> Result<(), PeerError> {
        if now < self.not_before {
            return Err(PeerError::NotYetValid { now, not_before: self.not_before });
        }
        if now > self.not_after {
            return Err(PeerError::Expired { now, not_after: self.not_after });
        }
        Ok(())
    }

    fn within(self, other: Validity) -> Validity {
        Validity { not_before: self.not_before.max(other.not_before), not_after: self.not_after.min(other.not_after) }
    }
}

/// What both verifiers' traits ask for with the same words: a handshake's signature, which is TLS 1.3's or none.
macro_rules! signatures_of_tls13 {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

/// A client's verifier: the server must be exactly `expected`.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) trust: Arc<Trust>,
    pub(crate) expected: SpiffeId,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = self.trust.verify(end_entity, intermediates, Side::Server, system(now))?;
        require(&self.expected, presented)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_of_tls13!();
}

/// A server's verifier: any identity of the trust domain.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    pub(crate) trust: Arc<Trust>,
    /// Whether a client may present no certificate (`Certify` alone).
    pub(crate) optional: bool,
}

impl ClientCertVerifier for ClientVerifier {
    /// No hints: every client has one certificate and presents it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.trust.verify(end_entity, intermediates, Side::Client, system(now))?;
        Ok(ClientCertVerified::assertion())
    }

    signatures_of_tls13!();
}

/// The peer is who it should be.
pub(crate) fn require(expected: &SpiffeId, presented: SpiffeId) -> Result<(), PeerError> {
    if presented == *expected {
        return Ok(());
    }
    Err(PeerError::IdentityMismatch { expected: expected.clone(), presented })
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

fn from_webpki(error: webpki::Error) -> PeerError {
    match error {
        webpki::Error::CertExpired { time, not_after } => {
            PeerError::Expired { now: system(time), not_after: system(not_after) }
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            PeerError::NotYetValid { now: system(time), not_before: system(not_before) }
        }
        // A root of the same name with another key is as foreign as one of another name.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => PeerError::UnknownIssuer,
        other => PeerError::MalformedCertificate(other.to_string().into()),
    }
}

fn fingerprint(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], side: Side) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[side as u8]);
    for certificate in std::iter::once(leaf).chain(intermediates) {
        context.update(&(certificate.len() as u64).to_be_bytes());
        context.update(certificate);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// More peers than a usual proxy meets between two renewals of its own certificate; beyond that they are verified each time.
const SLOTS: usize = 64;
/// How many slots a chain may take.
const PROBES: usize = 4;
