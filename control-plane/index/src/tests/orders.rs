//! Properties: the order of events does not matter, and `Changes` never says too little.

use std::collections::BTreeMap;

use minimesh_api::model::{Endpoints, PortPolicy, ResourceKey, Target, Workload};
use proptest::prelude::*;
use proptest::sample::Index as Pick;

use super::*;
use crate::{PodInfo, RouteStatus};

/// Variants of objects that compete: for each name several contents.
fn variants() -> Vec<Object> {
    let services = [
        "{ clusterIP: 10.43.0.1, ports: [{ name: http, port: 80 }] }",
        "{ clusterIP: 10.43.0.2, ports: [{ name: http, port: 80, appProtocol: tcp }, { name: x, port: 81 }] }",
        "{ clusterIP: None, externalIPs: [10.43.0.1], ports: [{ name: http, port: 81 }] }",
    ];
    let pods = [
        "{ metadata: { annotations: { minimesh.io/opaque-ports: \"80\" } }, spec: { containers: [{ name: minimesh-proxy }] }, status: { podIP: 10.42.0.1 } }",
        "{ metadata: { deletionTimestamp: 2026-01-01T00:00:00Z }, spec: { containers: [{ name: a }] }, status: { podIP: 10.42.0.1 } }",
        "{ metadata: {}, spec: { hostNetwork: true, containers: [{ name: a, ports: [{ containerPort: 80 }] }] }, status: { podIP: 10.42.0.2 } }",
        "{ metadata: {}, spec: { containers: [{ name: minimesh-proxy }] }, status: { phase: Failed, podIPs: [{ ip: 10.42.0.2 }] } }",
    ];
    let slices = [
        "{ service: a, ports: [{ name: http, port: 80 }], endpoints: [{ addresses: [10.42.0.1], targetRef: { kind: Pod, name: a } }] }",
        "{ service: b, ports: [{ name: http, port: 81 }], endpoints: [{ addresses: [10.42.0.2] }, { addresses: [10.42.0.1], targetRef: { kind: Pod, name: b } }] }",
    ];
    let routes = [
        "{ parentRefs: [{ group: \"\", kind: Service, name: a, namespace: s }], rules: [{ backendRefs: [{ name: b, namespace: s, port: 80 }] }] }",
        "{ parentRefs: [{ group: \"\", kind: Service, name: b, port: 81, namespace: s }], rules: [{ matches: [{ path: { value: /x } }] }] }",
        "{ parentRefs: [{ group: \"\", kind: Service, name: a, namespace: s }], rules: [{ matches: [{ path: { value: x } }] }] }",
        "{ parentRefs: [{ group: \"\", kind: Service, name: a, namespace: s }], rules: [{ backendRefs: [{ name: b, namespace: elsewhere, port: 80 }] }] }",
    ];
    let grpc_routes = [
        "{ parentRefs: [{ group: \"\", kind: Service, name: a, namespace: s }], rules: [{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: b, namespace: s, port: 81 } } }] }] }",
    ];
    let grants = [
        "{ from: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: client }], to: [{ group: \"\", kind: Service, name: b }] }",
        "{ from: [{ group: gateway.networking.k8s.io, kind: GRPCRoute, namespace: client }], to: [{ group: \"\", kind: Secret }] }",
    ];
    let policies = ["{}", "{ minimesh.io/default-inbound-policy: deny }", "{ minimesh.io/opaque-ports: 80-81 }"];

    let mut yaml = String::new();
    for name in ["a", "b"] {
        for spec in services {
            yaml += &format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: s }}\nspec: {spec}\n"
            );
        }
        for pod in pods {
            let pod = pod.replacen("metadata: {", &format!("metadata: {{ name: {name}, namespace: s, "), 1);
            yaml += &format!("---\n{{ apiVersion: v1, kind: Pod, {}\n", pod.trim_start_matches("{ "));
        }
        for slice in slices {
            let (service, rest) = slice.trim_start_matches("{ service: ").split_once(',').unwrap();
            yaml += &format!(
                "---\n{{ apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{ name: {name}, \
                 namespace: s, labels: {{ kubernetes.io/service-name: {service} }} }}, {rest}\n"
            );
        }
        for (spec, namespace) in routes.iter().flat_map(|spec| ["s", "client"].map(|namespace| (spec, namespace))) {
            yaml += &format!(
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name}, namespace: \
                 {namespace} }}\nspec: {spec}\n"
            );
        }
        for (spec, namespace) in grpc_routes.iter().flat_map(|spec| ["s", "client"].map(|namespace| (spec, namespace)))
        {
            yaml += &format!(
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{ name: {name}, namespace: \
                 {namespace}, creationTimestamp: 2026-01-01T00:00:00Z }}\nspec: {spec}\n"
            );
        }
    }
    for grant in grants {
        yaml += &format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{ name: g, namespace: \
             elsewhere }}\nspec: {grant}\n"
        );
    }
    for policy in policies {
        yaml += &format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{ name: s, annotations: {policy} }}\n");
    }
    objects(&yaml)
}

