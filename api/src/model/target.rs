//! Targets: what stands behind an address that an application dialled, and the keys of every resource.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Endpoint, HttpRoute};

/// Names a resource that a proxy can subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKey {
    /// Endpoints of a Service port.
    Endpoints(BackendKey),
    /// Inbound policy of one port of the subscriber's pod.
    Port(u16),
    /// What stands behind an address.
    Target(SocketAddr),
    /// The trust bundle in force.
    Trust,
    /// The subscriber's own workload.
    Workload,
}

/// A Service and one of its ports: what a rule names as a backend, and what endpoints belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendKey {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub name: Arc<str>,
    /// The Service's port (not the target port).
    pub port: u16,
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// What a connection's original destination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The address of one pod: its identity, no routes.
    Endpoint(Endpoint),
    /// Passed through unchanged.
    Passthrough(PassthroughReason),
    /// A Service port.
    Service(ServiceTarget),
}

/// A Service port with its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTarget {
    /// The Service dialled; its endpoints serve what no route claims.
    pub service: BackendKey,
    /// Declared protocol.
    pub protocol: Protocol,
    /// Attached routes in order of precedence (oldest first, then namespace/name). Empty: everything goes to `service`.
    pub http_routes: Vec<HttpRoute>,
    /// A client stays with the endpoint that it had, for so long since it used it last.
    pub client_affinity: Option<Duration>,
}

/// What is declared about a port's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Nothing: sniff.
    Detect,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 with prior knowledge, and gRPC.
    Http2,
    /// Bytes.
    Opaque,
    /// The application's own TLS.
    Tls,
}

/// Why a target is passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassthroughReason {
    /// Not in the cluster's networks.
    OutsideCluster,
    /// A Service's address on a port that the Service lacks.
    UndefinedPort,
    /// In the cluster's networks, but unknown.
    UnknownAddress,
}
