//! What the mesh costs in a cluster: the memory of all its parts for the shop, under load and idle; what it adds to a pod's start; and
//! how soon a change reaches the sidecars. Prints the tables that benches/RESULTS.md keeps.

use std::process::Command;
use std::time::{Duration, Instant};

use minimesh_tests::apps::OpenLoopPlan;
use minimesh_tests::cluster::{Cluster, Memory, Namespace, PATIENCE};
use minimesh_tests::wait;

#[test]
fn the_whole_mesh_for_the_shop_keeps_within_its_memory() {
    let test = "the_whole_mesh_for_the_shop_keeps_within_its_memory";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let shop = cluster.namespace("sock-shop");
    cluster.kubectl(&["label", "namespace", "sock-shop", "minimesh.io/inject=enabled"]);
    let page = shop.open_shop();
    let paths = ["/", "/catalogue?size=5", "/catalogue/size", "/tags"].map(str::to_owned).to_vec();
    let (load, begun, wanted) =
        (cluster.load(&OpenLoopPlan { target: page, paths, per_second: 20 }), Instant::now(), seconds());
    while begun.elapsed() < wanted {
        cluster.visit(page);
    }
    let busy = cluster.mesh_memory();
    let result = load.finish();
    println!("after {:.0} s of load ({} clients and the shop's own visitor):", result.seconds, result.succeeded);
    within_what_is_granted(&busy);
    assert_eq!(result.failed, 0, "{result:#?}");

    shop.kubectl(&["scale", "deployment", "visitor", "--replicas=0"]);
    // sidecars let go of buffers and of code when they had nothing to do for half a minute
    let begun = Instant::now();
    wait::within(PATIENCE, "a minute has passed", || (begun.elapsed() >= IDLE).then_some(()));
    println!("idle for a minute:");
    within_what_is_granted(&cluster.mesh_memory());
}

fn within_what_is_granted(memory: &Memory) {
    println!("{}", memory.table());
    assert!(memory.count("proxy") >= 14, "{memory:?}");
    assert!(memory.most("control-plane") <= 40 * 1024, "{memory:?}");
    assert!(memory.most("injector") <= 20 * 1024, "{memory:?}");
    assert!(memory.sum() <= 160 * 1024, "{memory:?}");
}

/// How long the load lasts: `MINIMESH_CLUSTER_LOAD_SECONDS`.
#[allow(clippy::disallowed_methods)] // a test has no command line of its own
fn seconds() -> Duration {
    let said = std::env::var("MINIMESH_CLUSTER_LOAD_SECONDS").ok();
    Duration::from_secs(said.and_then(|said| said.parse().ok()).unwrap_or(120))
}

#[test]
fn a_pod_starts_as_late_as_its_kubelet_needs_for_two_more_containers() {
    let test = "a_pod_starts_as_late_as_its_kubelet_needs_for_two_more_containers";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("starts");
    // the first of a namespace waits for the namespace's roots and account, and for nothing later
    started(&namespace, "first", &[ENABLED]);
    let kinds: [(&str, &[&str]); 2] = [("plain", &[]), ("meshed", &[ENABLED])];
    let mut taken = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for ((kind, labels), taken) in kinds.iter().zip(&mut taken) {
            taken.push(started(&namespace, &format!("{kind}-{round}"), labels));
        }
    }
    let [plain, meshed] = taken.map(median);
    println!("seconds from `kubectl apply` to Ready, medians of {ROUNDS}: plain {plain:.2}, meshed {meshed:.2}");
    println!("added: {:.2}", meshed - plain);
    // a kubelet looks once a second whether an init container has ended, and whether one that stays is ready
    assert!(meshed - plain <= 2.0 * KUBELET_LOOKS + 0.5, "{plain} {meshed}");
}

/// Seconds until a new pod is ready; it is gone afterwards.
fn started(namespace: &Namespace<'_>, name: &str, labels: &[&str]) -> f64 {
    let begun = Instant::now();
    namespace.apply(&POD.replace("NAME", name).replace("LABELS", &labels.join(", ")));
    namespace.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
    let taken = begun.elapsed().as_secs_f64();
    namespace.kubectl(&["delete", "pod", name, "--grace-period=0", "--force", "--wait"]);
    taken
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn a_change_reaches_a_sidecar_within_half_a_second() {
    let test = "a_change_reaches_a_sidecar_within_half_a_second";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("changes");
    namespace.apply(MOVING);
    cluster.wait_for("condition=Ready", &["--namespace", namespace.name(), "pod/watcher"]);
    let uid = namespace.kubectl(&["get", "pod", "watcher", "--output", "jsonpath={.metadata.uid}"]);
    let sidecar = cluster.sidecar(&uid).expect("it has one").to_string();
    let dump = || {
        let mut curl = Command::new("nsenter");
        curl.args(["--target", &sidecar, "--net", "curl", "--silent", "http://127.0.0.1:4192/dump"]);
        String::from_utf8(curl.output().expect("nsenter").stdout).expect("JSON")
    };
    let mut taken: Vec<f64> = (0..CHANGES)
        .map(|change| {
            let address = format!("10.42.250.{change}");
            // none is held back because of the one before
            let begun = Instant::now();
            wait::within(PATIENCE, "the next change is due", || (begun.elapsed() >= APART).then_some(()));
            let begun = Instant::now();
            cluster.patch(
                "/apis/discovery.k8s.io/v1/namespaces/changes/endpointslices/moving",
                &format!(r#"{{"endpoints":[{{"addresses":["{address}"]}}]}}"#),
            );
            wait::within(PATIENCE, &format!("the sidecar knows {address}"), || {
                dump().contains(&format!("\"{address}:")).then_some(())
            });
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    let [half, most, all] = [CHANGES / 2, CHANGES * 99 / 100, CHANGES - 1].map(|rank| taken[rank]);
    println!("ms from a change's request to the API server to the sidecar's knowledge, {CHANGES} changes:");
    println!("p50 {half:.0}, p99 {most:.0}, worst {all:.0} (request and looking included)");
    assert!(most < 500.0, "{taken:?}");
}

/// Fewer than a network has addresses.
const CHANGES: usize = 100;
const APART: Duration = Duration::from_millis(300);

const MOVING: &str = r#"
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Service
    metadata: {name: moving}
    spec: {ports: [{port: 80}]}
  - apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: moving, labels: {kubernetes.io/service-name: moving}}
    addressType: IPv4
    ports: [{port: 80}]
    endpoints: [{addresses: [10.42.251.1]}]
  - apiVersion: v1
    kind: Pod
    metadata: {name: watcher, labels: {minimesh.io/inject: enabled}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: application
          image: minimesh/sock-shop:0.1.0
          # asks for it again and again, and so its sidecar follows it
          command: [minimesh, sock-shop, load, --target, "moving:80", --rate, "0.2"]
"#;

const ENABLED: &str = "minimesh.io/inject: enabled";
const ROUNDS: usize = 11;
/// Seconds: its PLEG's relist, and a startup probe's period.
const KUBELET_LOOKS: f64 = 1.0;
const IDLE: Duration = Duration::from_secs(60);

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {LABELS}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: application
      image: minimesh/sock-shop:0.1.0
      command: [minimesh, sock-shop, payment]
";
