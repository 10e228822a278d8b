//! The mesh in a real cluster, beside the tutorial: servers that nobody here wrote, and control planes that die.

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
fn nobody_is_failed_while_every_replica_of_the_control_plane_dies() {
    let test = "nobody_is_failed_while_every_replica_of_the_control_plane_dies";
    let cluster = Cluster::with_commands(test, &["install", "identity"]);
    let Some(cluster) = cluster.filter(|cluster| cluster.has_time(test)) else { return };
    cluster.install_mesh(&["--ha"]);
    let shop = cluster.namespace("sock-shop");
    cluster.kubectl(&["label", "namespace", "sock-shop", "minimesh.io/inject=enabled"]);
    let page = shop.open_shop();
    let plan =
        minimesh_tests::apps::OpenLoopPlan { target: page, paths: vec!["/catalogue".to_owned()], per_second: 20 };
    let load = cluster.load(&plan);
    let lease =
        || cluster.object(&["lease", "--namespace", MESH, "minimesh-control-plane"])["spec"]["holderIdentity"].clone();
    let leader = lease();
    let name = leader.as_str().and_then(|holder| holder.split('/').next()).expect("somebody leads").to_owned();
    let delete = ["--namespace", MESH, "delete", "pod", "--grace-period=0", "--force"];
    cluster.kubectl(&[&delete[..], &[&name]].concat());
    cluster.visit(page);
    wait::within(PATIENCE, "somebody else leads", || (lease() != leader).then_some(()));
    cluster.kubectl(&[&delete[..], &["--selector", "app.kubernetes.io/name=minimesh-control-plane"]].concat());
    // a pod that is made now waits for a certificate, and then comes up
    shop.kubectl(&["rollout", "restart", "deployment", "front-end"]);
    shop.rolled_out();
    cluster.visit(page);
    let result = load.finish();
    assert!(result.failed == 0 && result.succeeded > 0, "{result:#?}");
}
