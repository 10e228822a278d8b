//! Objects in, lookups out: whole values compared.

mod endpoints;
mod filters;
mod grants;
mod grpc;
mod orders;
mod places;
mod pods;
mod ports;
mod routes;
mod targets;

use std::net::SocketAddr;

use minimesh_api::model::{
    BackendKey, DefaultPolicy, Endpoint, EndpointState, PlaintextReason, Transport, WorkloadRef,
};
use serde::Deserialize;
use serde::de::DeserializeSeed;

use crate::{Event, Index, Kind, Object, Settings};

/// Objects of YAML documents.
fn objects(yaml: &str) -> Vec<Object> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Header {
        api_version: String,
        kind: String,
    }

    let documents = yaml.split("---\n").filter(|document| !document.trim().is_empty());
    documents
        .map(|document| {
            let header: Header = serde_saphyr::from_str(document).unwrap();
            let kind = Kind::from_api(&header.api_version, &header.kind).unwrap();
            serde_saphyr::with_deserializer_from_str(document, |deserializer| kind.deserialize(deserializer)).unwrap()
        })
        .collect()
}

fn settings() -> Settings {
    Settings {
        mesh_namespace: "minimesh".into(),
        trust_domain: "cluster.local".into(),
        cluster_networks: vec!["10.42.0.0/16".parse().unwrap(), "10.43.0.0/16".parse().unwrap()],
        session_key: (*b"0123456789abcdef").into(),
        default_policy: DefaultPolicy::AllUnauthenticated,
    }
}

/// A synced index of these documents.
fn index(yaml: &str) -> Index {
    let mut index = Index::new(settings());
    index.apply(Event::Replace(objects(yaml)));
    index
}

fn backend(namespace: &str, name: &str, port: u16) -> BackendKey {
    BackendKey { namespace: namespace.into(), name: name.into(), port }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn deployment_pod(name: &str, pod: &str) -> WorkloadRef {
    WorkloadRef { namespace: "shop".into(), kind: "Deployment".into(), name: name.into(), pod: pod.into() }
}

fn meshed(at: &str, account: &str, workload: WorkloadRef) -> Endpoint {
    let identity = format!("spiffe://cluster.local/ns/shop/sa/{account}").into();
    endpoint(at, Transport::MutualTls { identity }, Some(workload))
}

fn plaintext(at: &str, reason: PlaintextReason, workload: Option<WorkloadRef>) -> Endpoint {
    endpoint(at, Transport::Plaintext(reason), workload)
}

fn endpoint(at: &str, transport: Transport, workload: Option<WorkloadRef>) -> Endpoint {
    Endpoint { address: address(at), transport, state: EndpointState::Serving, workload, zone: None }
}

/// A shop with one meshed Deployment `carts` of one pod behind one Service.
const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Service
metadata: { name: carts, namespace: shop }
spec:
  clusterIP: 10.43.0.1
  clusterIPs: [10.43.0.1]
  ports:
  - { name: http, port: 80, targetPort: web }
  - { name: dns, port: 53, protocol: UDP }
---
apiVersion: v1
kind: Pod
metadata:
  name: carts-5d4f-x1
  namespace: shop
  labels: { pod-template-hash: 5d4f }
  ownerReferences: [{ apiVersion: apps/v1, kind: ReplicaSet, name: carts-5d4f, controller: true }]
spec:
  serviceAccountName: carts
  initContainers: [{ name: minimesh-proxy, restartPolicy: Always }]
  containers: [{ name: carts, ports: [{ name: web, containerPort: 8080 }] }]
status: { phase: Running, podIP: 10.42.0.5, podIPs: [{ ip: 10.42.0.5 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: carts-1, namespace: shop, labels: { kubernetes.io/service-name: carts } }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints:
- addresses: [10.42.0.5]
  targetRef: { kind: Pod, name: carts-5d4f-x1, namespace: shop }
"#;
