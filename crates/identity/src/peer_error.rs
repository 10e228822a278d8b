//! Why a peer was refused, or refused us: one word per cause, the same in metric, access log and documentation. Made by the
//! verification and by [`PeerError::from_rustls`]; the proxy counts [`PeerError::code`] and prints the rest.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::{AlertDescription, CertificateError, OtherError};
use rustls_pki_types::UnixTime;

use crate::SpiffeId;

/// Why a TLS connection between two parts of the mesh was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The certificate's validity is over.
    #[error("the certificate expired {} s ago", seconds(not_after, now))]
    Expired {
        /// When it was judged.
        now: SystemTime,
        /// Until when it held.
        not_after: SystemTime,
    },
    /// The identity belongs to another trust domain.
    #[error("the identity {presented} belongs to another trust domain")]
    ForeignTrustDomain {
        /// What the certificate says.
        presented: SpiffeId,
    },
    /// TLS failed before or apart from certificates: no common parameters, broken records, a peer that breaks the protocol.
    #[error("the handshake failed: {0}")]
    Handshake(Box<str>),
    /// The certificate belongs to someone else.
    #[error("the peer is {presented}, not {expected}")]
    IdentityMismatch {
        /// Who should have answered.
        expected: SpiffeId,
        /// Who did.
        presented: SpiffeId,
    },
    /// The certificate cannot be read, or may not be used for this.
    #[error("the certificate is unusable: {0}")]
    MalformedCertificate(Box<str>),
    /// The certificate names no identity of this mesh, or more than one.
    #[error("the certificate names no identity: {0}")]
    MalformedIdentity(Box<str>),
    /// The peer presented no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The two sides have no application protocol in common.
    #[error("no application protocol in common")]
    NoProtocol,
    /// The certificate's validity has not begun: one of the two clocks is wrong.
    #[error(
        "the certificate begins {} s from now: the clock of this machine or of the authority is wrong",
        seconds(now, not_before)
    )]
    NotYetValid {
        /// When it was judged.
        now: SystemTime,
        /// From when it holds.
        not_before: SystemTime,
    },
    /// The peer refused us and said why in a TLS alert.
    #[error("the peer refused this side: {0}")]
    Refused(Refusal),
    /// The session was made under roots that are no longer trusted.
    #[error("the certificate chains to a root that is no longer trusted")]
    StaleBundle,
    /// The chain does not lead to a root of the trust bundle.
    #[error("the certificate was not issued by a root of the trust bundle")]
    UnknownIssuer,
}

/// What a peer's alert says about our certificate, as this mesh's verifiers send them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Our certificate is expired or not yet valid by the peer's clock.
    #[error("our certificate is expired, or the clocks differ")]
    Expired,
    /// Our identity is not the expected one.
    #[error("our identity is not the one it expects")]
    Identity,
    /// It wants a certificate and got none.
    #[error("it demands a certificate")]
    NoCertificate,
    /// Anything else, by its name.
    #[error("alert {0:?}")]
    Other(AlertDescription),
    /// It does not know our issuer.
    #[error("it does not trust our issuer")]
    UnknownIssuer,
}

impl PeerError {
    /// The word for it: `minimesh-error`, metric label, documentation.
    pub fn code(&self) -> &'static str {
        match self {
            PeerError::Expired { .. } => "tls_expired",
            PeerError::ForeignTrustDomain { .. } => "tls_foreign_trust_domain",
            PeerError::Handshake(_) => "tls_handshake_failed",
            PeerError::IdentityMismatch { .. } => "tls_identity_mismatch",
            PeerError::MalformedCertificate(_) => "tls_malformed_certificate",
            PeerError::MalformedIdentity(_) => "tls_malformed_identity",
            PeerError::NoCertificate => "tls_no_certificate",
            PeerError::NoProtocol => "tls_no_protocol",
            PeerError::NotYetValid { .. } => "tls_not_yet_valid",
            PeerError::Refused(Refusal::Expired) => "tls_refused_expired",
            PeerError::Refused(Refusal::Identity) => "tls_refused_identity",
            PeerError::Refused(Refusal::NoCertificate) => "tls_refused_no_certificate",
            PeerError::Refused(Refusal::Other(_)) => "tls_refused",
            PeerError::Refused(Refusal::UnknownIssuer) => "tls_refused_unknown_issuer",
            PeerError::StaleBundle => "tls_stale_bundle",
            PeerError::UnknownIssuer => "tls_unknown_issuer",
        }
    }

    /// Every code, for metrics and documentation.
    pub const CODES: [&'static str; 16] = [
        "tls_expired",
        "tls_foreign_trust_domain",
        "tls_handshake_failed",
        "tls_identity_mismatch",
        "tls_malformed_certificate",
        "tls_malformed_identity",
        "tls_no_certificate",
        "tls_no_protocol",
        "tls_not_yet_valid",
        "tls_refused",
        "tls_refused_expired",
        "tls_refused_identity",
        "tls_refused_no_certificate",
        "tls_refused_unknown_issuer",
        "tls_stale_bundle",
        "tls_unknown_issuer",
    ];

    /// What an error of a rustls connection says about the peer; `None` where the fault is this side's own (no randomness, no
    /// time, a bad configuration).
    ///
    /// A client learns from its first *read* that the server refused its certificate: in TLS 1.3 the client's handshake is
    /// complete before the server has looked. Ask here for errors of reads too.
    pub fn from_rustls(error: &rustls::Error) -> Option<PeerError> {
        use rustls::Error as E;
        Some(match error {
            E::InvalidCertificate(error) => from_certificate_error(error),
            E::NoCertificatesPresented => PeerError::NoCertificate,
            E::NoApplicationProtocol => PeerError::NoProtocol,
            E::AlertReceived(alert) => from_alert(*alert),
            E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::InvalidMessage(_)
            | E::DecryptError
            | E::PeerIncompatible(_)
            | E::PeerMisbehaved(_)
            | E::PeerSentOversizedRecord => PeerError::Handshake(error.to_string().into()),
            _ => return None,
        })
    }

    /// The same for an error of a stream over TLS (tokio-rustls, or our own), which carries rustls' error inside.
    pub fn from_io(error: &std::io::Error) -> Option<PeerError> {
        PeerError::from_rustls(error.get_ref()?.downcast_ref::<rustls::Error>()?)
    }
}

