//! The cluster's behaviour as a story: manifests go in, pods are asked for, what they tell shows in the live objects.

use std::net::IpAddr;

use minimesh_index::resource::{ClusterIp, Container, ServicePort};
use minimesh_index::resource::{EndpointSlice, Namespace};

use super::*;

const NOW: Timestamp = Timestamp(1_000);

fn cluster() -> Cluster {
    let mut state = 7_u64;
    let random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 7
    };
    Cluster::new(Settings {
        run: "/run".into(),
        control_plane: vec!["control-plane".into()],
        exposed: None,
        random: Box::new(random),
    })
}

fn deployment(name: &str, replicas: u32, program: &str) -> Object {
    let mut deployment = Deployment { metadata: Metadata::new("shop", name), ..Deployment::default() };
    deployment.spec.replicas = Some(replicas);
    deployment.spec.template.metadata.labels.insert("app".into(), name.into());
    deployment.spec.template.spec.containers =
        vec![Container { name: "main".into(), command: vec![program.into()], ..Container::default() }];
    deployment.into()
}

fn service(name: &str) -> Object {
    let mut service = Service { metadata: Metadata::new("shop", name), ..Service::default() };
    service.spec.selector.insert("app".into(), name.into());
    service.spec.ports = vec![ServicePort { port: 80, ..ServicePort::default() }];
    service.into()
}

fn meshed_namespace() -> Object {
    let mut namespace = Namespace { metadata: Metadata::new("", "shop") };
    namespace.metadata.labels.insert(INJECT.into(), "enabled".into());
    namespace.into()
}

/// Starts what is asked for and reports it running and ready; returns the pods of the shop that were started.
fn settle(cluster: &mut Cluster) -> Vec<PodKey> {
    let mut started = Vec::new();
    for action in cluster.reconcile(NOW) {
        match action {
            Action::Start { key, plan, .. } => {
                cluster.heard(&key, &FromPod::SidecarReady);
                for container in &plan.containers {
                    cluster.heard(&key, &FromPod::Started { container: container.name.clone() });
                    cluster.probed(&key, &container.name, true);
                }
                started.push(key);
            }
            Action::Stop { key, .. } => cluster.gone(&key),
        }
    }
    started.retain(|key| key.namespace == "shop");
    started
}

fn slice_of(cluster: &mut Cluster) -> EndpointSlice {
    let slices = cluster.live().into_iter().filter_map(|object| match object {
        Object::EndpointSlice(slice) => Some(slice),
        _ => None,
    });
    slices.min_by_key(|slice| slice.metadata.name.clone()).expect("a slice")
}

#[test]
fn deployment_becomes_pods_behind_its_service() {
    let mut cluster = cluster();
    cluster.apply(vec![Event::Replace(vec![meshed_namespace(), deployment("web", 2, "a"), service("web")])]);
    let pods = settle(&mut cluster);
    assert_eq!(pods.len(), 2);
    assert_eq!(cluster.progress(), (3, 3));
    let slice = slice_of(&mut cluster);
    let ready: Vec<bool> = slice.endpoints.iter().filter_map(|endpoint| endpoint.conditions.ready).collect();
    assert_eq!(ready, [true, true]);
    assert_eq!(slice.tcp_port(""), Some(80));
}

#[test]
fn pod_is_meshed_by_its_namespace_unless_its_own_label_says_no() {
    let mut cluster = cluster();
    let Object::Deployment(mut plain) = deployment("plain", 1, "a") else { unreachable!() };
    plain.spec.template.metadata.labels.insert(INJECT.into(), "disabled".into());
    cluster.apply(vec![Event::Replace(vec![meshed_namespace(), deployment("web", 1, "a"), plain.into()])]);
    let meshed = cluster.reconcile(NOW).into_iter().filter_map(|action| match action {
        Action::Start { plan, .. } => Some((plan.namespace.clone(), plan.sidecar.is_some())),
        Action::Stop { .. } => None,
    });
    let meshed: Vec<(String, bool)> = meshed.collect();
    assert_eq!(meshed, [("minimesh".into(), false), ("shop".into(), false), ("shop".into(), true)]);
}

#[test]
fn pod_on_its_way_out_is_a_terminating_endpoint_until_it_is_gone() {
    let mut cluster = cluster();
    cluster.apply(vec![Event::Replace(vec![deployment("web", 1, "a"), service("web")])]);
    let pods = settle(&mut cluster);
    cluster.apply(vec![Event::Apply(deployment("web", 0, "a"))]);
    let actions = cluster.reconcile(NOW);
    assert_eq!(actions, [Action::Stop { key: pods[0].clone(), grace_ms: 30_000 }]);
    let conditions = slice_of(&mut cluster).endpoints[0].conditions;
    assert_eq!((conditions.ready, conditions.serving, conditions.terminating), (Some(false), Some(true), Some(true)));
    cluster.gone(&pods[0]);
    assert!(slice_of(&mut cluster).endpoints.is_empty());
}

