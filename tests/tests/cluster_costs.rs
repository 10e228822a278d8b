//! What the mesh costs in a cluster: the memory of all its parts for the shop, under load and idle; and how soon a change reaches a
//! sidecar. Prints the tables that benches/RESULTS.md keeps.

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
    let mut taken: Vec<f64> = (0..CHANGES)
        .map(|change| {
            let address = format!("10.42.250.{change}");
            // none is held back because of the one before
            let begun = Instant::now();
            wait::within(PATIENCE, "the next change is due", || (begun.elapsed() >= APART).then_some(()));
            let (before, begun) = (known(), Instant::now());
            cluster.patch(
                "/apis/discovery.k8s.io/v1/namespaces/changes/endpointslices/moving",
                &format!(r#"{{"endpoints":[{{"addresses":["{address}"]}}]}}"#),
            );
            wait::within(PATIENCE, &format!("the sidecar knows {address}"), || (known() != before).then_some(()));
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    let [half, most, all] = [CHANGES / 2, CHANGES * 99 / 100, CHANGES - 1].map(|rank| taken[rank]);
    println!("ms from a change's request to the API server to the sidecar's knowledge, {CHANGES} changes:");
    println!("p50 {half:.0}, p99 {most:.0}, worst {all:.0} (request and looking included)");
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
          # the image's own is the sidecar's
          securityContext: {runAsUser: 10001}
"#;

const IDLE: Duration = Duration::from_secs(60);
