//! What the mesh costs in a cluster: the memory of all its parts for the shop, under load and idle; how often an idle sidecar wakes;
//! what a pod's start takes; and how soon a change reaches a sidecar. Prints the tables that benches/RESULTS.md keeps.

use std::process::Command;
use std::time::{Duration, Instant};

use minimesh_tests::apps::OpenLoopPlan;
use minimesh_tests::cluster::{Cluster, Memory, PATIENCE};
use minimesh_tests::wait;
use serde_json::Value;

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
    pass(IDLE);
    println!("idle for a minute:");
    within_what_is_granted(&cluster.mesh_memory());
    let (before, begun) = (cluster.wake_ups(), Instant::now());
    pass(IDLE);
    let (after, seconds) = (cluster.wake_ups(), begun.elapsed().as_secs_f64());
    let woke = |(pid, after): (&u32, &u64)| before.get(pid).map(|before| (after - before) as f64 / seconds);
    let mut rates: Vec<f64> = after.iter().filter_map(woke).collect();
    rates.sort_by(f64::total_cmp);
    let (half, most) = (rates[rates.len() / 2], rates[rates.len() - 1]);
    println!(
        "wake-ups a second of {} idle sidecars, probes of the kubelet included: p50 {half:.1}, most {most:.1}",
        rates.len()
    );
}

fn pass(time: Duration) {
    let begun = Instant::now();
    wait::within(PATIENCE, "time passes", || (begun.elapsed() >= time).then_some(()));
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
fn every_change_reaches_a_sidecar() {
    let test = "every_change_reaches_a_sidecar";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("changes");
    namespace.apply(MOVING);
    cluster.wait_for("condition=Ready", &["--namespace", namespace.name(), "pod/watcher"]);
    let uid = namespace.kubectl(&["get", "pod", "watcher", "--output", "jsonpath={.metadata.uid}"]);
    let sidecar = cluster.sidecar(&uid).expect("it has one").to_string();
    // a sidecar knows a version of what it follows, which is a hash of the content
    let known = || {
        let mut curl = Command::new("nsenter");
        curl.args(["--target", &sidecar, "--net", "curl", "--silent", "http://127.0.0.1:4192/dump"]);
        let said = curl.output().expect("nsenter").stdout;
        let dump: Value = serde_json::from_slice(&said).expect("JSON");
        dump["resources"]["endpoints changes/moving:80"].as_str().map(str::to_owned)
    };
    wait::within(PATIENCE, "the sidecar follows the Service", &known);
    let taken: Vec<(f64, f64)> = (0..CHANGES)
        .map(|change| {
            let address = format!("10.42.250.{change}");
            // none is held back because of the one before
            pass(APART);
            let (before, begun) = (known(), Instant::now());
            cluster.patch(
                "/apis/discovery.k8s.io/v1/namespaces/changes/endpointslices/moving",
                &format!(r#"{{"endpoints":[{{"addresses":["{address}"]}}]}}"#),
            );
            let asked = begun.elapsed().as_secs_f64() * 1e3;
            wait::within(PATIENCE, &format!("the sidecar knows {address}"), || (known() != before).then_some(()));
            (asked, begun.elapsed().as_secs_f64() * 1e3 - asked)
        })
        .collect();
    println!("ms of {CHANGES} changes:");
    percentiles("the request, until the API server has answered", taken.iter().map(|(asked, _)| *asked));
    percentiles("from that answer to the sidecar's knowledge, looking included", taken.iter().map(|(_, after)| *after));
    let look = || {
        let begun = Instant::now();
        known();
        begun.elapsed().as_secs_f64() * 1e3
    };
    percentiles("looking once, for comparison", (0..CHANGES).map(|_| look()));
}

fn percentiles(what: &str, taken: impl Iterator<Item = f64>) {
    let mut taken: Vec<f64> = taken.collect();
    taken.sort_by(f64::total_cmp);
    // of a hundred, the 99th
    let [half, most, all] = [CHANGES / 2, CHANGES * 99 / 100, CHANGES].map(|rank| taken[rank - 1]);
    println!("p50 {half:.0}, p99 {most:.0}, worst {all:.0}: {what}");
}

#[test]
fn a_sidecar_starts_about_as_fast_as_containers_that_do_nothing() {
    let test = "a_sidecar_starts_about_as_fast_as_containers_that_do_nothing";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("starts");
    let start = |label: &str, more: &str| {
        let begun = Instant::now();
        namespace.apply(&STARTED.replace("LABEL", label).replace("MORE", more));
        cluster.wait_for("condition=Ready", &["--namespace", namespace.name(), "pod/started"]);
        let taken = begun.elapsed().as_secs_f64();
        namespace.kubectl(&["delete", "pod", "started", "--wait"]);
        taken
    };
    // the first one waits for the public roots to come to its namespace
    start("enabled", "");
    let kinds =
        [("alone", "disabled", ""), ("beside two that do nothing", "disabled", IDLERS), ("meshed", "enabled", "")];
    let mut taken = kinds.map(|_| Vec::new());
    for _ in 0..STARTS {
        for ((_, label, more), taken) in kinds.iter().zip(&mut taken) {
            taken.push(start(label, more));
        }
    }
    println!("seconds from kubectl apply to a Ready pod, of {STARTS} each:");
    for ((kind, ..), taken) in kinds.iter().zip(&mut taken) {
        taken.sort_by(f64::total_cmp);
        println!("{kind:<28} p50 {:.2}, {:.2} to {:.2}", taken[STARTS / 2], taken[0], taken[STARTS - 1]);
    }
}

const STARTS: usize = 9;
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
          # the image's own is the sidecar's
          securityContext: {runAsUser: 10001}
"#;

const IDLE: Duration = Duration::from_secs(60);

const STARTED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: started, labels: {minimesh.io/inject: LABEL}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: application
      image: minimesh/sock-shop:0.1.0
      command: [minimesh, sock-shop, payment, --abrupt]
      # the image's own is the sidecar's
      securityContext: {runAsUser: 10001}
MORE
";

/// What the kubelet has to do for a sidecar, and nothing of the mesh.
const IDLERS: &str = "
  initContainers:
    - name: ends
      image: minimesh/sock-shop:0.1.0
      command: [minimesh, version]
      securityContext: {runAsUser: 10001}
    - name: stays
      image: minimesh/sock-shop:0.1.0
      command: [minimesh, sock-shop, payment, --abrupt, --port, \"8080\"]
      restartPolicy: Always
      startupProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1, failureThreshold: 120}
      securityContext: {runAsUser: 10001}
";