fn from_certificate_error(error: &CertificateError) -> PeerError {
    match error {
        CertificateError::Other(OtherError(inner)) => match inner.downcast_ref::<PeerError>() {
            Some(error) => error.clone(),
            None => PeerError::MalformedCertificate(inner.to_string().into()),
        },
        CertificateError::ExpiredContext { time, not_after } => {
            PeerError::Expired { now: system(*time), not_after: system(*not_after) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            PeerError::NotYetValid { now: system(*time), not_before: system(*not_before) }
        }
        CertificateError::UnknownIssuer => PeerError::UnknownIssuer,
        // Of the handshake, not of the chain: the peer does not hold the key of the certificate that it shows.
        CertificateError::BadSignature => PeerError::Handshake("bad signature".into()),
        other => PeerError::MalformedCertificate(other.to_string().into()),
    }
}

fn from_alert(alert: AlertDescription) -> PeerError {
    PeerError::Refused(match alert {
        AlertDescription::CertificateExpired => Refusal::Expired,
        AlertDescription::CertificateUnknown => Refusal::Identity,
        AlertDescription::CertificateRequired => Refusal::NoCertificate,
        AlertDescription::UnknownCA => Refusal::UnknownIssuer,
        AlertDescription::NoApplicationProtocol => return PeerError::NoProtocol,
        other => Refusal::Other(other),
    })
}

/// As a verifier returns it. The variants that TLS has alerts for keep them, so that the peer can tell causes apart; an identity
/// that is wrong in any way is `certificate_unknown`.
impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> rustls::Error {
        rustls::Error::InvalidCertificate(match error {
            PeerError::Expired { now, not_after } => {
                CertificateError::ExpiredContext { time: unix(now), not_after: unix(not_after) }
            }
            PeerError::NotYetValid { now, not_before } => {
                CertificateError::NotValidYetContext { time: unix(now), not_before: unix(not_before) }
            }
            PeerError::UnknownIssuer => CertificateError::UnknownIssuer,
            PeerError::NoCertificate => return rustls::Error::NoCertificatesPresented,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        })
    }
}

pub(crate) fn system(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time.as_secs().min(MAX_SECONDS))
}

pub(crate) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn seconds(earlier: &SystemTime, later: &SystemTime) -> u64 {
    later.duration_since(*earlier).map_or(0, |distance| distance.as_secs())
}

/// The end of year 9999, the last that a certificate can name: keeps the addition above from overflowing.
const MAX_SECONDS: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn every_error() -> Vec<PeerError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let id = |name| SpiffeId::new("cluster.local", "shop", name).expect("valid");
        vec![
            PeerError::Expired { now, not_after: now - Duration::from_secs(5) },
            PeerError::ForeignTrustDomain { presented: id("a") },
            PeerError::Handshake("x".into()),
            PeerError::IdentityMismatch { expected: id("a"), presented: id("b") },
            PeerError::MalformedCertificate("x".into()),
            PeerError::MalformedIdentity("x".into()),
            PeerError::NoCertificate,
            PeerError::NoProtocol,
            PeerError::NotYetValid { now, not_before: now + Duration::from_secs(7) },
            PeerError::Refused(Refusal::Expired),
            PeerError::Refused(Refusal::Identity),
            PeerError::Refused(Refusal::NoCertificate),
            PeerError::Refused(Refusal::Other(AlertDescription::InternalError)),
            PeerError::Refused(Refusal::UnknownIssuer),
            PeerError::StaleBundle,
            PeerError::UnknownIssuer,
        ]
    }

    #[test]
    fn each_cause_has_its_own_code_and_the_list_is_complete() {
        let codes: BTreeSet<_> = every_error().iter().map(PeerError::code).collect();
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), PeerError::CODES);
    }

    #[test]
    fn what_a_verifier_returns_survives_rustls() {
        for error in every_error().into_iter().filter(|e| !matches!(e, PeerError::Refused(_))) {
            let in_rustls = rustls::Error::from(error.clone());
            assert_eq!(PeerError::from_rustls(&in_rustls), Some(error.clone()));
            let in_io = std::io::Error::new(std::io::ErrorKind::InvalidData, in_rustls);
            assert_eq!(PeerError::from_io(&in_io), Some(error));
        }
    }

    #[test]
    fn faults_of_this_side_are_not_blamed_on_the_peer() {
        assert_eq!(PeerError::from_rustls(&rustls::Error::FailedToGetRandomBytes), None);
        assert_eq!(PeerError::from_rustls(&rustls::Error::General("x".into())), None);
        assert_eq!(PeerError::from_io(&std::io::ErrorKind::ConnectionReset.into()), None);
    }

    #[test]
    fn messages_say_how_far_the_clock_is_off() {
        let texts: Vec<_> = every_error().iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "the certificate expired 5 s ago");
        assert!(texts[8].starts_with("the certificate begins 7 s from now: the clock"), "{}", texts[8]);
    }
}
