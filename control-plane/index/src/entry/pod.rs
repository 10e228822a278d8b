//! Of a Pod: who it is, how it is spoken to, what it says about its ports.

use std::net::IpAddr;
use std::sync::Arc;

use minimesh_api::injection::Inject;
use minimesh_api::model::{HttpProbe, PlaintextReason, Transport, WorkloadRef};

use crate::annotations::{self, Ports};
use crate::policy::Policies;
use crate::resource::{Container, IntOrString, Metadata, Pod, Probe, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodEntry {
    pub(crate) workload: WorkloadRef,
    pub(crate) service_account: Arc<str>,
    pub(crate) identity: Arc<str>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) node_ips: Vec<IpAddr>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) uid: Option<Arc<str>>,
    pub(crate) host_network: bool,
    pub(crate) meshed: bool,
    pub(crate) inject: Inject,
    pub(crate) draining: bool,
    pub(crate) finished: bool,
    pub(crate) created: Option<Timestamp>,
    pub(crate) token_sha256: Option<[u8; 32]>,
    pub(crate) policies: Policies,
    pub(crate) probes: Vec<HttpProbe>,
    pub(crate) grpc_probes: Vec<u16>,
    pub(crate) opaque: Option<Ports>,
    skipped: Ports,
    declared: Vec<u16>,
}

impl PodEntry {
    pub(crate) fn new(pod: &Pod, trust_domain: &str) -> Self {
        let Metadata { namespace, annotations, .. } = &pod.metadata;
        let account = pod.service_account();
        let declared = pod.containers().flat_map(|container| &container.ports).map(|port| port.container_port);
        Self {
            workload: workload(&pod.metadata),
            service_account: account.into(),
            identity: format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}").into(),
            ips: pod.addresses(),
            node_ips: pod.node_addresses(),
            node: pod.spec.node_name.as_deref().map(Arc::from),
            uid: pod.metadata.uid.as_deref().map(Arc::from),
            host_network: pod.spec.host_network,
            meshed: pod.is_meshed(),
            inject: Inject::of(&pod.metadata.labels),
            draining: pod.is_draining(),
            finished: pod.is_finished(),
            created: pod.metadata.creation_timestamp,
            token_sha256: annotations::token_sha256(annotations),
            probes: pod.spec.containers().flat_map(http_probes).collect(),
            grpc_probes: pod.spec.containers().flat_map(grpc_probes).collect(),
            policies: Policies::of(annotations, &|name| annotations::container_port(pod, name)),
            opaque: annotations::opaque_ports(annotations, &|name| annotations::container_port(pod, name)),
            skipped: annotations::skipped_ports(pod),
            declared: declared.collect(),
        }
    }

    /// How a port of this pod is spoken to. Derived from its spec: what an address answers is no evidence.
    pub(crate) fn transport(&self, port: u16) -> Transport {
        if self.host_network {
            Transport::Plaintext(PlaintextReason::HostNetwork)
        } else if !self.meshed {
            Transport::Plaintext(PlaintextReason::NotMeshed)
        } else if self.skipped.contains(port) || OWN_PORTS.contains(&port) {
            Transport::Plaintext(PlaintextReason::PortSkipped)
        } else {
            Transport::MutualTls { identity: self.identity.clone() }
        }
    }

    /// A container says that it listens there.
    pub(crate) fn declares(&self, port: u16) -> bool {
        self.declared.contains(&port)
    }
}

/// The proxy's own ports are not intercepted: whoever scrapes its metrics speaks plaintext to it.
const OWN_PORTS: [u16; 3] = [4140, 4143, 4191];

/// Whoever asks the sidecar itself is not intercepted.
fn probes(container: &Container) -> impl Iterator<Item = &Probe> {
    container.probes().filter(|_| container.name != Pod::SIDECAR)
}

/// Where the node asks a container for its health in gRPC.
fn grpc_probes(container: &Container) -> impl Iterator<Item = u16> {
    probes(container).filter_map(|probe| probe.grpc.as_ref()).map(|grpc| grpc.port)
}

/// What the node asks a container in plain HTTP.
fn http_probes(container: &Container) -> impl Iterator<Item = HttpProbe> {
    let asked = probes(container).filter_map(|probe| probe.http_get.as_ref());
    let plain = asked.filter(|get| get.scheme.as_deref() != Some("HTTPS"));
    plain.filter_map(move |get| {
        let port = match &get.port {
            IntOrString::Int(port) => *port,
            IntOrString::String(name) => annotations::port_named([container].into_iter(), name)?,
        };
        let path = get.path.as_deref().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        // as the kubelet reads it: a path without its slash is given one
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}").into() };
        Some(HttpProbe { port, path, query: query.into() })
    })
}

/// A Deployment's pods belong to ReplicaSets named after it and the hash of their template.
fn workload(metadata: &Metadata) -> WorkloadRef {
    let (kind, name) = match metadata.managing_owner() {
        None => ("Pod", metadata.name.as_str()),
        Some(owner) => {
            let hash = metadata.labels.get("pod-template-hash").filter(|_| owner.kind == "ReplicaSet");
            let deployment = hash
                .and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'))
                .filter(|name| !name.is_empty());
            match deployment {
                Some(deployment) => ("Deployment", deployment),
                None => (owner.kind.as_str(), owner.name.as_str()),
            }
        }
    };
    WorkloadRef {
        namespace: metadata.namespace.as_str().into(),
        kind: kind.into(),
        name: name.into(),
        pod: metadata.name.as_str().into(),
    }
}
