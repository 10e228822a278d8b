//! Which pods of a meshed Service answer in a real cluster, and what becomes of clients when one of them goes.

use minimesh_tests::apps::OpenLoopPlan;
use minimesh_tests::cluster::{Cluster, Namespace, PATIENCE};
use minimesh_tests::wait;

#[test]
fn a_service_with_client_affinity_keeps_a_client_at_one_pod_until_that_is_gone() {
    let test = "a_service_with_client_affinity_keeps_a_client_at_one_pod_until_that_is_gone";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let shop = cluster.namespace("sock-shop");
    cluster.kubectl(&["label", "namespace", "sock-shop", "minimesh.io/inject=enabled"]);
    let page = shop.open(&["catalogue-db", "catalogue", "front-end"]);
    shop.kubectl(&["scale", "deployment", "catalogue", "--replicas=3"]);
    shop.kubectl(&["patch", "service", "catalogue", "--patch", r#"{"spec":{"sessionAffinity":"ClientIP"}}"#]);
    shop.rolled_out();
    let load = cluster.load(&OpenLoopPlan { target: page, paths: vec!["/catalogue".to_owned()], per_second: 20 });
    let first = shop.one_pod_serves(&cluster, page, None);
    // its sidecar says so to clients while it ends
    shop.kubectl(&["delete", "pod", &first, "--wait"]);
    let second = shop.one_pod_serves(&cluster, page, Some(&first));
    println!("{first}, and then {second}");
    let result = load.finish();
    assert!(result.failed == 0 && result.succeeded > 0, "{result:#?}");
}

trait Served {
    /// The pod of the catalogue that answers, another than `before`, once thirty requests in a row were answered by the same.
    fn one_pod_serves(&self, cluster: &Cluster, page: std::net::SocketAddr, before: Option<&str>) -> String;
}

impl Served for Namespace<'_> {
    fn one_pod_serves(&self, cluster: &Cluster, page: std::net::SocketAddr, before: Option<&str>) -> String {
        let url = format!("http://{page}/catalogue/size");
        let ask = || {
            let arguments = ["--silent", "--show-error", "--max-time", "20", "--dump-header", "-", &url];
            let output = cluster.outside("curl", &arguments).output().expect("the script starts");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let header = said.lines().find_map(|line| line.strip_prefix("x-served-by: ")).map(str::to_owned);
            let header = header.unwrap_or_else(|| panic!("{said}"));
            // the front end's own name comes first
            let pod = header.split(", ").find(|pod| pod.starts_with("catalogue-"));
            pod.unwrap_or_else(|| panic!("{header}")).trim().to_owned()
        };
        wait::within(PATIENCE, "one pod serves", || {
            let pods: std::collections::BTreeSet<String> = (0..IN_A_ROW).map(|_| ask()).collect();
            let one = pods.first().filter(|pod| pods.len() == 1 && Some(pod.as_str()) != before)?;
            Some(one.clone())
        })
    }
}

/// Three pods that took turns would not be alike so often.
const IN_A_ROW: usize = 30;
