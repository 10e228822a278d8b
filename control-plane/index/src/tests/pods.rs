//! `Index::{pod, pod_by_ip, port, workload}`.

use minimesh_api::model::{DefaultPolicy, PortPolicy, Protocol, Workload};

use super::*;
use crate::PodInfo;

/// A pod with these lines in its metadata.
fn pod(metadata: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: shop\n{metadata}\nspec:\n  containers: \
         [{{ name: web, ports: [{{ name: db, containerPort: 3306 }}] }}]\nstatus: {{ podIP: 10.42.0.7 }}\n"
    )
}

fn workload_of(metadata: &str) -> (String, String) {
    let workload = index(&pod(metadata)).pod("shop", "web").unwrap().workload;
    (workload.kind.to_string(), workload.name.to_string())
}

#[test]
fn workload_is_the_deployment_or_the_direct_owner_or_the_pod() {
    let own = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    let replica_set = "  ownerReferences: [{ kind: ReplicaSet, name: web-abc12 }]";
    assert_eq!(workload_of(""), own("Pod", "web"));
    assert_eq!(workload_of(replica_set), own("ReplicaSet", "web-abc12"));
    assert_eq!(
        workload_of(&format!("  labels: {{ pod-template-hash: abc12 }}\n{replica_set}")),
        own("Deployment", "web")
    );
    assert_eq!(
        workload_of(&format!("  labels: {{ pod-template-hash: other }}\n{replica_set}")),
        own("ReplicaSet", "web-abc12")
    );
    let two = "  ownerReferences: [{ kind: Thing, name: a }, { kind: StatefulSet, name: db, controller: true }]";
    assert_eq!(workload_of(two), own("StatefulSet", "db"));
}

/// Names of the pods that were missed, of three with these labels (of `inject`) in namespaces with these: the shop's, Kubernetes' own,
/// the mesh's own.
fn missed(of_namespace: &str, of_pod: &str, more: &str) -> Vec<String> {
    let label =
        |word: &str| if word.is_empty() { "{}".to_owned() } else { format!("{{ minimesh.io/inject: {word} }}") };
    let objects = |namespace: &str| {
        let labels = label(of_namespace);
        let pod = pod(&format!("  labels: {}{more}", label(of_pod))).replace("shop", namespace);
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace}, labels: {labels} }}\n---\n{pod}")
    };
    let index = index(&["kube-system", "minimesh", "shop"].map(objects).join("---\n"));
    index.missed_pods().iter().map(ToString::to_string).collect()
}

#[test]
fn a_pod_without_the_sidecar_that_was_asked_for_is_missed() {
    let (shop, system) = ("Pod shop/web", "Pod kube-system/web");
    for (of_namespace, of_pod, expected) in [
        ("enabled", "", vec![shop]),
        ("enabled", "enabled", vec![shop]),
        ("enabled", "disabled", vec![]),
        ("enabled", "yes", vec![shop]),
        ("", "enabled", vec![system, shop]),
        ("", "", vec![]),
        ("", "disabled", vec![]),
        ("disabled", "enabled", vec![]),
        ("disabled", "", vec![]),
    ] {
        assert_eq!(missed(of_namespace, of_pod, ""), expected, "{of_namespace} {of_pod}");
    }
}

#[test]
fn who_ends_shares_the_nodes_network_or_is_meshed_was_not_missed() {
    let ends = "\n  deletionTimestamp: 2026-11-22T10:00:00Z";
    assert_eq!(missed("enabled", "", ends), Vec::<String>::new());
    let labelled = pod("  labels: { minimesh.io/inject: enabled }");
    let count = |pod: &str| index(pod).missed_pods().len();
    assert_eq!(count(&labelled), 1);
    assert_eq!(count(&labelled.replace("spec:\n", "spec:\n  hostNetwork: true\n")), 0);
    assert_eq!(count(&labelled.replace("spec:\n", "spec:\n  initContainers: [{ name: minimesh-proxy }]\n")), 0);
    assert_eq!(count(&labelled.replace("podIP: 10.42.0.7", "phase: Succeeded")), 0);
}

