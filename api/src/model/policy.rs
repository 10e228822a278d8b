//! What a proxy is told about itself: inbound policy, its workload, whom to trust.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Protocol, WorkloadRef};

/// Inbound policy of one port of the proxy's pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPolicy {
    /// Declared protocol.
    pub protocol: Protocol,
    /// Who may connect.
    pub policy: DefaultPolicy,
}

/// Linkerd's six values of `default-inbound-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultPolicy {
    /// mTLS from any identity of the trust domain (strict).
    AllAuthenticated,
    /// Anyone (permissive).
    AllUnauthenticated,
    /// Anyone, and what `Deny` would refuse is counted.
    Audit,
    /// mTLS, from addresses inside the cluster networks.
    ClusterAuthenticated,
    /// Anyone from inside the cluster networks.
    ClusterUnauthenticated,
    /// No one.
    Deny,
}

/// The proxy's own workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Who this proxy belongs to.
    pub workload: WorkloadRef,
    /// The pod is marked for deletion: drain inbound, leave outbound alone.
    pub draining: bool,
    /// Addresses inside the cluster.
    pub cluster_networks: Vec<IpNet>,
    /// Addresses of the pod's node.
    pub node_ips: Vec<IpAddr>,
    /// What the node asks in plaintext, and is answered whatever the policy.
    pub probes: Vec<HttpProbe>,
    /// Ports on which the node asks gRPC's health service, with the same consequence.
    pub grpc_probes: Vec<u16>,
}

/// An HTTP probe of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Where.
    pub port: u16,
    /// Begins with `/`, has no query.
    pub path: Arc<str>,
    /// What follows the question mark; empty: nothing does.
    pub query: Arc<str>,
}

/// The roots that verify peers. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// Trust domain, as in `spiffe://TRUST-DOMAIN/…`.
    pub trust_domain: String,
    /// DER certificates.
    pub roots: Vec<Vec<u8>>,
    /// The one of them that certificates are issued under from now on; `None`: nothing is said.
    pub issuing: Option<usize>,
}
