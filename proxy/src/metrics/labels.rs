//! The labels of an edge's series, in the names that existing dashboards read.

use std::sync::Arc;

use minimesh_api::model::{Direction, EdgeProtocol, Security, WorkloadRef};

use super::edge::SeriesKey;

/// Label pairs, in order.
pub(super) type Labels = Vec<(&'static str, Arc<str>)>;

/// The labels that every family of an edge carries.
pub(super) fn of(key: &SeriesKey) -> Labels {
    let edge = &key.edge;
    let mut labels: Labels =
        vec![("direction", direction(edge.direction).into()), ("protocol", protocol(edge.protocol))];
    if let Some(service) = &edge.service {
        let authority = format!("{}.{}.svc.cluster.local:{}", service.name, service.namespace, service.port);
        labels.push(("authority", authority.into()));
    }
    let target =
        key.labels.target.map(|target| (target.to_string(), target.ip().to_string(), target.port().to_string()));
    let (address, ip, port) = target.unwrap_or_else(|| (String::new(), String::new(), edge.port.to_string()));
    labels.extend([("target_addr", address.into()), ("target_ip", ip.into()), ("target_port", Arc::from(port))]);
    security(edge.direction, &edge.security, &mut labels);
    match edge.direction {
        Direction::Inbound => server(key, &mut labels),
        Direction::Outbound => destination(key, &mut labels),
    }
    labels
}

/// The `direction` label.
pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

fn protocol(protocol: EdgeProtocol) -> Arc<str> {
    match protocol {
        EdgeProtocol::Http => "http".into(),
        EdgeProtocol::Tcp => "tcp".into(),
    }
}

fn security(direction: Direction, security: &Security, labels: &mut Labels) {
    match (security, direction) {
        (Security::Verified(id), Direction::Inbound) => {
            labels.extend([("tls", "true".into()), ("client_id", id.clone())])
        }
        (Security::Verified(id), Direction::Outbound) => {
            labels.extend([("tls", "true".into()), ("server_id", id.clone())])
        }
        (Security::None(reason), _) => {
            labels.extend([("tls", "no_identity".into()), ("no_tls_reason", reason.clone())])
        }
    }
}

/// Inbound: which server and policy took it, as Linkerd names its default ones.
fn server(key: &SeriesKey, labels: &mut Labels) {
    let Some(policy) = key.labels.policy else { return };
    labels.extend([
        ("srv_group", Arc::from("")),
        ("srv_kind", "default".into()),
        ("srv_name", policy.0.into()),
        ("srv_port", key.edge.port.to_string().into()),
    ]);
}

/// Outbound: the Service dialled and the workload behind the endpoint.
fn destination(key: &SeriesKey, labels: &mut Labels) {
    let edge = &key.edge;
    let namespace = edge.service.as_ref().map(|service| &service.namespace);
    if let Some(namespace) = edge.peer.as_ref().map(|peer| &peer.namespace).or(namespace) {
        labels.push(("dst_namespace", namespace.clone()));
    }
    if let Some(service) = &edge.service {
        labels.push(("dst_service", service.name.clone()));
    }
    if let Some(peer) = &edge.peer {
        if let Some(kind) = workload_label(peer) {
            labels.push((kind, peer.name.clone()));
        }
        labels.push(("dst_pod", peer.pod.clone()));
    }
    if let Security::Verified(id) = &edge.security
        && let Some((_, account)) = id.rsplit_once("/sa/")
    {
        labels.push(("dst_serviceaccount", account.into()));
    }
    if let Some(zone) = &key.labels.zone {
        labels.push(("dst_zone", zone.clone()));
    }
}

/// Linkerd's label for a workload's kind; none for a pod that nothing owns, and for kinds that its dashboards do not know.
fn workload_label(workload: &WorkloadRef) -> Option<&'static str> {
    Some(match &*workload.kind {
        "CronJob" => "dst_cronjob",
        "DaemonSet" => "dst_daemonset",
        "Deployment" => "dst_deployment",
        "Job" => "dst_k8s_job",
        "ReplicaSet" => "dst_replicaset",
        "ReplicationController" => "dst_replicationcontroller",
        "StatefulSet" => "dst_statefulset",
        _ => return None,
    })
}
