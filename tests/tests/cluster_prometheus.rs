//! Golden metrics in a real Prometheus, scraped as docs/prometheus.md says, and compared with what the shop's services counted.

use std::collections::BTreeMap;

use minimesh_tests::cluster::{Cluster, Namespace, PATIENCE};
use minimesh_tests::wait;
use serde_json::{Value, json};

#[test]
fn golden_metrics_are_what_the_services_counted() {
    let test = "golden_metrics_are_what_the_services_counted";
    let cluster = Cluster::with_commands(test, &["install"]);
    let Some(cluster) = cluster.filter(|cluster| cluster.has_time(test) && cluster.has_images(test, &["prometheus"]))
    else {
        return;
    };
    cluster.install_mesh(&[]);
    let monitoring = cluster.namespace("monitoring");
    monitoring.apply(&manifests());
    monitoring.rolled_out();
    let shop = cluster.namespace("sock-shop");
    cluster.kubectl(&["label", "namespace", "sock-shop", "minimesh.io/inject=enabled"]);
    let page = shop.open_shop();
    discover(&cluster, &monitoring);
    cluster.visit(page);
    every_edge_has_its_signals(&monitoring);

    // with nobody in the shop, the counts stand still
    shop.kubectl(&["scale", "deployment", "visitor", "--replicas=0"]);
    wait::within(PATIENCE, "the visitor is gone", || {
        let pods = shop.kubectl(&["get", "pods", "--selector", "name=visitor", "--output", "name"]);
        pods.is_empty().then_some(())
    });
    discover(&cluster, &monitoring);
    for service in ["carts", "catalogue", "orders", "payment", "shipping", "user"] {
        // only peers in the mesh are customers here: probes and scrapes come in plaintext, and are not counted by the services
        let inbound = format!(r#"sum(request_total{{direction="inbound",deployment="{service}",tls="true"}})"#);
        let outbound = format!(r#"sum(request_total{{direction="outbound",dst_deployment="{service}"}})"#);
        let own = format!(r#"sum(http_requests_total{{service="{service}"}})"#);
        let count = wait::within(PATIENCE, &format!("{service}: both proxies have counted what it counted"), || {
            let [inbound, outbound, own] = [&inbound, &outbound, &own].map(|query| number(&monitoring, query));
            println!("{service}: inbound {inbound:?}, outbound {outbound:?}, itself {own:?}");
            (own.is_some_and(|own| own > 0.0) && inbound == own && outbound == own).then_some(own)
        });
        println!("{service}: {count:?} requests, counted by itself, its proxy and its clients' proxies");
    }
}

/// What docs/prometheus.md asks for each signal.
fn signals() -> Vec<(&'static str, &'static str)> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| ") && line.contains('`') && line.contains('('));
    rows.map(|row| {
        let (name, rest) = row.trim_start_matches("| ").split_once(" | `").expect("two cells");
        (name, rest.rsplit_once('`').expect("a query in back quotes").0)
    })
    .collect()
}

fn every_edge_has_its_signals(monitoring: &Namespace<'_>) {
    let signals = signals();
    assert_eq!(signals.len(), 4, "{signals:?}");
    for (signal, query) in signals {
        let is_saturation = signal.starts_with("saturation");
        let edges = wait::within(PATIENCE, &format!("{signal} of every edge"), || {
            let edges = edges(monitoring, query);
            // connections come and go; the other signals have a minute's memory
            let known = |edge: &(&str, &str)| {
                edges.get(&(edge.0.to_owned(), edge.1.to_owned())).is_some_and(|value| value.is_finite())
            };
            let complete = EDGES.iter().all(|edge| known(edge) || is_saturation && !edges.is_empty());
            complete.then_some(edges)
        });
        for ((source, destination), value) in edges {
            println!("{signal}: {source} -> {destination}: {value}");
            assert!(!signal.starts_with("errors") || value == 1.0, "{source} -> {destination}: {value}");
        }
    }
}

fn edges(monitoring: &Namespace<'_>, query: &str) -> BTreeMap<(String, String), f64> {
    let rows = ask(monitoring, query);
    let rows = rows.as_array().into_iter().flatten();
    let end = |row: &Value, name: &str| row["metric"][name].as_str().unwrap_or_default().to_owned();
    rows.filter_map(|row| Some(((end(row, "deployment"), end(row, "dst_deployment")), value(row)?))).collect()
}

fn number(monitoring: &Namespace<'_>, query: &str) -> Option<f64> {
    value(&ask(monitoring, query)[0])
}

fn value(row: &Value) -> Option<f64> {
    row["value"][1].as_str()?.parse().ok()
}

/// An instant query.
fn ask(monitoring: &Namespace<'_>, query: &str) -> Value {
    let command = ["promtool", "query", "--format", "json", "instant", "http://127.0.0.1:9090", query];
    let said = monitoring.exec("deployment/prometheus", &command);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{query}: {error}: {said}"))
}

/// Prometheus with the jobs of the document.
fn manifests() -> String {
    let (_, rest) = DOCUMENT.split_once("```yaml\n").expect("the document has a configuration");
    let (scrape, _) = rest.split_once("```").expect("it ends");
    assert!(scrape.contains(KUBERNETES), "{scrape}");
    let scrape = scrape.replace(KUBERNETES, FILE);
    let indented: String = scrape.lines().map(|line| format!("    {line}\n")).collect();
    include_str!("../cluster/prometheus.yaml").replace("SCRAPE\n", &indented)
}

/// Tells Prometheus which pods there are, as its own discovery would, which Debian's lacks: one target for each port, with the labels
/// that the document's rules read.
fn discover(cluster: &Cluster, monitoring: &Namespace<'_>) {
    let pods = cluster.object(&["pods", "--all-namespaces"]);
    let targets: Vec<Value> = pods["items"].as_array().into_iter().flatten().flat_map(targets).collect();
    let write = [
        "exec",
        "--stdin",
        "deployment/prometheus",
        "--",
        "sh",
        "-c",
        "cat > /data/new && mv /data/new /data/pods.json",
    ];
    monitoring.try_piped(&Value::from(targets).to_string(), &write).expect("it can be written");
}

fn targets(pod: &Value) -> Vec<Value> {
    let controller = &pod["metadata"]["ownerReferences"][0];
    let containers = ["initContainers", "containers"].map(|field| pod["spec"][field].as_array().cloned());
    let containers: Vec<Value> = containers.into_iter().flatten().flatten().collect();
    let ports = |container: &Value| {
        let ports = container["ports"].as_array().cloned().unwrap_or_default();
        ports.into_iter().map(|port| (container["name"].clone(), port)).collect::<Vec<_>>()
    };
    let target = |(container, port): (Value, Value)| {
        let ip = pod["status"]["podIP"].as_str()?;
        Some(json!({
            "targets": [format!("{ip}:{}", port["containerPort"])],
            "labels": {
                "__meta_kubernetes_namespace": pod["metadata"]["namespace"],
                "__meta_kubernetes_pod_container_name": container,
                "__meta_kubernetes_pod_container_port_name": port["name"].as_str().unwrap_or_default(),
                "__meta_kubernetes_pod_controller_kind": controller["kind"].as_str().unwrap_or_default(),
                "__meta_kubernetes_pod_controller_name": controller["name"].as_str().unwrap_or_default(),
                "__meta_kubernetes_pod_ip": ip,
                "__meta_kubernetes_pod_name": pod["metadata"]["name"],
                "__meta_kubernetes_pod_phase": pod["status"]["phase"],
            },
        }))
    };
    containers.iter().flat_map(ports).filter_map(target).collect()
}

const KUBERNETES: &str = "    kubernetes_sd_configs:\n      - role: pod\n";
const FILE: &str = "    file_sd_configs:\n      - files: [/data/pods.json]\n";
const DOCUMENT: &str = include_str!("../../docs/prometheus.md");
/// Of HTTP, used by shoppers all the time.
const EDGES: [(&str, &str); 7] = [
    ("front-end", "carts"),
    ("front-end", "catalogue"),
    ("front-end", "orders"),
    ("front-end", "user"),
    ("orders", "carts"),
    ("orders", "payment"),
    ("orders", "shipping"),
];
