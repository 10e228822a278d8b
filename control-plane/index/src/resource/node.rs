//! Node: where its kubelet asks from, the network of its pods, its zone.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Metadata, absent};

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The label `topology.kubernetes.io/zone` names its zone.
    pub metadata: Metadata,
    /// Networks of its pods.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub spec: NodeSpec,
    /// Its addresses.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub status: NodeStatus,
}

/// Networks of a node's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// The first of them.
    #[serde(rename = "podCIDR", default, skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<Cidr>,
    /// One per IP family.
    #[serde(rename = "podCIDRs", default, deserialize_with = "absent::or_default")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<Cidr>,
}

/// A node's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Addresses and names.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
}

/// One address or name of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// As `InternalIP`, `ExternalIP`, `Hostname`.
    #[serde(rename = "type")]
    pub address_type: String,
    /// An IP address, or a name.
    pub address: String,
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(pub IpNet);

impl Node {
    /// Label that names the zone.
    pub const ZONE_LABEL: &'static str = "topology.kubernetes.io/zone";

    /// The zone that it stands in.
    pub fn zone(&self) -> Option<&str> {
        self.metadata.labels.get(Self::ZONE_LABEL).map(String::as_str).filter(|zone| !zone.is_empty())
    }

    /// Networks of its pods, without repetition.
    pub fn pod_networks(&self) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for Cidr(network) in self.spec.pod_cidr.iter().chain(&self.spec.pod_cidrs) {
            if !networks.contains(network) {
                networks.push(*network);
            }
        }
        networks
    }

    /// Its IP addresses; names are left out.
    pub fn ip_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.status.addresses.iter().filter_map(|address| address.address.parse().ok())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let invalid = |_| de::Error::invalid_value(de::Unexpected::Str(&text), &"a network as 10.42.0.0/24");
        text.parse().map(Cidr).map_err(invalid)
    }
}
