//! Where a client is: topology hints, `internalTrafficPolicy`, nodes' addresses.

use super::*;

/// Two nodes in two zones, each with an endpoint of `carts`; fields of the Service, and of each endpoint.
fn zones(service: &str, here: &str, there: &str) -> Index {
    index(&format!(
        r#"
apiVersion: v1
kind: Node
metadata: {{ name: n1, labels: {{ topology.kubernetes.io/zone: a }} }}
spec: {{ podCIDR: 10.42.1.0/24, podCIDRs: [10.42.1.0/24, 'fd00:42:1::/64'] }}
status: {{ addresses: [{{ type: InternalIP, address: 192.0.2.1 }}, {{ type: Hostname, address: n1 }}] }}
---
apiVersion: v1
kind: Node
metadata: {{ name: n2, labels: {{ topology.kubernetes.io/zone: b }} }}
spec: {{ podCIDR: 10.42.2.0/24 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: carts, namespace: shop }}
spec: {{ clusterIP: 10.43.0.1, ports: [{{ port: 80 }}], {service} }}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{ name: carts-1, namespace: shop, labels: {{ kubernetes.io/service-name: carts }} }}
addressType: IPv4
ports: [{{ port: 8080 }}]
endpoints:
- {{ addresses: [10.42.1.5], nodeName: n1, zone: a, {here} }}
- {{ addresses: [10.42.2.5], nodeName: n2, zone: b, {there} }}
"#
    ))
}

/// Last bytes of networks whose endpoints a client on that node is told.
fn told(index: &Index, node: Option<&str>) -> Vec<String> {
    let endpoints = index.endpoints_from(&backend("shop", "carts", 80), node).unwrap().0;
    endpoints.iter().map(|endpoint| endpoint.address.ip().to_string()).collect()
}

const HERE: &str = "10.42.1.5";
const THERE: &str = "10.42.2.5";

#[test]
fn without_hints_everybody_is_told_everything() {
    let index = zones("", "", "");
    for node in [None, Some("n1"), Some("n2"), Some("unknown")] {
        assert_eq!(told(&index, node), [HERE, THERE], "{node:?}");
    }
}

#[test]
fn zone_hints_are_followed_where_every_serving_endpoint_has_one() {
    let (a, b) = ("hints: { forZones: [{ name: a }] }", "hints: { forZones: [{ name: b }] }");
    let index = zones("", a, b);
    assert_eq!([told(&index, Some("n1")), told(&index, Some("n2"))], [[HERE], [THERE]]);
    assert_eq!(told(&index, None), [HERE, THERE], "nobody knows where the client is");
    assert_eq!(told(&zones("", a, ""), Some("n1")), [HERE, THERE], "half of them have hints");
    assert_eq!(told(&zones("", b, b), Some("n1")), [HERE, THERE], "none is for this zone");
}

#[test]
fn node_hints_go_before_zone_hints() {
    let hints =
        |zone: &str, node: &str| format!("hints: {{ forZones: [{{ name: {zone} }}], forNodes: [{{ name: {node} }}] }}");
    let index = zones("", &hints("a", "n1"), &hints("a", "n2"));
    assert_eq!([told(&index, Some("n1")), told(&index, Some("n2"))], [[HERE], [THERE]]);
    let index = zones("", &hints("a", "n2"), &hints("b", "n2"));
    assert_eq!(told(&index, Some("n1")), [HERE], "no endpoint for the node: the zone's");
}

#[test]
fn hints_do_not_hide_what_is_left_when_nothing_else_serves() {
    let gone = "conditions: { ready: false, serving: true, terminating: true }, hints: { forZones: [{ name: b }] }";
    let index = zones("", "hints: { forZones: [{ name: a }] }", gone);
    let states: Vec<_> = index.endpoints_from(&backend("shop", "carts", 80), Some("n1")).unwrap().0;
    assert_eq!(
        states.iter().map(|endpoint| endpoint.state).collect::<Vec<_>>(),
        [EndpointState::Serving, EndpointState::ServingTerminating]
    );
}

