//! Who is who in the mesh: SPIFFE identities, keys and certificates, what a peer must present, and the rustls configurations
//! that enforce it.
//!
//! ```text
//! spiffe        SpiffeId: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT, nothing else
//! bundle        TrustBundle: the roots of one trust domain
//! key, leaf     PrivateKey (made here, never written), Leaf (chain and key that belong together)
//! certificate   reads the identity and validity out of a certificate
//! verify        the one verification of a peer's chain, used by rustls' verifiers and after every handshake
//! fingerprint   Fingerprint: a certificate's short name, for people and for telling roots apart
//! tickets       TicketKeys: what seals session tickets
//! credentials   Credentials: all of the above, immutable, published by the control thread
//! control       configurations of the gRPC connection between proxy and control plane
//! peer_error    PeerError: why a peer was refused, and the word for it
//! authority     the certificate authority of the control plane
//! ```
//!
//! Called by the proxy's workers and control thread and by the control plane. Never does network input or output; only
//! `authority` touches files. A private key of a leaf never leaves memory.

pub mod authority;
mod bundle;
mod certificate;
pub mod control;
mod credentials;
mod fingerprint;
mod key;
mod leaf;
mod peer_error;
mod provider;
mod spiffe;
mod tickets;
mod verify;

pub use bundle::TrustBundle;
pub use certificate::{expiry, peer_id};
pub use credentials::{Alpn, Credentials};
pub use fingerprint::Fingerprint;
pub use key::PrivateKey;
pub use leaf::Leaf;
pub use peer_error::{PeerError, Refusal};
pub use rustls_pki_types::CertificateDer;
pub use spiffe::{InvalidSpiffeId, SpiffeId};
pub use tickets::TicketKeys;

/// Why something of our own could not be made or read. Errors of a peer are [`PeerError`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The trust bundle is unusable.
    #[error("trust bundle: {0}")]
    Bundle(String),
    /// Our own certificate is unusable.
    #[error("certificate: {0}")]
    Certificate(String),
    /// A certificate signing request is unusable.
    #[error("certificate signing request: {0}")]
    Csr(String),
    /// A file could not be read or written.
    #[error("{path}: {action}: {error}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A key could not be made or used.
    #[error("private key: {0}")]
    Key(String),
    /// A file was read, but what it holds is unusable. It is never overwritten.
    #[error("{path}: {reason}; restore it from a backup, or move it away to have a new one made")]
    Malformed {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// rustls refused a configuration.
    #[error("tls configuration: {0}")]
    Tls(#[from] rustls::Error),
}
