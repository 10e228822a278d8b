//! Joins: the only place that looks at objects of two kinds at once.

use std::net::IpAddr;
use std::sync::Arc;

use minimesh_api::model::WorkloadRef;

/// What the control plane knows about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInfo {
    /// Namespace, owner and name.
    pub workload: WorkloadRef,
    /// The ServiceAccount that it runs as.
    pub service_account: Arc<str>,
    /// The SPIFFE ID that its proxy is given a certificate for.
    pub identity: Arc<str>,
    /// Addresses; the node's where `host_network` is set.
    pub ips: Vec<IpAddr>,
    /// It shares its node's network.
    pub host_network: bool,
    /// The sidecar is in its spec.
    pub meshed: bool,
    /// Marked for deletion.
    pub draining: bool,
    /// Folder mode: SHA-256 of its bootstrap token.
    pub token_sha256: Option<[u8; 32]>,
}