#[test]
fn pod_tells_all_that_certificates_need() {
    let hash = "0a".repeat(32);
    let index = index(&pod(&format!("  annotations: {{ minimesh.io/token-sha256: \"{hash}\" }}")));
    let expected = PodInfo {
        workload: WorkloadRef { namespace: "shop".into(), kind: "Pod".into(), name: "web".into(), pod: "web".into() },
        service_account: "default".into(),
        identity: "spiffe://cluster.local/ns/shop/sa/default".into(),
        uid: None,
        ips: vec!["10.42.0.7".parse().unwrap()],
        host_network: false,
        meshed: false,
        draining: false,
        token_sha256: Some([10; 32]),
    };
    assert_eq!(index.pod("shop", "web"), Some(expected.clone()));
    assert_eq!(index.pod_by_ip("10.42.0.7".parse().unwrap()), Some(expected));
    assert_eq!(index.pod("shop", "other"), None);
    assert_eq!(index.pod_by_ip("10.42.0.8".parse().unwrap()), None);
}

#[test]
fn address_belongs_to_the_pod_that_is_not_on_its_way_out() {
    let old = pod("  deletionTimestamp: 2026-01-01T00:00:00Z\n  creationTimestamp: 2026-02-01T00:00:00Z");
    let new = pod("  creationTimestamp: 2026-01-01T00:00:00Z").replace("name: web\n", "name: heir\n");
    let finished = pod("").replace("name: web\n", "name: job\n").replace("podIP:", "phase: Failed, podIP:");
    let index = index(&format!("{old}---\n{new}---\n{finished}"));
    assert_eq!(index.pod_by_ip("10.42.0.7".parse().unwrap()).unwrap().workload.pod, "heir".into());
}

#[test]
fn inbound_policy_is_the_pods_then_the_namespaces_then_permissive() {
    let policy = |namespace: &str, annotations: &str| {
        let namespace = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: shop, annotations: {{ {namespace} }} }}\n---\n"
        );
        index(&format!("{namespace}{}", pod(&format!("  annotations: {{ {annotations} }}")))).port("shop", "web", 3306)
    };
    let expected = |protocol, policy| Some(PortPolicy { protocol, policy });
    assert_eq!(policy("", ""), expected(Protocol::Detect, DefaultPolicy::AllUnauthenticated));
    let strict = "minimesh.io/default-inbound-policy: all-authenticated";
    assert_eq!(policy(strict, ""), expected(Protocol::Detect, DefaultPolicy::AllAuthenticated));
    let opaque = "config.linkerd.io/default-inbound-policy: deny, minimesh.io/opaque-ports: db";
    assert_eq!(policy(strict, opaque), expected(Protocol::Opaque, DefaultPolicy::Deny));
    let port = "minimesh.io/port-inbound-policies: 'db=cluster-authenticated'";
    assert_eq!(policy(strict, port), expected(Protocol::Detect, DefaultPolicy::ClusterAuthenticated));
}

#[test]
fn workload_of_an_unknown_pod_is_unknown() {
    let index = index(&pod(""));
    let expected = Workload {
        workload: index.pod("shop", "web").unwrap().workload,
        draining: false,
        cluster_networks: settings().cluster_networks,
        node_ips: Vec::new(),
        probes: Vec::new(),
        grpc_probes: Vec::new(),
    };
    assert_eq!(index.workload("shop", "web"), Some(expected));
    assert_eq!(index.workload("shop", "gone"), None);
    assert_eq!(index.port("shop", "gone", 80), None);
}

#[test]
fn a_pod_is_told_every_address_of_its_node_once() {
    let node_ips = |status: &str| {
        let on_node = pod("").replace("podIP:", &format!("{status}, podIP:"));
        let ips = index(&on_node).workload("shop", "web").unwrap().node_ips;
        ips.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(node_ips("hostIP: 192.0.2.1"), ["192.0.2.1"]);
    let both = "hostIP: 192.0.2.1, hostIPs: [{ ip: '::ffff:192.0.2.1' }, { ip: '2001:db8::1' }]";
    assert_eq!(node_ips(both), ["192.0.2.1", "2001:db8::1"]);
}

#[test]
fn a_pod_is_told_which_plain_requests_its_own_spec_has_the_node_make() {
    let probed = pod("").replace(
        "containerPort: 3306 }]",
        "containerPort: 3306 }], livenessProbe: { httpGet: { port: db, path: 'live?full' } }, readinessProbe: { httpGet: \
         { port: 81 } }, startupProbe: { httpGet: { port: 82, scheme: HTTPS } }",
    );
    let probes = index(&probed).workload("shop", "web").unwrap().probes;
    let told: Vec<_> = probes.iter().map(|probe| (probe.port, &*probe.path, &*probe.query)).collect();
    assert_eq!(told, [(81, "/", ""), (3306, "/live", "full")]);
}
