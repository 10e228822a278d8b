//! Why a conversation with the control plane failed, in one of few words and in a sentence.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;

use minimesh_api::wire::Invalid;
use minimesh_identity::PeerError;
use tonic::{Code, Status};

use crate::metrics::ControlFailure;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: ControlFailure,
    /// The control plane refused our certificate, not we its.
    pub(super) refused_us: bool,
    message: String,
}

impl Failure {
    pub(super) fn new(reason: ControlFailure, message: impl Into<String>) -> Failure {
        Failure { reason, refused_us: false, message: message.into() }
    }

    /// From an error of a connection: whatever TLS said, anywhere in the chain of causes, is the reason.
    pub(super) fn of_connection(error: &(dyn Error + 'static)) -> Failure {
        match tls_cause(error) {
            Some(failure) => failure,
            None => Failure::new(ControlFailure::Unreachable, chain(error)),
        }
    }

    pub(super) fn of_status(status: &Status) -> Failure {
        if let Some(failure) = status.source().and_then(tls_cause) {
            return failure;
        }
        let reason = match status.code() {
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted => {
                ControlFailure::Unavailable
            }
            Code::Unknown | Code::Internal | Code::Cancelled | Code::DataLoss => ControlFailure::Unreachable,
            Code::Unimplemented | Code::OutOfRange => ControlFailure::Protocol,
            _ => ControlFailure::Refused,
        };
        Failure::new(reason, format!("{:?}: {}", status.code(), status.message()))
    }
}

impl Failure {
    /// Names the replica that it happened with.
    pub(super) fn at(self, address: SocketAddr) -> Failure {
        Failure { message: format!("{address}: {}", self.message), ..self }
    }

    /// What to look at, for people.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self.reason {
            ControlFailure::Protocol => Some("are the proxy and the control plane of one release?"),
            ControlFailure::Tls if self.refused_us => {
                Some("the control plane's log says why it refused the certificate")
            }
            ControlFailure::Tls => Some(
                "is that the control plane's gRPC port, and are --trust-bundle and --control-plane-identity the \
                 control plane's own?",
            ),
            ControlFailure::TokenFile => Some("is --token-file the token of this pod?"),
            ControlFailure::Unreachable => Some("does the control plane run, and is --control-plane its address?"),
            // the message says it
            ControlFailure::Clock | ControlFailure::Refused | ControlFailure::Unavailable => None,
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Failure {
        Failure::new(ControlFailure::Protocol, invalid.to_string())
    }
}

impl From<minimesh_identity::Error> for Failure {
    fn from(error: minimesh_identity::Error) -> Failure {
        Failure::new(ControlFailure::Protocol, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn tls_cause(error: &(dyn Error + 'static)) -> Option<Failure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            let peer = PeerError::from_rustls(tls);
            let clock = peer
                .as_ref()
                .is_some_and(|peer| matches!(peer.code(), "tls_expired" | "tls_not_yet_valid" | "tls_refused_expired"));
            let refused_us = matches!(peer, Some(PeerError::Refused(_)));
            let said = peer.map_or_else(|| tls.to_string(), |peer| peer.to_string());
            let failure = if clock {
                Failure::new(ControlFailure::Clock, format!("clock: {said}; check this host's clock"))
            } else {
                Failure::new(ControlFailure::Tls, said)
            };
            return Some(Failure { refused_us, ..failure });
        }
        // An io::Error hides the error it carries from `source`.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// The error and its causes, those left out that an outer one repeats.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
