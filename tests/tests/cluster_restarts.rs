//! Rolling restarts of meshed applications in a real cluster, under load: of those that know nothing of draining, too.

use minimesh_tests::apps::OpenLoopPlan;
use minimesh_tests::cluster::Cluster;

#[test]
fn applications_that_exit_at_once_fail_nobody_when_their_end_is_delayed() {
    let test = "applications_that_exit_at_once_fail_nobody_when_their_end_is_delayed";
    let Some(cluster) = Cluster::with_commands(test, &["install"]).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.install_mesh(&[]);
    let shop = cluster.namespace("sock-shop");
    cluster.kubectl(&["label", "namespace", "sock-shop", "minimesh.io/inject=enabled"]);
    // for longer than the shoppers, who are outside of the mesh, keep a connection that they do not use
    cluster.kubectl(&["annotate", "namespace", "sock-shop", "minimesh.io/termination-delay=10s"]);
    let page = shop.open_shop();
    let of_all = |verb: &[&str], more: &[&str]| {
        let deployments = ABRUPT.map(|name| format!("deployment/{name}"));
        let deployments: Vec<&str> = deployments.iter().map(String::as_str).collect();
        shop.kubectl(&[verb, &deployments[..], more].concat());
        shop.rolled_out();
    };
    of_all(&["set", "env"], &["MINIMESH_SHOP_ABRUPT=true"]);
    cluster.visit(page);

    let paths = ["/", "/catalogue?size=5", "/catalogue/size", "/tags"].map(str::to_owned).to_vec();
    let load = cluster.load(&OpenLoopPlan { target: page, paths, per_second: 20 });
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| of_all(&["rollout", "restart"], &[]));
        // shoppers register, fill carts and order: POSTs on every edge
        while !restart.is_finished() {
            print!("{}", cluster.visit(page));
        }
    });
    let result = load.finish();
    assert!(result.failed == 0 && result.succeeded > 0, "{result:#?}");
    println!("{} clients of the page, none failed; the slowest waited {:.3} s", result.succeeded, result.slowest);
}

/// What is not kept in memory: databases and the queue are.
const ABRUPT: [&str; 7] = ["carts", "catalogue", "front-end", "orders", "payment", "shipping", "user"];