/// Every answer that a subscriber could be given, with the question.
#[derive(Debug, PartialEq)]
struct Answers {
    targets: BTreeMap<(ResourceKey, &'static str), Target>,
    endpoints: BTreeMap<ResourceKey, Option<Endpoints>>,
    ports: BTreeMap<(ResourceKey, &'static str), Option<PortPolicy>>,
    workloads: BTreeMap<&'static str, (Option<Workload>, Option<PodInfo>)>,
    owners: BTreeMap<String, Option<PodInfo>>,
    statuses: Vec<RouteStatus>,
}

fn answers(index: &Index) -> Answers {
    let ips = ["10.42.0.1", "10.42.0.2", "10.43.0.1", "10.43.0.2", "192.0.2.1"];
    let sockets = ips.iter().flat_map(|ip| [80, 81].map(|port| SocketAddr::new(ip.parse().unwrap(), port)));
    let targets = sockets.flat_map(|at| ["s", "client", "other"].map(|client| (at, client)));
    let names = ["a", "b"];
    let backends = names.iter().flat_map(|name| [80, 81].map(|port| backend("s", name, port)));
    let ports = names.iter().flat_map(|name| [80, 81].map(|port| (*name, port)));
    Answers {
        targets: targets.map(|(at, client)| ((ResourceKey::Target(at), client), index.target(client, at))).collect(),
        endpoints: backends.map(|key| (ResourceKey::Endpoints(key.clone()), index.endpoints(&key))).collect(),
        ports: ports.map(|(pod, port)| ((ResourceKey::Port(port), pod), index.port("s", pod, port))).collect(),
        workloads: names.into_iter().map(|pod| (pod, (index.workload("s", pod), index.pod("s", pod)))).collect(),
        owners: ips.iter().map(|ip| (ip.to_string(), index.pod_by_ip(ip.parse().unwrap()))).collect(),
        statuses: index.route_statuses(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_in_the_lookups_of_a_fresh_index(steps in prop::collection::vec((any::<Pick>(), 0..4_u8), 1..60)) {
        let variants = variants();
        let mut index = Index::new(settings());
        index.apply(Event::Replace(vec![]));
        let mut alive = BTreeMap::new();
        for (pick, action) in steps {
            let object = pick.get(&variants).clone();
            if action == 0 {
                alive.remove(&object.key());
                index.apply(Event::Delete(object.key()));
            } else {
                alive.insert(object.key(), object.clone());
                index.apply(Event::Apply(object));
            }
        }
        let mut fresh = Index::new(settings());
        fresh.apply(Event::Replace(alive.into_values().rev().collect()));
        prop_assert_eq!(answers(&index), answers(&fresh));
        prop_assert_eq!(index, fresh);
    }

    #[test]
    fn changes_name_every_answer_that_differs(steps in prop::collection::vec((any::<Pick>(), 0..4_u8), 1..40)) {
        let variants = variants();
        let mut index = Index::new(settings());
        index.apply(Event::Replace(vec![]));
        for (pick, action) in steps {
            let object = pick.get(&variants).clone();
            let before = answers(&index);
            let changes = index.apply(if action == 0 { Event::Delete(object.key()) } else { Event::Apply(object) });
            let after = answers(&index);
            for (question, answer) in &before.targets {
                prop_assert!(after.targets[question] == *answer || changes.affects(&question.0, "s", "a"), "{:?}", question);
            }
            for (question, answer) in &before.endpoints {
                prop_assert!(after.endpoints[question] == *answer || changes.affects(question, "s", "a"), "{:?}", question);
            }
            for (question, answer) in &before.ports {
                prop_assert!(after.ports[question] == *answer || changes.affects(&question.0, "s", question.1), "{:?}", question);
            }
            for (pod, answer) in &before.workloads {
                prop_assert!(after.workloads[pod] == *answer || changes.affects(&ResourceKey::Workload, "s", pod), "{}", pod);
            }
            prop_assert!(after.owners == before.owners || !changes.pods.is_empty());
            prop_assert!(after.statuses == before.statuses || changes.routes);
        }
    }
}

#[test]
fn object_that_did_not_change_changes_nothing() {
    let mut index = index(SHOP);
    for object in objects(SHOP) {
        assert!(index.apply(Event::Apply(object)).is_empty());
    }
}

#[test]
fn index_is_synced_by_the_first_complete_list() {
    let mut index = Index::new(settings());
    index.apply(Event::Apply(objects(SHOP).remove(0)));
    assert!(!index.is_synced());
    assert!(index.apply(Event::Replace(vec![])).everything);
    assert!(index.is_synced());
}

#[test]
fn what_is_written_is_read_back() {
    for object in objects(SHOP).into_iter().chain(variants()) {
        let json = serde_json::to_string(&object).unwrap();
        let yaml = serde_saphyr::to_string(&object).unwrap();
        let expected = [object];
        assert_eq!(objects(&json), expected);
        assert_eq!(objects(&yaml), expected);
    }
}
