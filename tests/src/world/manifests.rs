//! Kubernetes objects as a cluster would hold them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use super::NAMESPACE;
use crate::protocol::Families;

/// A Service with one port.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// Name.
    pub name: &'a str,
    /// In 10.43.0.0/16.
    pub address: Ipv4Addr,
    /// The Service's port.
    pub port: u16,
    /// The pods' port.
    pub target_port: u16,
    /// `appProtocol`, such as `http`; none: nothing is declared.
    pub protocol: Option<&'a str>,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct PodObject<'a> {
    /// Kubernetes' namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Service account.
    pub account: &'a str,
    /// The StatefulSet that owns it.
    pub workload: &'a str,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// Whether the sidecar is in its spec.
    pub meshed: bool,
    /// Annotations.
    pub annotations: &'a [(String, String)],
    /// Marked for deletion.
    pub deleted: bool,
}

/// The namespace of every story.
pub fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } })
}

impl Service<'_> {
    /// Where clients find it.
    pub fn socket(&self) -> SocketAddr {
        (self.address, self.port).into()
    }

    /// Its address of IPv6, where it has one: fd00:43::N for 10.43.0.N.
    pub fn address6(&self) -> Ipv6Addr {
        let [.., high, low] = self.address.octets();
        Ipv6Addr::new(0xfd00, 0x43, 0, 0, 0, 0, 0, u16::from_be_bytes([high, low]))
    }

    /// Its addresses, if it is of these families.
    pub fn addresses(&self, families: Families) -> Vec<IpAddr> {
        let v4 = families.v4().then_some(IpAddr::V4(self.address));
        v4.into_iter().chain(families.v6().then(|| IpAddr::V6(self.address6()))).collect()
    }

    /// The Service itself, of IPv4.
    pub fn object(&self) -> Value {
        self.object_of(Families::V4)
    }

    /// The Service itself, of these families.
    pub fn object_of(&self, families: Families) -> Value {
        let addresses = self.addresses(families);
        let mut port = json!({ "name": "main", "port": self.port, "targetPort": self.target_port, "protocol": "TCP" });
        if let Some(protocol) = self.protocol {
            port["appProtocol"] = json!(protocol);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(self.name),
            "spec": {
                "clusterIP": addresses[0],
                "clusterIPs": addresses,
                "ipFamilies": addresses.iter().map(family).collect::<Vec<_>>(),
                "ipFamilyPolicy": if addresses.len() == 2 { "RequireDualStack" } else { "SingleStack" },
                "ports": [port],
            },
        })
    }

    /// An HTTPRoute at it, of the same name; `rules` is YAML, indented by two.
    pub fn http_route(&self, rules: &str) -> String {
        let Service { name, port, .. } = self;
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{group: '', kind: Service, name: {name}, port: {port}}}]
  rules:
{rules}"
        )
    }

    /// Its endpoints of one family: address, pod's name, whether it is terminating.
    pub fn endpoints<A: Copy + Into<IpAddr>>(&self, pods: &[(A, &str, bool)]) -> Value {
        let of = pods.first().map_or("IPv4", |&(address, ..)| family(&address.into()));
        let endpoint = |&(address, pod, terminating): &(A, &str, bool)| {
            let address: IpAddr = address.into();
            json!({
                "addresses": [address],
                "conditions": { "ready": !terminating, "serving": true, "terminating": terminating },
                "targetRef": { "kind": "Pod", "name": pod, "namespace": NAMESPACE },
            })
        };
        let mut metadata = metadata(&format!("{}-{}", self.name, of.to_lowercase()));
        metadata["labels"] = json!({ "kubernetes.io/service-name": self.name });
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": of,
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": [{ "name": "main", "port": self.target_port, "protocol": "TCP" }],
        })
    }
}

impl PodObject<'_> {
    /// The Pod itself.
    pub fn object(&self) -> Value {
        let mut metadata = metadata(self.name);
        metadata["namespace"] = json!(self.namespace);
        metadata["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "StatefulSet", "name": self.workload, "uid": self.workload, "controller": true,
        }]);
        metadata["annotations"] = self.annotations.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        if self.deleted {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let ips: Vec<Value> = self.addresses.iter().map(|address| json!({ "ip": address })).collect();
        let mut init = Vec::new();
        if self.meshed {
            init.push(json!({ "name": "minimesh-proxy", "restartPolicy": "Always" }));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "serviceAccountName": self.account,
                "initContainers": init,
                "containers": [{ "name": "application" }],
            },
            "status": { "phase": "Running", "podIP": self.addresses[0], "podIPs": ips },
        })
    }
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// `kind-name.json`, so that an object has one file.
pub(super) fn file_name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    format!("{}-{}.json", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn metadata(name: &str) -> Value {
    json!({ "name": name, "namespace": NAMESPACE, "creationTimestamp": "2026-01-01T00:00:00Z" })
}
