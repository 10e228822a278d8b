//! Service: addresses and ports that applications dial.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::pod::port_number;
use super::{IntOrString, Metadata, Pod, absent};

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Name, annotations.
    pub metadata: Metadata,
    /// Addresses and ports.
    pub spec: ServiceSpec,
    /// Addresses that a load balancer gave.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub status: ServiceStatus,
}

/// Addresses and ports of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP` where absent.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
    /// The first cluster address.
    #[serde(rename = "clusterIP", default, skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<ClusterIp>,
    /// One per IP family; where set, the first equals `cluster_ip`.
    #[serde(rename = "clusterIPs", default, deserialize_with = "absent::or_default")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<ClusterIp>,
    /// Addresses outside the Service network that lead here.
    #[serde(rename = "externalIPs", default, deserialize_with = "absent::or_default")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<IpAddr>,
    /// Ports.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// Which pods; empty: someone else writes the EndpointSlices.
    #[serde(default, deserialize_with = "absent::string_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// `Local`: clients use endpoints on their own node alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<String>,
    /// `ClientIP`: a client stays with the endpoint that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<String>,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// Pods that are not ready take traffic too.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub publish_not_ready_addresses: bool,
}

/// How a client stays with its endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionAffinityConfig {
    /// By its address.
    #[serde(rename = "clientIP", default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<ClientIpConfig>,
}

/// For how long a client stays with its endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientIpConfig {
    /// Since it was used last; absent: three hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// A cluster address, or the word `None` of a headless Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClusterIp {
    /// An address.
    Address(IpAddr),
    /// Headless.
    None,
    /// Not given out yet: the empty string.
    Unset,
}

/// One port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Empty where the Service has one port only.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port that applications dial.
    #[serde(deserialize_with = "port_number")]
    pub port: u16,
    /// The container's port; absent: the same as `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// `TCP` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// What a load balancer gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Addresses.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub load_balancer: LoadBalancerStatus,
}

/// A load balancer's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerStatus {
    /// Addresses.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// One address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerIngress {
    /// Absent where the load balancer has a host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl Service {
    /// Cluster addresses, without repetition.
    pub fn cluster_addresses(&self) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for cluster_ip in self.spec.cluster_ip.iter().chain(&self.spec.cluster_ips) {
            if let ClusterIp::Address(address) = cluster_ip
                && !addresses.contains(address)
            {
                addresses.push(*address);
            }
        }
        addresses
    }

    /// `externalIPs` and load balancer addresses, without repetition.
    pub fn external_addresses(&self) -> Vec<IpAddr> {
        let balancer = self.status.load_balancer.ingress.iter().filter_map(|ingress| ingress.ip);
        let mut addresses = Vec::new();
        for address in self.spec.external_ips.iter().copied().chain(balancer) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Applications dial its pods.
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip == Some(ClusterIp::None) || self.spec.cluster_ips.contains(&ClusterIp::None)
    }

    /// Clients use endpoints on their own node alone.
    pub fn is_local(&self) -> bool {
        self.spec.internal_traffic_policy.as_deref() == Some("Local")
    }

    /// For how long a client stays with an endpoint since it used it last; `None`: it does not.
    pub fn client_affinity(&self) -> Option<Duration> {
        (self.spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let config = self.spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
            let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
            Duration::from_secs(seconds.into())
        })
    }

    /// A DNS alias without addresses of its own.
    pub fn is_external_name(&self) -> bool {
        self.spec.service_type.as_deref() == Some("ExternalName")
    }

    /// The TCP port of that number.
    pub fn tcp_port(&self, number: u16) -> Option<&ServicePort> {
        self.spec.ports.iter().find(|port| port.is_tcp() && port.port == number)
    }
}

/// Kubernetes' default of `timeoutSeconds`.
const AFFINITY_SECONDS: u32 = 10_800;

impl ServicePort {
    /// TCP is what the mesh carries.
    pub fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }

    /// The port of that pod which this port leads to: what an endpoint controller writes into an EndpointSlice.
    pub fn target_port_of(&self, pod: &Pod) -> Option<u16> {
        match &self.target_port {
            None | Some(IntOrString::Int(0)) => Some(self.port),
            Some(IntOrString::Int(number)) => Some(*number),
            Some(IntOrString::String(name)) if name.is_empty() => Some(self.port),
            Some(IntOrString::String(name)) => {
                let protocol = self.protocol.as_deref().unwrap_or("TCP");
                let ports = pod.containers().flat_map(|container| &container.ports);
                ports
                    .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == protocol)
                    .find(|port| port.name == *name)
                    .map(|port| port.container_port)
            }
        }
    }
}

impl fmt::Display for ClusterIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterIp::Address(address) => address.fmt(f),
            ClusterIp::None => f.write_str("None"),
            ClusterIp::Unset => Ok(()),
        }
    }
}

impl Serialize for ClusterIp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterIp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "" => Ok(ClusterIp::Unset),
            "None" => Ok(ClusterIp::None),
            address => address
                .parse()
                .map(ClusterIp::Address)
                .map_err(|_| de::Error::invalid_value(de::Unexpected::Str(address), &"an IP address or the word None")),
        }
    }
}
