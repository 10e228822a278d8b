//! Pod: who stands behind an address, whether it is meshed, and what it says about its own ports.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::metadata::optional_name;
use super::{IntOrString, Metadata, absent};

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Name, labels, annotations, owners.
    pub metadata: Metadata,
    /// What runs in it.
    pub spec: PodSpec,
    /// Its addresses.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub status: PodStatus,
}

/// What runs in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Empty: `default`.
    #[serde(default, deserialize_with = "optional_name", skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// The pod shares its node's network.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub host_network: bool,
    /// The node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Host name, where it differs from the pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Run before the containers; with `restartPolicy: Always` beside them.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// Containers.
    #[serde(deserialize_with = "absent::or_default")]
    pub containers: Vec<Container>,
    /// From SIGTERM to SIGKILL; absent: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<u64>,
}

/// A pod's addresses and phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The node's address.
    #[serde(rename = "hostIP", default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The node's addresses, one per IP family.
    #[serde(
        rename = "hostIPs",
        default,
        deserialize_with = "absent::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub host_ips: Vec<HostIp>,
    /// The first address.
    #[serde(rename = "podIP", default, skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<IpAddr>,
    /// One per IP family.
    #[serde(
        rename = "podIPs",
        default,
        deserialize_with = "absent::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pod_ips: Vec<PodIp>,
    /// Conditions, such as `Ready`.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PodCondition>,
}

/// One address of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIp {
    /// The address.
    pub ip: IpAddr,
}

/// One address of a pod's node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIp {
    /// The address.
    pub ip: IpAddr,
}

/// One condition of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodCondition {
    /// As `Ready`.
    #[serde(rename = "type")]
    pub condition_type: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Unique in the pod.
    pub name: String,
    /// Image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Entry point; empty: the image's.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Ports.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    /// Working directory; absent: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// When it takes traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// When it is to be restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// When the other probes begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    /// `Always` makes an init container a native sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
}

/// One environment variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value; absent: empty, unless `value_from` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Where a variable's value comes from. Of Kubernetes' sources only the downward API's fields are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVarSource {
    /// A field of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// A field of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldRef {
    /// As `metadata.name`.
    pub field_path: String,
}

/// One port that a container listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    /// Empty: nameless.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port.
    #[serde(deserialize_with = "port_number")]
    pub container_port: u16,
    /// `TCP` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// How readiness is found out. None of the first fields: nothing that the mesh's demo can run, for example `exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// By a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
    /// By a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketAction>,
    /// By gRPC's health service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAction>,
    /// Absent: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay_seconds: Option<u32>,
    /// Absent: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u32>,
    /// Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Absent: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
}

/// A request that answers 200 to 399.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGetAction {
    /// Absent: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// By number or name.
    pub port: IntOrString,
    /// `HTTP` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
}

/// A call of `grpc.health.v1.Health/Check` that answers SERVING.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcAction {
    /// By number.
    #[serde(deserialize_with = "port_number")]
    pub port: u16,
    /// The service that is asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// A connection that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpSocketAction {
    /// By number or name.
    pub port: IntOrString,
}

impl Container {
    /// Its probes.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.startup_probe.iter().chain(&self.readiness_probe).chain(&self.liveness_probe)
    }
}

impl PodSpec {
    /// Containers and init containers, since a sidecar is one of the latter.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().chain(&self.init_containers)
    }
}

impl Pod {
    /// Name of the sidecar's container: its presence in the spec is what "meshed" means.
    pub const SIDECAR: &'static str = "minimesh-proxy";

    /// Containers and init containers, since a sidecar is one of the latter.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.spec.containers()
    }

    /// The sidecar is in the spec.
    pub fn is_meshed(&self) -> bool {
        self.containers().any(|container| container.name == Self::SIDECAR)
    }

    /// The pod ran to its end: its addresses may already belong to another.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Marked for deletion.
    pub fn is_draining(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Addresses, without repetition. The node's for a pod with `hostNetwork`.
    pub fn addresses(&self) -> Vec<IpAddr> {
        distinct(self.status.pod_ip.into_iter().chain(self.status.pod_ips.iter().map(|pod_ip| pod_ip.ip)))
    }

    /// Addresses of the node that it runs on, without repetition.
    pub fn node_addresses(&self) -> Vec<IpAddr> {
        distinct(self.status.host_ip.into_iter().chain(self.status.host_ips.iter().map(|host_ip| host_ip.ip)))
    }

    /// The ServiceAccount that it runs as.
    pub fn service_account(&self) -> &str {
        if self.spec.service_account_name.is_empty() { "default" } else { &self.spec.service_account_name }
    }
}

fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut distinct = Vec::new();
    for address in addresses.map(|address| address.to_canonical()) {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct
}

/// A port number that can be dialled.
pub(super) fn port_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    match u16::deserialize(deserializer)? {
        0 => Err(de::Error::invalid_value(de::Unexpected::Unsigned(0), &"a port from 1 to 65535")),
        port => Ok(port),
    }
}
