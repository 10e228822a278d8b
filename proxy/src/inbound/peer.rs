//! Who is at the other end of an inbound connection: as far as it proved it, and as it is counted.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use minimesh_api::model::Security;
use minimesh_identity::SpiffeId;

use crate::worker::Worker;

/// The other end of an inbound connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Proved its identity in a TLS handshake.
    Meshed(SpiffeId),
    /// Plaintext from the pod's own node: a kubelet's probes, or a pod on the node's network.
    Node,
    /// Plaintext from anywhere else.
    Unmeshed,
}

impl Peer {
    /// Who speaks plaintext from `address`. As long as it is not known where the node is, nobody is the node: an unmeshed
    /// client must not pass for one.
    pub(super) fn without_identity(worker: &Worker, address: IpAddr) -> Peer {
        if worker.is_node(address.to_canonical()) { Peer::Node } else { Peer::Unmeshed }
    }

    /// The identity that it proved.
    pub(super) fn identity(&self) -> Option<&SpiffeId> {
        match self {
            Peer::Meshed(identity) => Some(identity),
            Peer::Node | Peer::Unmeshed => None,
        }
    }

    /// As reports and metrics name it.
    pub(super) fn security(&self) -> Security {
        match self {
            Peer::Meshed(identity) => Security::Verified(identity.to_shared()),
            Peer::Node => Security::None(Arc::from(Security::NODE)),
            Peer::Unmeshed => Security::None(Arc::from("no_tls_from_remote")),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Meshed(identity) => identity.fmt(f),
            Peer::Node => f.write_str("the node"),
            Peer::Unmeshed => f.write_str("no identity"),
        }
    }
}