#[test]
fn a_local_service_has_the_nodes_own_endpoints_and_no_others() {
    let index = zones("internalTrafficPolicy: Local", "", "hints: { forZones: [{ name: a }] }");
    assert_eq!([told(&index, Some("n1")), told(&index, Some("n2"))], [[HERE], [THERE]]);
    assert_eq!(told(&index, Some("n3")), Vec::<String>::new());
    assert_eq!(told(&zones("internalTrafficPolicy: Cluster", "", ""), Some("n1")), [HERE, THERE]);
}

#[test]
fn an_address_is_on_its_pods_node_or_on_the_one_whose_network_it_is_in() {
    let mut index = zones("", "", "");
    let node = |index: &Index, ip: &str| index.node_of(ip.parse().unwrap()).map(|node| node.to_string());
    assert_eq!(node(&index, "10.42.2.9").as_deref(), Some("n2"));
    assert_eq!(node(&index, "fd00:42:1::9").as_deref(), Some("n1"));
    assert_eq!(node(&index, "10.42.3.9"), None);
    let pod = "{ apiVersion: v1, kind: Pod, metadata: { name: a, namespace: shop }, spec: { nodeName: n1, containers: [] }, \
               status: { podIP: 10.42.2.9 } }";
    index.apply(Event::Apply(objects(pod).remove(0)));
    assert_eq!(node(&index, "10.42.2.9").as_deref(), Some("n1"));
}

#[test]
fn a_pod_is_told_its_nodes_addresses_and_the_first_of_each_network_of_its_pods() {
    let mut index = zones("", "", "");
    let pod = "{ apiVersion: v1, kind: Pod, metadata: { name: a, namespace: shop }, spec: { nodeName: n1, containers: [] }, \
               status: { podIP: 10.42.1.9, hostIP: 192.0.2.1 } }";
    index.apply(Event::Apply(objects(pod).remove(0)));
    let told = |index: &Index| {
        let ips = index.workload("shop", "a").unwrap().node_ips;
        ips.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told(&index), ["192.0.2.1", "10.42.1.1", "fd00:42:1::1"]);
    let changes = index.apply(Event::Delete(crate::ObjectKey::new(crate::Kind::Node, "", "n1")));
    assert!(changes.pods.iter().any(|pod| &*pod.name == "a") && changes.nodes.contains("n1"), "{changes:?}");
    assert_eq!(told(&index), ["192.0.2.1"]);
}

#[test]
fn client_affinity_is_the_services_word() {
    let affinity = |spec: &str| {
        let index = zones(spec, "", "");
        let minimesh_api::model::Target::Service(target) = index.target("shop", address("10.43.0.1:80")) else {
            panic!("no Service")
        };
        target.client_affinity.map(|time| time.as_secs())
    };
    assert_eq!(affinity(""), None);
    assert_eq!(affinity("sessionAffinity: None"), None);
    assert_eq!(affinity("sessionAffinity: ClientIP"), Some(10_800));
    let config = "sessionAffinity: ClientIP, sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } }";
    assert_eq!(affinity(config), Some(60));
}

#[test]
fn namespaces_with_meshed_pods_or_the_label_need_the_roots() {
    let mut index = index(SHOP);
    let meshed = |index: &Index| index.meshed_namespaces().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(meshed(&index), ["shop"]);
    let namespace = |name: &str, word: &str| {
        let labels = format!("labels: {{ minimesh.io/inject: {word} }}");
        objects(&format!("{{ apiVersion: v1, kind: Namespace, metadata: {{ name: {name}, {labels} }} }}")).remove(0)
    };
    index.apply(Event::Apply(namespace("new", "enabled")));
    index.apply(Event::Apply(namespace("old", "disabled")));
    assert_eq!(meshed(&index), ["new", "shop"]);
}
