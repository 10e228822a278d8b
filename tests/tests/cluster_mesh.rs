//! The mesh in a real cluster, beside the tutorial: servers that nobody here wrote, and control planes that die.

use std::time::Instant;

use minimesh_tests::apps::OpenLoopPlan;
use minimesh_tests::cluster::{Cluster, MESH, PATIENCE, SERVERS};
use minimesh_tests::wait;
use serde_json::Value;

#[test]
fn servers_of_debian_run_in_the_mesh_and_every_edge_of_theirs_is_secured() {
    let test = "servers_of_debian_run_in_the_mesh_and_every_edge_of_theirs_is_secured";
    let cluster = Cluster::with_commands(test, &["install", "identity"]);
    let Some(cluster) = cluster.filter(|cluster| cluster.has_time(test) && cluster.has_images(test, &SERVERS)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let namespace = cluster.namespace("servers");
    cluster.kubectl(&["label", "namespace", "servers", "minimesh.io/inject=enabled"]);
    namespace.open_servers();
    namespace.use_servers();
    wait::within(PATIENCE, "the clients' edges are secured", || {
        let said = cluster.minimesh(&["edges", "--namespace", "servers", "--output", "json"]);
        let edges: Value = serde_json::from_str(&said).expect("JSON");
        let secured = |server: &&str| {
            let ends = |edge: &&Value| edge["source"] == "client" && edge["destination"] == **server;
            edges["edges"].as_array().into_iter().flatten().any(|edge| ends(&edge) && edge["secured"] == true)
        };
        ["mariadb", "redis"].iter().all(secured).then_some(())
    });
}

#[test]
fn nobody_is_failed_while_replicas_of_control_plane_and_injector_die_and_are_replaced() {
    let test = "nobody_is_failed_while_replicas_of_control_plane_and_injector_die_and_are_replaced";
    let cluster = Cluster::with_commands(test, &["install", "identity"]);
    let Some(cluster) = cluster.filter(|cluster| cluster.has_time(test)) else { return };
    cluster.install_mesh(&["--ha"]);
    let shop = cluster.namespace("sock-shop");
    cluster.kubectl(&["label", "namespace", "sock-shop", "minimesh.io/inject=enabled"]);
    let page = shop.open_shop();
    let load = cluster.load(&OpenLoopPlan { target: page, paths: vec!["/catalogue".to_owned()], per_second: 20 });
    let kill = |which: &[&str]| {
        cluster.kubectl(&[&["--namespace", MESH, "delete", "pod", "--grace-period=0", "--force"], which].concat());
    };

    let (leader, begun) = (cluster.leader(), Instant::now());
    kill(&[&leader]);
    cluster.visit(page);
    let next = cluster.another_leader(&leader);
    println!("the leader was killed: another one led after {:.1} s", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    cluster.kubectl(&["--namespace", MESH, "delete", "pod", &next, "--wait=false"]);
    cluster.another_leader(&next);
    println!("the leader was told to end: another one led after {:.1} s", begun.elapsed().as_secs_f64());

    kill(&["--selector", "app.kubernetes.io/name=minimesh-control-plane"]);
    // a pod that is made now waits for a certificate, and then comes up
    shop.kubectl(&["rollout", "restart", "deployment", "front-end"]);
    shop.rolled_out();
    cluster.visit(page);

    kill(&["--selector", "app.kubernetes.io/name=minimesh-injector"]);
    // one that is made now waits for an injector; none comes up without its sidecar
    shop.kubectl(&["rollout", "restart", "deployment", "catalogue"]);
    shop.rolled_out();

    let parts = ["deployment/minimesh-control-plane", "deployment/minimesh-injector"];
    cluster.kubectl(&[&["--namespace", MESH, "rollout", "restart"], &parts[..]].concat());
    shop.kubectl(&["rollout", "restart", "deployment", "front-end"]);
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    for part in parts {
        cluster.kubectl(&["--namespace", MESH, "rollout", "status", part, &timeout]);
    }
    shop.rolled_out();
    cluster.visit(page);
    let result = load.finish();
    assert!(result.failed == 0 && result.succeeded > 0, "{result:#?}");
    println!("{} clients, none failed; the slowest waited {:.3} s", result.succeeded, result.slowest);
    assert_eq!(cluster.refusals(), [""; 0]);
    for container in shop.kubectl(&["get", "pods", "--output", SIDECARS]).lines() {
        assert!(container.contains("minimesh-proxy"), "{container}");
    }
}

trait Leads {
    /// The pod whose Lease it is.
    fn leader(&self) -> String;
    /// Waits until it is another one's.
    fn another_leader(&self, before: &str) -> String;
}

impl Leads for Cluster {
    fn leader(&self) -> String {
        wait::within(PATIENCE, "somebody leads", || {
            let lease = self.object(&["lease", "--namespace", MESH, "minimesh-control-plane"]);
            let holder = lease["spec"]["holderIdentity"].as_str()?;
            Some(holder.split('/').next()?.to_owned()).filter(|pod| !pod.is_empty())
        })
    }

    fn another_leader(&self, before: &str) -> String {
        wait::within(PATIENCE, "somebody else leads", || Some(self.leader()).filter(|leader| leader != before))
    }
}

/// A line for each pod.
const SIDECARS: &str = r#"jsonpath={range .items[*]}{.metadata.name} {.spec.initContainers[*].name}{"\n"}{end}"#;
