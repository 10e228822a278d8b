//! `Index::port`: what a pod's own proxy is told of a port.

use minimesh_api::model::Protocol;

use super::routes::route;
use super::*;

/// The port of the shop's pod behind `carts`, whose Service port is changed as `port` says, beside these documents.
fn protocol(port: &str, more: &[String]) -> Protocol {
    let yaml = SHOP.replace("{ name: http, port: 80,", &format!("{{ name: http, port: 80, {port}"));
    index(&format!("{yaml}{}", more.concat())).port("shop", "carts-5d4f-x1", 8080).unwrap().protocol
}

/// A second Service of the same pods and the same port.
fn second(app_protocol: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: other, namespace: shop }}\nspec: {{ clusterIP: 10.43.0.8, \
         ports: [{{ name: o, port: 9, appProtocol: {app_protocol} }}] }}\n---\napiVersion: discovery.k8s.io/v1\nkind: \
         EndpointSlice\nmetadata: {{ name: other-1, namespace: shop, labels: {{ kubernetes.io/service-name: other }} \
         }}\naddressType: IPv4\nports: [{{ name: o, port: 8080 }}]\nendpoints: [{{ addresses: [10.42.0.5], targetRef: {{ \
         kind: Pod, name: carts-5d4f-x1 }} }}]\n"
    )
}

#[test]
fn a_port_behind_a_service_port_that_declares_http_is_http() {
    assert_eq!(protocol("", &[]), Protocol::Detect);
    for http in ["http", "kubernetes.io/ws", "grpc", "kubernetes.io/h2c"] {
        assert_eq!(protocol(&format!("appProtocol: {http},"), &[]), Protocol::Http1, "{http}");
    }
    for other in ["tcp", "https", "mysterious"] {
        assert_eq!(protocol(&format!("appProtocol: {other},"), &[]), Protocol::Detect, "{other}");
    }
    let port = |number| {
        index(&SHOP.replace("port: 80,", "port: 80, appProtocol: http,")).port("shop", "carts-5d4f-x1", number)
    };
    assert_eq!(port(8081).map(|policy| policy.protocol), Some(Protocol::Detect), "another port of the pod");
    assert_eq!(port(80).map(|policy| policy.protocol), Some(Protocol::Detect), "the Service's number is not the pod's");
}

#[test]
fn a_port_behind_a_route_is_http_whatever_is_declared() {
    let attached = |parent: &str| [route("shop", "r", parent, "[{}]")];
    assert_eq!(protocol("", &attached("name: carts")), Protocol::Http1);
    assert_eq!(protocol("appProtocol: tcp,", &attached("name: carts")), Protocol::Http1, "as for its clients");
    assert_eq!(protocol("", &attached("name: carts, port: 81")), Protocol::Detect);
    let grpc = route("shop", "r", "name: carts", "[{}]").replace("kind: HTTPRoute", "kind: GRPCRoute");
    assert_eq!(protocol("", &[grpc]), Protocol::Http1);
    let refused = route("shop", "r", "name: carts", "[{ matches: [{ path: { value: no-slash } }] }]");
    assert_eq!(protocol("", &[refused]), Protocol::Detect, "not attached");
}

#[test]
fn another_namespaces_route_says_nothing_of_the_shops_pods() {
    let consumer = route("web", "r", "name: carts, namespace: shop", "[{}]");
    assert_eq!(protocol("", &[consumer]), Protocol::Detect);
}

#[test]
fn where_services_contradict_each_other_nothing_is_declared() {
    assert_eq!(protocol("appProtocol: http,", &[second("http")]), Protocol::Http1);
    assert_eq!(protocol("", &[second("http")]), Protocol::Http1);
    assert_eq!(protocol("appProtocol: http,", &[second("tcp")]), Protocol::Detect);
}

#[test]
fn the_pods_own_word_that_a_port_is_opaque_wins() {
    let yaml = SHOP.replace("port: 80,", "port: 80, appProtocol: http,");
    let yaml = yaml.replace(
        "  namespace: shop\n  labels: { pod-template-hash: 5d4f }",
        "  namespace: shop\n  annotations: { minimesh.io/opaque-ports: web }\n  labels: { pod-template-hash: 5d4f }",
    );
    let port = index(&yaml).port("shop", "carts-5d4f-x1", 8080).unwrap();
    assert_eq!(port.protocol, Protocol::Opaque);
}

#[test]
fn the_clusters_policy_holds_where_neither_pod_nor_namespace_says_anything() {
    let strict = Settings { default_policy: DefaultPolicy::AllAuthenticated, ..settings() };
    let policy = |yaml: &str| {
        let mut index = Index::new(strict.clone());
        index.apply(Event::Replace(objects(yaml)));
        index.port("shop", "carts-5d4f-x1", 8080).unwrap().policy
    };
    assert_eq!(policy(SHOP), DefaultPolicy::AllAuthenticated);
    let namespace = "{ name: shop, annotations: { config.linkerd.io/default-inbound-policy: all-unauthenticated } }";
    let opened = SHOP.replace("metadata: { name: shop }", &format!("metadata: {namespace}"));
    assert_eq!(policy(&opened), DefaultPolicy::AllUnauthenticated);
}
