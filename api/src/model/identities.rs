//! Who has which certificate until when, for people.

use std::sync::Arc;
use std::time::Duration;

use super::WorkloadRef;

/// What one replica of the control plane knows of identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identities {
    /// Name of the replica.
    pub replica: Arc<str>,
    /// It is the one that writes.
    pub leads: bool,
    /// Trust domain of everything below.
    pub trust_domain: Arc<str>,
    /// How far the replacement of the root is.
    pub phase: RotationPhase,
    /// The trust bundle in force.
    pub roots: Vec<AuthorityCertificate>,
    /// Of the proxies that are connected to this replica, and those that it issued to a moment ago.
    pub held: Vec<HeldCertificate>,
}

/// How far the replacement of the root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationPhase {
    /// A new root is trusted beside the old one, under which certificates are still issued.
    Added,
    /// One root.
    Steady,
    /// Certificates are issued under the new root; the old one is still trusted.
    Switched,
}

/// A root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// First 8 bytes of its SHA-256, in hexadecimal.
    pub fingerprint: Arc<str>,
    /// From now.
    pub expires_in: Duration,
    /// Where certificates are issued under it: until when the intermediate that does so holds.
    pub issuer_expires_in: Option<Duration>,
}

/// A proxy's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCertificate {
    /// Whose.
    pub workload: WorkloadRef,
    /// The SPIFFE ID in it.
    pub identity: Arc<str>,
    /// From now; zero: expired.
    pub expires_in: Duration,
    /// Fingerprint of the root that it was issued under; empty: of none that is trusted now.
    pub root: Arc<str>,
    /// Its proxy acknowledged the trust bundle in force.
    pub trusts_current: bool,
    /// Its proxy is connected to this replica.
    pub connected: bool,
}
