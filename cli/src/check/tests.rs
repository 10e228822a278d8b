//! Each check fails by its own fault, and by no other one's.

use serde_json::{Value, json};

use super::{CHECKS, Facts, Finding};

/// A cluster in which everything is good.
fn good() -> Facts {
    let deployment = |name: &str| {
        json!({
            "metadata": { "name": name, "labels": { "app.kubernetes.io/version": "1.2.3" } },
            "spec": {
                "replicas": 1,
                "template": { "spec": { "containers": [{ "env": [{ "name": "MINIMESH_CLUSTER_NETWORKS", "value": "10.42.0.0/16,10.43.0.0/16" }] }] } },
            },
            "status": { "availableReplicas": 1 },
        })
    };
    let entry = |name: &str| json!({ "name": name, "clientConfig": { "caBundle": "eA==" } });
    let node = json!({
        "metadata": { "name": "n1" },
        "spec": { "podCIDRs": ["10.42.0.0/24"] },
        "status": { "nodeInfo": { "operatingSystem": "linux", "kernelVersion": "6.1.0-18-amd64" } },
    });
    let meshed = json!({
        "metadata": { "name": "web-1", "namespace": "shop", "annotations": { "minimesh.io/proxy-version": "1.2.3" } },
        "spec": { "containers": [{ "name": "web" }], "initContainers": [{ "name": "minimesh-redirect" }, { "name": "minimesh-proxy" }] },
        "status": { "phase": "Running", "initContainerStatuses": [{ "name": "minimesh-proxy", "started": true }] },
    });
    let host = json!({
        "metadata": { "name": "exporter", "namespace": "shop" },
        "spec": { "hostNetwork": true, "containers": [{ "name": "exporter" }] },
        "status": { "phase": "Running" },
    });
    Facts {
        program: "1.2.3".into(),
        mesh_namespace: "minimesh".into(),
        version: json!({ "major": "1", "minor": "30+", "gitVersion": "v1.30.4+k3s1" }),
        nodes: vec![node],
        namespaces: vec![
            json!({ "metadata": { "name": "minimesh", "labels": { "minimesh.io/inject": "disabled" } } }),
            json!({ "metadata": { "name": "shop", "labels": { "minimesh.io/inject": "enabled" } } }),
        ],
        pods: vec![meshed, host],
        deployments: vec![deployment("minimesh-control-plane"), deployment("minimesh-injector")],
        webhooks: vec![json!({
            "metadata": { "name": "minimesh-injector" },
            "webhooks": [entry("namespace.inject.minimesh.io"), entry("pod.inject.minimesh.io")],
        })],
        trusting: vec!["shop".into()],
        denied: vec![],
    }
}

/// The names of the checks that are not good, with what they say.
fn failing(facts: &Facts) -> Vec<(&'static str, String)> {
    let installed = CHECKS.iter().filter(|check| check.name != "not-installed");
    let found = installed.map(|check| (check.name, (check.judge)(facts)));
    found
        .filter_map(|(name, finding)| match finding {
            Finding::Good => None,
            Finding::Odd(problem) | Finding::Wrong(problem) => {
                Some((name, format!("{}; {}", problem.problem, problem.fix)))
            }
        })
        .collect()
}

fn only(name: &str, said: &str, spoil: impl Fn(&mut Facts)) {
    let mut facts = good();
    spoil(&mut facts);
    let failing = failing(&facts);
    assert!(
        matches!(failing.as_slice(), [(failed, text)] if *failed == name && text.contains(said)),
        "{name}: {failing:#?}"
    );
}

#[test]
fn a_good_cluster_passes() {
    assert_eq!(failing(&good()), []);
}

#[test]
fn names_are_unique_and_everything_is_explained() {
    let names: std::collections::BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
    assert!(CHECKS.iter().all(|check| !check.what.is_empty() && check.why.len() > 20));
}

#[test]
fn the_cluster() {
    only("kubernetes-version", "v1.29.1", |facts| {
        facts.version = json!({ "major": "1", "minor": "29", "gitVersion": "v1.29.1" })
    });
    only("linux-nodes", "n1", |facts| facts.nodes[0]["status"]["nodeInfo"]["kernelVersion"] = "4.4.0".into());
    only("linux-nodes", "no node runs Linux", |facts| facts.nodes.clear());
    only("other-meshes", "linkerd-proxy-injector-webhook-config", |facts| {
        facts.webhooks.push(json!({ "metadata": { "name": "linkerd-proxy-injector-webhook-config" } }));
    });
}

#[test]
fn before_an_installation() {
    only("permissions", "clusterroles", |facts| facts.denied.push("clusterroles".into()));
    let check = CHECKS.iter().find(|check| check.name == "not-installed").expect("the check");
    assert!(matches!((check.judge)(&good()), Finding::Wrong(problem) if problem.fix.contains("upgrade")));
    let empty = Facts { deployments: vec![], ..good() };
    assert_eq!((check.judge)(&empty), Finding::Good);
}

#[test]
fn the_mesh_itself() {
    only("control-plane", "no Deployment", |facts| drop(facts.deployments.remove(0)));
    only("injector", "0 of 1 are ready (pod minimesh-injector-x: ImagePullBackOff)", |facts| {
        facts.deployments[1]["status"] = Value::Null;
        facts.pods.push(json!({
            "metadata": { "name": "minimesh-injector-x", "namespace": "minimesh", "labels": { "app.kubernetes.io/name": "minimesh-injector" } },
            "spec": { "containers": [{ "name": "minimesh-injector" }] },
            "status": { "containerStatuses": [{ "state": { "waiting": { "reason": "ImagePullBackOff" } } }] },
        }));
    });
    only("webhook", "there is no webhook configuration", |facts| facts.webhooks.clear());
    only("webhook", "pod.inject.minimesh.io", |facts| {
        facts.webhooks[0]["webhooks"].as_array_mut().expect("a list").remove(0);
    });
    only("webhook-authority", "caBundle", |facts| {
        facts.webhooks[0]["webhooks"][1]["clientConfig"].as_object_mut().expect("a map").remove("caBundle");
    });
    only("version", "the cluster has 1.2.2", |facts| {
        facts.deployments[0]["metadata"]["labels"]["app.kubernetes.io/version"] = "1.2.2".into();
    });
    only("cluster-networks", "10.244.1.0/24", |facts| facts.nodes[0]["spec"]["podCIDRs"] = json!(["10.244.1.0/24"]));
}

#[test]
fn namespaces_and_pods() {
    only("pod-security", "kubectl label namespace shop", |facts| {
        facts.namespaces[1]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "baseline".into();
    });
    only("labels", "namespace old", |facts| {
        facts
            .namespaces
            .push(json!({ "metadata": { "name": "old", "annotations": { "linkerd.io/inject": "enabled" } } }));
    });
    only("trust", "minimesh-trust in shop", |facts| facts.trusting.clear());
    only("meshed", "shop/bare", |facts| {
        facts.pods.push(json!({
            "metadata": { "name": "bare", "namespace": "shop" },
            "spec": { "containers": [{ "name": "web" }] },
            "status": { "phase": "Running" },
        }));
    });
    only("sidecars-ready", "kubectl logs -n shop web-1 -c minimesh-proxy", |facts| {
        facts.pods[0]["status"]["initContainerStatuses"][0]["started"] = false.into();
    });
    only("sidecar-versions", "shop/web-1", |facts| {
        facts.pods[0]["metadata"]["annotations"]["minimesh.io/proxy-version"] = "1.0.0".into();
    });
}
