//! The store: objects by key, secondary indexes, and the lookups' entrances.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use minimesh_api::model::{BackendKey, Endpoints, PassthroughReason, PortPolicy, Target, Workload};

use crate::changes::Changes;
use crate::link::PodInfo;
use crate::resource::Event;
use crate::status::RouteStatus;

/// What is the same for the whole life of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As in `spiffe://TRUST-DOMAIN/…`.
    pub trust_domain: String,
    /// Addresses of pods and Services.
    pub cluster_networks: Vec<IpNet>,
}

/// The index.
#[derive(Clone, Debug)]
pub struct Index {
    settings: Settings,
    synced: bool,
}

impl Index {
    /// An empty index, not synced.
    pub fn new(settings: Settings) -> Self {
        Self { settings, synced: false }
    }

    /// Whether a complete list has been seen. Before that no answer may leave the control plane.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Takes an event in and says which answers may differ.
    pub fn apply(&mut self, event: Event) -> Changes {
        self.synced |= matches!(event, Event::Replace(_));
        Changes { everything: true, ..Changes::default() }
    }

    /// What stands behind an address that a client of that namespace dialled (consumer routes depend on it).
    pub fn target(&self, client_namespace: &str, address: SocketAddr) -> Target {
        let _ = client_namespace;
        let known = self.settings.cluster_networks.iter().any(|network| network.contains(&address.ip()));
        Target::Passthrough(if known { PassthroughReason::UnknownAddress } else { PassthroughReason::OutsideCluster })
    }

    /// Endpoints of a Service port; `None`: no such Service, or it lacks the port.
    pub fn endpoints(&self, backend: &BackendKey) -> Option<Endpoints> {
        let _ = backend;
        None
    }

    /// A pod; `None`: unknown.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodInfo> {
        let _ = (namespace, name);
        None
    }

    /// The pod that owns an address: never one on its node's network, never a finished one.
    pub fn pod_by_ip(&self, address: IpAddr) -> Option<PodInfo> {
        let _ = address;
        None
    }

    /// Inbound policy of a pod's port; `None`: unknown pod.
    pub fn port(&self, pod_namespace: &str, pod_name: &str, port: u16) -> Option<PortPolicy> {
        let _ = (pod_namespace, pod_name, port);
        None
    }

    /// What a pod's proxy is told about itself; `None`: unknown pod.
    pub fn workload(&self, pod_namespace: &str, pod_name: &str) -> Option<Workload> {
        let _ = (pod_namespace, pod_name);
        None
    }

    /// Conditions of every route with a Service parent, in the order of their keys.
    pub fn route_statuses(&self) -> Vec<RouteStatus> {
        Vec::new()
    }
}
