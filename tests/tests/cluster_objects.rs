//! What the control plane tells people of their objects: conditions of routes, Events beside what is not in force or not meshed.

use minimesh_tests::cluster::{Cluster, Namespace, PATIENCE};
use minimesh_tests::wait;
use serde_json::{Value, json};

#[test]
fn routes_say_what_became_of_them_as_soon_as_their_kind_is_served() {
    let test = "routes_say_what_became_of_them_as_soon_as_their_kind_is_served";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    cluster.apply(include_str!("../cluster/httproutes.yaml"));
    cluster.wait_for("condition=Established", &["crd/httproutes.gateway.networking.k8s.io"]);
    let namespace = cluster.namespace("routes");
    namespace.apply(ROUTES);
    let expected = [("good", ("True", "ResolvedRefs")), ("lost", ("False", "BackendNotFound"))];
    for (name, resolved) in expected {
        let parent = namespace.condition(name, "ResolvedRefs", resolved);
        let route = namespace.object(&["httproute", name]);
        assert_eq!(parent["parentRef"], route["spec"]["parentRefs"][0], "{parent:#}");
        for condition in parent["conditions"].as_array().expect("a list") {
            assert_eq!(condition["observedGeneration"], route["metadata"]["generation"], "{condition:#}");
        }
        namespace.condition(name, "Accepted", ("True", "Accepted"));
    }
    // what is mended is said to be good
    let mended = r#"{"spec":{"rules":[{"backendRefs":[{"name":"web","port":80}]}]}}"#;
    namespace.kubectl(&["patch", "httproute", "lost", "--type", "merge", "--patch", mended]);
    namespace.condition("lost", "ResolvedRefs", ("True", "ResolvedRefs"));
    assert_eq!(cluster.refusals(), [""; 0]);
    drop(namespace);
    cluster.kubectl(&["delete", "crd", "httproutes.gateway.networking.k8s.io"]);
}

#[test]
fn pods_that_are_not_as_their_owner_believes_have_an_event_that_says_so() {
    let test = "pods_that_are_not_as_their_owner_believes_have_an_event_that_says_so";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("told");
    namespace.apply(DEPLOYMENT);
    namespace.rolled_out();
    let before = namespace.pod();
    cluster.kubectl(&["label", "namespace", namespace.name(), "minimesh.io/inject=enabled"]);
    namespace.event(&before, "NotMeshed");
    namespace.kubectl(&["rollout", "restart", "deployment", "told"]);
    namespace.rolled_out();
    namespace.kubectl(&["wait", "--for=delete", &format!("pod/{before}"), "--timeout=60s"]);
    let after = namespace.pod();
    namespace.kubectl(&["annotate", "pod", &after, "minimesh.io/default-inbound-policy=den"]);
    namespace.event(&after, "NotInForce");
    let told = namespace.events(&after);
    assert!(told.iter().all(|event| event["reason"] != "NotMeshed"), "{told:#?}");
    assert_eq!(cluster.refusals(), [""; 0]);
}

trait Told {
    /// What our controller says of a route to its only parent, once the condition is as expected.
    fn condition(&self, route: &str, kind: &str, expected: (&str, &str)) -> Value;
    /// The only pod.
    fn pod(&self) -> String;
    /// Events beside a pod, as `kubectl describe` finds them.
    fn events(&self, pod: &str) -> Vec<Value>;
    /// Waits for an Event of that reason beside the pod.
    fn event(&self, pod: &str, reason: &str);
}

impl Told for Namespace<'_> {
    fn condition(&self, route: &str, kind: &str, expected: (&str, &str)) -> Value {
        let mut last = Value::Null;
        let what = format!("{kind} of {route} is {expected:?}");
        let found = wait::within(PATIENCE, &what, || {
            last = self.object(&["httproute", route])["status"]["parents"].clone();
            let parents = last.as_array()?;
            let ours = parents.iter().find(|parent| parent["controllerName"] == "minimesh.io/control-plane")?;
            let condition = ours["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?;
            (json!([condition["status"], condition["reason"]]) == json!([expected.0, expected.1])).then(|| ours.clone())
        });
        println!("{what}");
        found
    }

    fn pod(&self) -> String {
        self.kubectl(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"])
    }

    fn events(&self, pod: &str) -> Vec<Value> {
        let uid = self.kubectl(&["get", "pod", pod, "--output", "jsonpath={.metadata.uid}"]);
        let events = self.object(&["events", "--field-selector", &format!("involvedObject.uid={uid}")]);
        events["items"].as_array().cloned().unwrap_or_default()
    }

    fn event(&self, pod: &str, reason: &str) {
        let event = wait::within(PATIENCE, &format!("{pod} is told {reason}"), || {
            self.events(pod).into_iter().find(|event| event["reason"] == reason)
        });
        assert_eq!(event["type"], "Warning", "{event:#}");
        println!("{reason}: {}", event["message"]);
    }
}

const ROUTES: &str = r#"
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {ports: [{port: 80}]}
  - apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: good}
    spec:
      parentRefs: [{group: "", kind: Service, name: web, port: 80}]
      rules: [{backendRefs: [{name: web, port: 80}]}]
  - apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: lost}
    spec:
      parentRefs: [{group: "", kind: Service, name: web, port: 80}]
      rules: [{backendRefs: [{name: nowhere, port: 80}]}]
"#;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: told}
spec:
  selector: {matchLabels: {app: told}}
  template:
    metadata: {labels: {app: told}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: application
          image: minimesh/sock-shop:0.1.0
          command: [minimesh, sock-shop, payment]
          # the image's own is the sidecar's
          securityContext: {runAsUser: 10001}
"#;
