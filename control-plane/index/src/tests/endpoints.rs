//! `Index::endpoints`.

use minimesh_api::model::{Endpoint, EndpointState, Endpoints, PlaintextReason};

use super::*;

fn carts(index: &Index) -> Vec<Endpoint> {
    index.endpoints(&backend("shop", "carts", 80)).unwrap().0
}

fn carts_pod() -> WorkloadRef {
    deployment_pod("carts", "carts-5d4f-x1")
}

/// The shop with a part of its text replaced.
fn shop_with(from: &str, to: &str) -> Index {
    assert!(SHOP.contains(from));
    index(&SHOP.replace(from, to))
}

#[test]
fn meshed_pod_is_spoken_to_by_its_identity_on_the_slices_port() {
    assert_eq!(carts(&index(SHOP)), [meshed("10.42.0.5:8080", "carts", carts_pod())]);
}

#[test]
fn service_account_of_a_pod_that_names_none_is_default() {
    let index = shop_with("serviceAccountName: carts", "hostNetwork: false");
    assert_eq!(carts(&index), [meshed("10.42.0.5:8080", "default", carts_pod())]);
}

#[test]
fn unknown_services_and_ports_have_no_endpoints_but_an_empty_service_has_none() {
    let index = shop_with("kubernetes.io/service-name: carts", "kubernetes.io/service-name: other");
    assert_eq!(index.endpoints(&backend("shop", "carts", 81)), None);
    assert_eq!(index.endpoints(&backend("shop", "carts", 53)), None);
    assert_eq!(index.endpoints(&backend("other", "carts", 80)), None);
    assert_eq!(index.endpoints(&backend("shop", "carts", 80)), Some(Endpoints(vec![])));
}

#[test]
fn pod_without_sidecar_is_plaintext() {
    let index = shop_with("name: minimesh-proxy", "name: other");
    let expected = plaintext("10.42.0.5:8080", PlaintextReason::NotMeshed, Some(carts_pod()));
    assert_eq!(carts(&index), [expected]);
}

#[test]
fn pod_on_the_nodes_network_is_plaintext() {
    let index = shop_with("serviceAccountName: carts", "hostNetwork: true");
    let expected = plaintext("10.42.0.5:8080", PlaintextReason::HostNetwork, Some(carts_pod()));
    assert_eq!(carts(&index), [expected]);
}

#[test]
fn port_that_a_pod_skips_by_name_is_plaintext() {
    let annotation = "name: carts-5d4f-x1\n  namespace: shop\n  annotations: { minimesh.io/skip-inbound-ports: web }";
    let index = shop_with("name: carts-5d4f-x1\n  namespace: shop", annotation);
    let expected = plaintext("10.42.0.5:8080", PlaintextReason::PortSkipped, Some(carts_pod()));
    assert_eq!(carts(&index), [expected]);
}

#[test]
fn proxys_own_admin_port_is_plaintext() {
    let index = shop_with("{ name: http, port: 8080 }", "{ name: http, port: 4191 }");
    let expected = plaintext("10.42.0.5:4191", PlaintextReason::PortSkipped, Some(carts_pod()));
    assert_eq!(carts(&index), [expected]);
}

#[test]
fn address_without_a_pod_is_plaintext() {
    let index = shop_with("  targetRef: { kind: Pod, name: carts-5d4f-x1, namespace: shop }\n", "");
    assert_eq!(carts(&index), [plaintext("10.42.0.5:8080", PlaintextReason::NotMeshed, None)]);
}

#[test]
fn pod_of_another_namespace_lends_no_identity() {
    let index = shop_with("name: carts-5d4f-x1, namespace: shop", "name: carts-5d4f-x1, namespace: other");
    assert_eq!(carts(&index), [plaintext("10.42.0.5:8080", PlaintextReason::NotMeshed, None)]);
}

#[test]
fn address_of_a_pod_that_is_unknown_or_does_not_own_it_takes_no_traffic() {
    let nothing: [Endpoint; 0] = [];
    assert_eq!(carts(&shop_with("{ kind: Pod, name: carts-5d4f-x1", "{ kind: Pod, name: unknown")), nothing);
    assert_eq!(carts(&shop_with("- addresses: [10.42.0.5]", "- addresses: [10.42.0.6]")), nothing);
    assert_eq!(carts(&shop_with("phase: Running", "phase: Succeeded")), nothing);
}

#[test]
fn conditions_decide_whether_and_how_an_endpoint_serves() {
    let state = |conditions: &str| {
        let text = format!("- addresses: [10.42.0.5]\n  conditions: {conditions}");
        carts(&shop_with("- addresses: [10.42.0.5]", &text)).first().map(|endpoint| endpoint.state)
    };
    assert_eq!(state("{}"), Some(EndpointState::Serving));
    assert_eq!(state("{ ready: null }"), Some(EndpointState::Serving));
    assert_eq!(state("{ ready: false }"), None);
    assert_eq!(state("{ ready: false, serving: true, terminating: true }"), Some(EndpointState::ServingTerminating));
    assert_eq!(state("{ ready: false, serving: false, terminating: true }"), None);
    assert_eq!(state("{ ready: false, serving: true }"), None);
}

#[test]
fn addresses_that_are_not_ready_serve_where_the_service_publishes_them() {
    let yaml = SHOP
        .replace("clusterIP: 10.43.0.1", "publishNotReadyAddresses: true\n  clusterIP: 10.43.0.1")
        .replace("- addresses: [10.42.0.5]", "- addresses: [10.42.0.5]\n  conditions: { ready: false }");
    assert_eq!(carts(&index(&yaml)), [meshed("10.42.0.5:8080", "carts", carts_pod())]);
}

#[test]
fn pod_marked_for_deletion_is_terminating_before_its_slice_says_so() {
    let index = shop_with(
        "labels: { pod-template-hash",
        "deletionTimestamp: 2026-01-01T00:00:00Z\n  labels: { pod-template-hash",
    );
    let expected =
        Endpoint { state: EndpointState::ServingTerminating, ..meshed("10.42.0.5:8080", "carts", carts_pod()) };
    assert_eq!(carts(&index), [expected]);
    assert!(index.workload("shop", "carts-5d4f-x1").unwrap().draining);
}

#[test]
fn address_in_two_slices_keeps_identity_and_readiness() {
    let second = r#"---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: carts-0, namespace: shop, labels: { kubernetes.io/service-name: carts } }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints: [{ addresses: [10.42.0.5], zone: b }]
"#;
    assert_eq!(carts(&index(&format!("{SHOP}{second}"))), [meshed("10.42.0.5:8080", "carts", carts_pod())]);
}

#[test]
fn zone_and_ipv6_addresses_are_told() {
    let yaml = SHOP
        .replace("addressType: IPv4", "addressType: IPv6")
        .replace("- addresses: [10.42.0.5]", "- addresses: [\"fd00::5\", 10.42.0.5]\n  zone: a")
        .replace("podIPs: [{ ip: 10.42.0.5 }]", "podIPs: [{ ip: 10.42.0.5 }, { ip: \"fd00::5\" }]");
    let expected = Endpoint { zone: Some("a".into()), ..meshed("[fd00::5]:8080", "carts", carts_pod()) };
    assert_eq!(carts(&index(&yaml)), [expected]);
}
