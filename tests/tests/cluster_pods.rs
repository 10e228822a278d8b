//! Single pods and what the mesh makes of them: which are meshed, which are refused, and whether probes still tell the truth.

use minimesh_tests::cluster::{Cluster, Namespace, PATIENCE};
use minimesh_tests::wait;
use serde_json::Value;

#[test]
fn labels_of_namespace_and_pod_say_which_pods_are_meshed() {
    let test = "labels_of_namespace_and_pod_say_which_pods_are_meshed";
    let Some(cluster) = Cluster::with_commands(test, &["install"]) else { return };
    cluster.install_mesh(&[]);
    let mut found = Vec::new();
    for (number, of_namespace) in LABELS.into_iter().enumerate() {
        let namespace = cluster.namespace(&format!("labels-{number}"));
        namespace.label(of_namespace);
        for of_pod in LABELS {
            let made = namespace.would_make(&pod(of_pod, ORDINARY));
            let made = made.unwrap_or_else(|why| panic!("{of_namespace:?} {of_pod:?}: {why}"));
            let meshed = containers(&made);
            found.push((of_namespace, of_pod, meshed == SIDECAR));
            assert!(meshed == SIDECAR || meshed.is_empty(), "{meshed:?}");
        }
    }
    // as docs/injection.md has it
    let (nothing, enabled, disabled) = (None, Some("enabled"), Some("disabled"));
    assert_eq!(
        found,
        [
            (nothing, nothing, false),
            (nothing, enabled, true),
            (nothing, disabled, false),
            (enabled, nothing, true),
            (enabled, enabled, true),
            (enabled, disabled, false),
            (disabled, nothing, false),
            (disabled, enabled, false),
            (disabled, disabled, false),
        ]
    );
}

#[test]
fn pods_that_could_not_work_in_the_mesh_are_refused_in_words_that_help() {
    let test = "pods_that_could_not_work_in_the_mesh_are_refused_in_words_that_help";
    let Some(cluster) = Cluster::with_commands(test, &["install"]) else { return };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("refusals");
    namespace.label(Some("enabled"));
    let refused = |pod: &str| namespace.would_make(pod).expect_err("it is refused");
    let why = refused(&pod(None, "securityContext: {runAsUser: 2102}"));
    assert!(why.contains("2102") && why.contains("runAsUser"), "{why}");
    let why = refused(&pod(None, "ports: [{containerPort: 4143}]"));
    assert!(why.contains("4143"), "{why}");
    cluster.kubectl(&["label", "namespace", namespace.name(), "pod-security.kubernetes.io/enforce=baseline"]);
    let why = refused(&pod(None, ORDINARY));
    assert!(why.contains("pod-security.kubernetes.io/enforce=privileged"), "{why}");
}

#[test]
fn a_pod_with_as_many_annotations_as_there_may_be_is_meshed() {
    let test = "a_pod_with_as_many_annotations_as_there_may_be_is_meshed";
    let Some(cluster) = Cluster::with_commands(test, &["install"]) else { return };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("annotated");
    namespace.label(Some("enabled"));
    // Kubernetes allows 256 KiB of them in all
    let large = format!("metadata: {{annotations: {{example.com/note: {}}}, name: trial", "x".repeat(250 * 1024));
    let made = namespace.would_make(&pod(None, ORDINARY).replace("metadata: {name: trial", &large));
    assert_eq!(containers(&made.expect("it is admitted")), SIDECAR);
}

#[test]
fn on_a_strict_port_probes_of_the_node_pass_and_tell_the_truth() {
    let test = "on_a_strict_port_probes_of_the_node_pass_and_tell_the_truth";
    let Some(cluster) = Cluster::with_commands(test, &["install"]) else { return };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("probes");
    namespace.label(Some("enabled"));
    // the application listens on port 80 and on no other
    let alive = [("http", "httpGet: {path: /health, port: 80}"), ("tcp", "tcpSocket: {port: 80}")];
    let dead = [
        ("http-dead", "httpGet: {path: /health, port: 81}"),
        ("tcp-dead", "tcpSocket: {port: 81}"),
        ("grpc-dead", "grpc: {port: 81}"),
    ];
    for (name, probe) in alive.iter().chain(&dead) {
        namespace.apply(&PROBED.replace("NAME", name).replace("PROBE", probe));
    }
    for (name, _) in alive {
        cluster.wait_for("condition=Ready", &["--namespace", namespace.name(), &format!("pod/{name}")]);
    }
    for (name, _) in dead {
        let selector = format!("involvedObject.name={name},reason=Unhealthy");
        wait::within(PATIENCE, &format!("{name} was probed, and the probe failed"), || {
            let events = namespace.object(&["events", "--field-selector", &selector]);
            let events = events["items"].as_array().cloned().unwrap_or_default();
            let failed = |event: &Value| {
                event["message"].as_str().is_some_and(|message| message.starts_with("Readiness probe failed"))
            };
            events.iter().any(failed).then_some(())
        });
        let pod = namespace.object(&["pod", name]);
        let containers = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let application = containers.iter().find(|one| one["name"] == "application").expect("it has a status");
        assert_eq!((&application["started"], &application["ready"]), (&true.into(), &false.into()), "{name}: {pod:#}");
    }
    // whoever else comes from the node in plaintext is no probe
    let address = namespace.kubectl(&["get", "pod", "http", "--output", "jsonpath={.status.podIP}"]);
    let status = |path: &str| cluster.status_from_node(&format!("http://{address}{path}"));
    assert_eq!((status("/health"), status("/paymentAuth"), status("/health?x=1")), (200, 403, 403));
}

/// What the injector adds.
fn containers(pod: &Value) -> Vec<&str> {
    let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    containers.filter_map(|container| container["name"].as_str()).collect()
}

fn pod(label: Option<&str>, more: &str) -> String {
    let labels = label.map_or_else(|| "{}".to_owned(), |value| format!("{{minimesh.io/inject: {value}}}"));
    POD.replace("LABELS", &labels).replace("MORE", more)
}

trait Trial {
    fn label(&self, inject: Option<&str>);
    fn would_make(&self, pod: &str) -> Result<Value, String>;
}

impl Trial for Namespace<'_> {
    fn label(&self, inject: Option<&str>) {
        // without it no pod is made at all
        self.kubectl(&["wait", "--for=create", "serviceaccount/default", "--timeout=60s"]);
        if let Some(value) = inject {
            self.kubectl(&["label", "namespace", self.name(), &format!("minimesh.io/inject={value}")]);
        }
    }

    /// The pod as it would be, made for nobody: the webhook has no side effects.
    fn would_make(&self, pod: &str) -> Result<Value, String> {
        let made = self.try_piped(pod, &["create", "--dry-run=server", "--output", "json", "-f", "-"])?;
        Ok(serde_json::from_str(&made).expect("JSON"))
    }
}

const LABELS: [Option<&str>; 3] = [None, Some("enabled"), Some("disabled")];
const SIDECAR: [&str; 2] = ["minimesh-redirect", "minimesh-proxy"];
const ORDINARY: &str = "ports: [{containerPort: 80}]";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: trial, labels: LABELS}
spec:
  containers:
    - name: application
      image: minimesh/sock-shop:0.1.0
      MORE
";

const PROBED: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: NAME
  annotations: {minimesh.io/default-inbound-policy: all-authenticated}
spec:
  containers:
    - name: application
      image: minimesh/sock-shop:0.1.0
      command: [minimesh, sock-shop, payment]
      securityContext: {runAsUser: 10001}
      readinessProbe: {PROBE, periodSeconds: 1}
";
