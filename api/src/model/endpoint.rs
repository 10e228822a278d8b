//! Endpoints: the addresses of a Service port, and how each must be spoken to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// All endpoints of one Service port, ordered by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(pub Vec<Endpoint>);

impl Endpoints {
    /// Ordered by address, each address once (the last one said counts).
    pub fn new(endpoints: Vec<Endpoint>) -> Endpoints {
        let by_address: BTreeMap<SocketAddr, Endpoint> =
            endpoints.into_iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        Endpoints(by_address.into_values().collect())
    }

    /// What turns `base`, known as `base_version`, into `self`.
    pub fn delta(&self, base: &Endpoints, base_version: u64) -> EndpointsDelta {
        let old: BTreeMap<SocketAddr, &Endpoint> = base.0.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let new: BTreeMap<SocketAddr, &Endpoint> = self.0.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let changed = new.iter().filter(|(address, endpoint)| old.get(*address) != Some(*endpoint));
        EndpointsDelta {
            base_version,
            upserts: changed.map(|(_, endpoint)| (*endpoint).clone()).collect(),
            removed: old.keys().filter(|address| !new.contains_key(*address)).copied().collect(),
        }
    }

    /// The endpoints after a change against `self`.
    pub fn with(&self, delta: &EndpointsDelta) -> Endpoints {
        let mut by_address: BTreeMap<SocketAddr, &Endpoint> =
            self.0.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        for address in &delta.removed {
            by_address.remove(address);
        }
        by_address.extend(delta.upserts.iter().map(|endpoint| (endpoint.address, endpoint)));
        Endpoints(by_address.into_values().cloned().collect())
    }
}

/// A change against a base version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointsDelta {
    /// Version that the change applies to.
    pub base_version: u64,
    /// New or changed endpoints, by address.
    pub upserts: Vec<Endpoint>,
    /// Addresses that are gone.
    pub removed: Vec<SocketAddr>,
}

/// One address of a Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to dial.
    pub address: SocketAddr,
    /// What goes on the wire.
    pub transport: Transport,
    /// Whether new requests should go there.
    pub state: EndpointState,
    /// Who it is, for metrics and tables.
    pub workload: Option<WorkloadRef>,
    /// Topology zone.
    pub zone: Option<Arc<str>>,
}

/// What goes on the wire to an endpoint; there is no fallback from one to the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Mutual TLS; the peer must present exactly this SPIFFE ID (`spiffe://TRUST-DOMAIN/ns/NS/sa/SA`).
    MutualTls {
        /// The expected SPIFFE ID.
        identity: Arc<str>,
    },
    /// As the application sent it.
    Plaintext(PlaintextReason),
}

/// Why an endpoint is spoken to in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlaintextReason {
    /// The pod shares its node's network.
    HostNetwork,
    /// No sidecar, or no pod.
    NotMeshed,
    /// Meshed, but the port is skipped inbound.
    PortSkipped,
}

impl PlaintextReason {
    /// The `no_tls_reason` label of metrics and reports.
    pub fn label(self) -> &'static str {
        match self {
            PlaintextReason::HostNetwork => "host_network",
            PlaintextReason::NotMeshed => "not_provided_by_service_discovery",
            PlaintextReason::PortSkipped => "port_skipped",
        }
    }
}

/// Whether an endpoint takes new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointState {
    /// Ready, or published although not ready.
    Serving,
    /// Terminating, still serving: used only where nothing is `Serving`.
    ServingTerminating,
}

/// The workload that an address, a report or a certificate belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadRef {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Deployment, StatefulSet, … or Pod where nothing owns it.
    pub kind: Arc<str>,
    /// Name of the workload.
    pub name: Arc<str>,
    /// Name of the pod.
    pub pod: Arc<str>,
}