#[test]
fn changed_template_replaces_pods_one_by_one() {
    let mut cluster = cluster();
    cluster.apply(vec![Event::Replace(vec![deployment("web", 1, "a")])]);
    let old = settle(&mut cluster);
    cluster.apply(vec![Event::Apply(deployment("web", 1, "b"))]);
    let new = settle(&mut cluster);
    assert_eq!(new.len(), 1);
    let stops = cluster.reconcile(NOW);
    assert_eq!(stops, [Action::Stop { key: old[0].clone(), grace_ms: 30_000 }]);
}

#[test]
fn pod_whose_process_died_is_replaced_under_another_address() {
    let mut cluster = cluster();
    cluster.apply(vec![Event::Replace(vec![deployment("web", 1, "a")])]);
    let first = settle(&mut cluster);
    let ip = cluster.pods().find(|(key, _)| **key == first[0]).map(|(_, pod)| pod.ip());
    cluster.gone(&first[0]);
    let second = settle(&mut cluster);
    assert_ne!(cluster.pods().find(|(key, _)| **key == second[0]).map(|(_, pod)| pod.ip()), ip);
}

#[test]
fn service_keeps_its_address_and_a_named_one_is_respected() {
    let mut cluster = cluster();
    let Object::Service(mut named) = service("named") else { unreachable!() };
    let address = |text: &str| ClusterIp::Address(text.parse().expect("an address"));
    named.spec.cluster_ip = Some(address("10.43.0.10"));
    cluster.apply(vec![Event::Replace(vec![service("web"), (*named).into()])]);
    let before = cluster.names();
    cluster.apply(vec![Event::Apply(service("other"))]);
    let after = cluster.names();
    assert_eq!(before["web.shop"], after["web.shop"]);
    assert_eq!(after["named.shop"], ["10.43.0.10".parse::<std::net::Ipv4Addr>().expect("an address")]);
    let network = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[..2] == [10, 43]);
    assert!(network(&IpAddr::V4(after["other.shop"][0])));
}

#[test]
fn headless_service_names_its_ready_pods() {
    let mut cluster = cluster();
    let Object::Service(mut headless) = service("web") else { unreachable!() };
    headless.spec.cluster_ip = Some(ClusterIp::None);
    cluster.apply(vec![Event::Replace(vec![deployment("web", 2, "a"), (*headless).into()])]);
    assert!(cluster.names()["web.shop"].is_empty());
    settle(&mut cluster);
    assert_eq!(cluster.names()["web.shop"].len(), 2);
}

#[test]
fn stopping_asks_every_pod_to_end_quickly() {
    let mut cluster = cluster();
    cluster.apply(vec![Event::Replace(vec![deployment("web", 2, "a")])]);
    settle(&mut cluster);
    cluster.stop();
    let actions = cluster.reconcile(NOW);
    assert_eq!(actions.len(), 3);
    assert!(actions.iter().all(|action| matches!(action, Action::Stop { grace_ms: STOPPING_GRACE_MS, .. })));
}

fn exposing() -> Cluster {
    let mut cluster = cluster();
    let exposed = Exposed { namespace: "shop".into(), service: "web".into(), port: 80, host_port: 8079 };
    cluster.settings.exposed = Some(exposed);
    cluster
}

fn relays(cluster: &mut Cluster) -> Vec<String> {
    let starts = cluster.reconcile(NOW).into_iter().filter_map(|action| match action {
        Action::Start { plan, .. } => Some(plan),
        Action::Stop { .. } => None,
    });
    starts.flat_map(|plan| plan.containers).filter(|c| c.takes_listener).map(|c| c.command.join(" ")).collect()
}

#[test]
fn exposed_service_is_reached_through_a_visitor_of_the_demos_own_or_the_users() {
    let command = "minimesh demo-role relay --to=web.shop.svc:80 --host-port=8079";
    let mut own = exposing();
    own.open();
    assert_eq!(relays(&mut own), [command]);
    let mut users = exposing();
    users.apply(vec![Event::Replace(vec![deployment("visitor", 1, "load")])]);
    users.open();
    assert_eq!(relays(&mut users), [command]);
}

#[test]
fn visitor_comes_when_everything_else_is_ready() {
    let mut cluster = exposing();
    cluster.apply(vec![Event::Replace(vec![deployment("web", 1, "a")])]);
    let first = settle(&mut cluster);
    assert!(first[0].name.starts_with("web-"), "{first:?}");
    let second = settle(&mut cluster);
    assert!(second[0].name.starts_with("visitor-"), "{second:?}");
}
