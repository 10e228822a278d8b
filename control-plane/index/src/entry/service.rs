//! Of a Service: addresses, TCP ports, and what is declared about their protocols.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::Protocol;

use crate::annotations::{self, Ports};
use crate::resource::{Service, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceEntry {
    pub(crate) created: Option<Timestamp>,
    pub(crate) cluster: Vec<IpAddr>,
    pub(crate) external: Vec<IpAddr>,
    pub(crate) ports: Vec<ServicePortEntry>,
    pub(crate) headless: bool,
    pub(crate) external_name: bool,
    /// Clients use endpoints on their own node alone.
    pub(crate) local: bool,
    pub(crate) affinity: Option<Duration>,
    pub(crate) publish_not_ready: bool,
    pub(crate) opaque: Option<Ports>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServicePortEntry {
    pub(crate) number: u16,
    pub(crate) name: Arc<str>,
    /// What `appProtocol` says, where it says something that the mesh understands.
    pub(crate) declared: Option<Protocol>,
}

impl ServiceEntry {
    pub(crate) fn new(service: &Service) -> Self {
        let external_name = service.is_external_name();
        let canonical = |addresses: Vec<IpAddr>| match external_name {
            true => Vec::new(),
            false => addresses.iter().map(IpAddr::to_canonical).collect(),
        };
        let ports = service.spec.ports.iter().filter(|port| port.is_tcp()).map(|port| ServicePortEntry {
            number: port.port,
            name: port.name.as_str().into(),
            declared: port.app_protocol.as_deref().and_then(app_protocol),
        });
        Self {
            created: service.metadata.creation_timestamp,
            cluster: canonical(service.cluster_addresses()),
            external: canonical(service.external_addresses()),
            ports: if external_name { Vec::new() } else { ports.collect() },
            headless: service.is_headless(),
            external_name,
            local: service.is_local(),
            affinity: service.client_affinity(),
            publish_not_ready: service.spec.publish_not_ready_addresses,
            opaque: annotations::opaque_ports(&service.metadata.annotations, &|name| {
                annotations::service_port(service, name)
            }),
        }
    }

    pub(crate) fn port(&self, number: u16) -> Option<&ServicePortEntry> {
        self.ports.iter().find(|port| port.number == number)
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.cluster.iter().chain(&self.external).copied()
    }
}

/// Kubernetes' standard names (KEP-3726) and IANA's, and those that meshes use. `None`: sniffed.
fn app_protocol(name: &str) -> Option<Protocol> {
    match name {
        "http" | "kubernetes.io/ws" => Some(Protocol::Http1),
        "grpc" | "h2c" | "http2" | "kubernetes.io/h2c" => Some(Protocol::Http2),
        "linkerd.io/opaque" | "linkerd.io/tcp" | "tcp" => Some(Protocol::Opaque),
        "https" | "kubernetes.io/wss" | "tls" => Some(Protocol::Tls),
        _ => None,
    }
}
