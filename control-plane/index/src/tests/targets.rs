//! `Index::target`.

use minimesh_api::model::{PassthroughReason, PlaintextReason, Protocol, ServiceTarget, Target};

use super::*;

fn service(name: &str, port: u16, protocol: Protocol) -> Target {
    Target::Service(ServiceTarget {
        service: backend("shop", name, port),
        protocol,
        http_routes: vec![],
        client_affinity: None,
    })
}

fn protocol(index: &Index) -> Protocol {
    match index.target("shop", address("10.43.0.1:80")) {
        Target::Service(target) => target.protocol,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cluster_ip_and_port_are_the_service() {
    let target = index(SHOP).target("shop", address("10.43.0.1:80"));
    assert_eq!(target, service("carts", 80, Protocol::Detect));
}

#[test]
fn port_that_a_service_lacks_passes_through() {
    let index = index(SHOP);
    for address in [address("10.43.0.1:81"), address("10.43.0.1:53")] {
        assert_eq!(index.target("shop", address), Target::Passthrough(PassthroughReason::UndefinedPort));
    }
}

#[test]
fn unknown_addresses_pass_through_by_where_they_are() {
    let index = index(SHOP);
    let passthrough = |text| index.target("shop", address(text));
    assert_eq!(passthrough("10.43.7.7:80"), Target::Passthrough(PassthroughReason::UnknownAddress));
    assert_eq!(passthrough("10.42.7.7:80"), Target::Passthrough(PassthroughReason::UnknownAddress));
    assert_eq!(passthrough("192.0.2.1:80"), Target::Passthrough(PassthroughReason::OutsideCluster));
    assert_eq!(passthrough("[2001:db8::1]:80"), Target::Passthrough(PassthroughReason::OutsideCluster));
}

#[test]
fn external_and_load_balancer_addresses_are_the_service() {
    let index = index(
        r#"
apiVersion: v1
kind: Service
metadata: { name: front-end, namespace: shop }
spec: { clusterIP: 10.43.0.2, externalIPs: [192.0.2.7], ports: [{ port: 80, targetPort: 8079 }] }
status: { loadBalancer: { ingress: [{ ip: 192.0.2.8 }, { hostname: example.test }] } }
"#,
    );
    for text in ["10.43.0.2:80", "192.0.2.7:80", "192.0.2.8:80"] {
        assert_eq!(index.target("shop", address(text)), service("front-end", 80, Protocol::Detect));
    }
    let target = index.target("shop", address("192.0.2.7:81"));
    assert_eq!(target, Target::Passthrough(PassthroughReason::UndefinedPort));
}

#[test]
fn services_share_an_external_address_by_port_and_cannot_take_over_a_cluster_address() {
    let index = index(
        r#"
apiVersion: v1
kind: Service
metadata: { name: aaa, namespace: shop, creationTimestamp: 2020-01-01T00:00:00Z }
spec: { clusterIP: 10.43.0.9, externalIPs: [10.43.0.1, 192.0.2.7], ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: carts, namespace: shop, creationTimestamp: 2021-01-01T00:00:00Z }
spec: { clusterIP: 10.43.0.1, externalIPs: [192.0.2.7], ports: [{ port: 80 }, { port: 81, name: other }] }
"#,
    );
    let target = |text| index.target("shop", address(text));
    assert_eq!(target("10.43.0.1:80"), service("carts", 80, Protocol::Detect));
    assert_eq!(target("192.0.2.7:80"), service("aaa", 80, Protocol::Detect));
    assert_eq!(target("192.0.2.7:81"), service("carts", 81, Protocol::Detect));
}

#[test]
fn both_families_of_a_service_lead_to_it() {
    let index = index(&SHOP.replace("clusterIPs: [10.43.0.1]", "clusterIPs: [10.43.0.1, \"fd00:43::1\"]"));
    assert_eq!(index.target("shop", address("[fd00:43::1]:80")), service("carts", 80, Protocol::Detect));
}

#[test]
fn pod_address_is_that_pod_on_any_port() {
    let index = index(SHOP);
    let pod = deployment_pod("carts", "carts-5d4f-x1");
    let target = index.target("shop", address("10.42.0.5:9999"));
    assert_eq!(target, Target::Endpoint(meshed("10.42.0.5:9999", "carts", pod)));
}

#[test]
fn headless_service_gives_no_address_but_its_pods() {
    let yaml = SHOP
        .replace("clusterIP: 10.43.0.1", "clusterIP: None")
        .replace("clusterIPs: [10.43.0.1]", "clusterIPs: [None]");
    let index = index(&yaml);
    let pod = deployment_pod("carts", "carts-5d4f-x1");
    let target = index.target("shop", address("10.42.0.5:8080"));
    assert_eq!(target, Target::Endpoint(meshed("10.42.0.5:8080", "carts", pod)));
    assert_eq!(index.endpoints(&backend("shop", "carts", 80)).unwrap().0.len(), 1);
}

#[test]
fn node_address_is_plaintext_and_named_only_where_a_pod_says_it_listens() {
    let index = index(&SHOP.replace("serviceAccountName: carts", "hostNetwork: true"));
    let named = deployment_pod("carts", "carts-5d4f-x1");
    let target = |text| index.target("shop", address(text));
    let expected = |text, workload| Target::Endpoint(plaintext(text, PlaintextReason::HostNetwork, workload));
    assert_eq!(target("10.42.0.5:8080"), expected("10.42.0.5:8080", Some(named)));
    assert_eq!(target("10.42.0.5:6443"), expected("10.42.0.5:6443", None));
    assert_eq!(index.pod_by_ip("10.42.0.5".parse().unwrap()), None);
}

#[test]
fn app_protocol_declares_what_is_spoken() {
    let declared = |name: &str| {
        let port = format!("{{ name: http, appProtocol: {name}, port: 80");
        protocol(&index(&SHOP.replace("{ name: http, port: 80", &port)))
    };
    assert_eq!(declared("http"), Protocol::Http1);
    assert_eq!(declared("kubernetes.io/ws"), Protocol::Http1);
    assert_eq!(declared("kubernetes.io/h2c"), Protocol::Http2);
    assert_eq!(declared("linkerd.io/opaque"), Protocol::Opaque);
    assert_eq!(declared("tcp"), Protocol::Opaque);
    assert_eq!(declared("https"), Protocol::Tls);
    assert_eq!(declared("mysterious"), Protocol::Detect);
}

#[test]
fn opaque_ports_of_a_service_replace_those_of_its_namespace() {
    let opaque = |namespace: &str, service: &str| {
        let yaml = SHOP
            .replace("metadata: { name: shop }", &format!("metadata: {{ name: shop, annotations: {{ {namespace} }} }}"))
            .replace(
                "{ name: carts, namespace: shop }",
                &format!("{{ name: carts, namespace: shop, annotations: {{ {service} }} }}"),
            );
        protocol(&index(&yaml))
    };
    assert_eq!(opaque("", "minimesh.io/opaque-ports: http"), Protocol::Opaque);
    assert_eq!(opaque("", "config.linkerd.io/opaque-ports: \"80\""), Protocol::Opaque);
    assert_eq!(opaque("", "minimesh.io/opaque-ports: \"8080\""), Protocol::Detect);
    assert_eq!(opaque("minimesh.io/opaque-ports: 1-100", ""), Protocol::Opaque);
    assert_eq!(opaque("minimesh.io/opaque-ports: 1-100", "minimesh.io/opaque-ports: \"\""), Protocol::Detect);
}
