//! EndpointSlice: the addresses behind a Service. The only source of endpoints.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Metadata, absent};

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// The label `kubernetes.io/service-name` names the Service.
    pub metadata: Metadata,
    /// Family of the addresses.
    pub address_type: AddressType,
    /// Addresses.
    #[serde(default, deserialize_with = "absent::or_default")]
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports, matched with the Service's by name.
    #[serde(default, deserialize_with = "absent::or_default")]
    pub ports: Vec<SlicePort>,
}

/// Family of a slice's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressType {
    /// Host names; the mesh has no use for them.
    #[serde(rename = "FQDN")]
    Fqdn,
    /// IPv4.
    #[default]
    IPv4,
    /// IPv6.
    IPv6,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceEndpoint {
    /// Interchangeable; in practice one.
    pub addresses: Vec<String>,
    /// Absent conditions mean "ready".
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub conditions: EndpointConditions,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Topology zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The node that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Whose clients should use it.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub hints: EndpointHints,
}

/// Whose clients should use an endpoint, as `trafficDistribution` and topology-aware routing come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointHints {
    /// Zones.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<Hint>,
    /// Nodes.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub for_nodes: Vec<Hint>,
}

/// Names a zone or a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Its name.
    pub name: String,
}

/// Kubernetes' conditions of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointConditions {
    /// Absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Absent: as `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// Absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// Names the object behind an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRef {
    /// As `Pod`.
    #[serde(default, deserialize_with = "absent::or_default")]
    pub kind: String,
    /// Name.
    #[serde(default, deserialize_with = "absent::or_default")]
    pub name: String,
    /// Absent: the slice's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// UID of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// One port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlicePort {
    /// The Service port's name.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The pod's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `TCP` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What is spoken; the Service's own is what counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

impl EndpointSlice {
    /// Label that names the Service.
    pub const SERVICE_NAME_LABEL: &'static str = "kubernetes.io/service-name";

    /// The Service, in the slice's own namespace.
    pub fn service_name(&self) -> Option<&str> {
        self.metadata.labels.get(Self::SERVICE_NAME_LABEL).map(String::as_str)
    }

    /// The pods' TCP port for the Service port of that name.
    pub fn tcp_port(&self, name: &str) -> Option<u16> {
        let is_tcp = |port: &&SlicePort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        self.ports.iter().filter(is_tcp).find(|port| port.name == name)?.port.filter(|&number| number != 0)
    }
}

impl SliceEndpoint {
    /// Addresses of the slice's family; anything else is not an endpoint.
    pub fn ip_addresses(&self, family: AddressType) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().filter_map(move |text| {
            let address: IpAddr = text.parse().ok()?;
            let fits = match family {
                AddressType::Fqdn => false,
                AddressType::IPv4 => address.is_ipv4(),
                AddressType::IPv6 => address.is_ipv6(),
            };
            fits.then_some(address)
        })
    }
}
