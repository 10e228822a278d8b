//! The tutorial that people follow for Linkerd on K3s, word for word with `minimesh` in its place, while clients outside of the
//! cluster keep coming: from a shop without mesh to one with it and back, and nobody is failed.

use std::net::SocketAddr;
use std::time::Instant;

use minimesh_tests::apps::OpenLoopPlan;
use minimesh_tests::cluster::{Cluster, MESH, Namespace, PATIENCE};
use minimesh_tests::wait;
use serde_json::Value;

/// The steps, each with how long it took; and what every one of them may do.
struct Tutorial<'c> {
    cluster: &'c Cluster,
    shop: &'c Namespace<'c>,
    page: SocketAddr,
    begun: Instant,
}

#[test]
fn the_tutorial_fails_nobody() {
    let commands = ["check", "install", "inject", "uninject", "uninstall", "identity"];
    let Some(cluster) = Cluster::with_commands("the_tutorial_fails_nobody", &commands) else { return };
    cluster.without_mesh();
    let shop = cluster.namespace("sock-shop");
    let page = shop.open_shop();
    let paths = ["/", "/catalogue?size=5", "/catalogue/size", "/tags"].map(str::to_owned).to_vec();
    let tutorial = Tutorial { cluster: &cluster, shop: &shop, page, begun: Instant::now() };
    tutorial.visit("before the mesh");

    let load = cluster.load(&OpenLoopPlan { target: page, paths, per_second: 20 });
    tutorial.install();
    tutorial.inject();
    tutorial.look();
    tutorial.restart_the_control_plane();
    tutorial.rotate_the_root();
    tutorial.roll_an_application();
    println!("memory of the mesh, under load:\n{}", cluster.mesh_memory().table());
    tutorial.uninject();
    tutorial.uninstall();
    let result = load.finish();
    assert!(result.failed == 0 && result.succeeded >= 500, "{result:#?}");
    println!(
        "{} clients in {:.0} s, none failed; the slowest waited {:.3} s",
        result.succeeded, result.seconds, result.slowest
    );
}

impl Tutorial<'_> {
    fn say(&self, step: &str) {
        println!("{:>6.1} s  {step}", self.begun.elapsed().as_secs_f64());
    }

    /// Shoppers with carts and orders. Not while databases are replaced: the stand-ins keep everything in memory.
    fn visit(&self, when: &str) {
        self.say(&format!("shoppers, {when}"));
        self.cluster.visit(self.page);
    }

    fn install(&self) {
        self.say("minimesh check --pre");
        print!("{}", self.cluster.minimesh(&["check", "--pre"]));
        self.say("minimesh install | kubectl apply -f -");
        let manifests = self.cluster.minimesh(&["install"]);
        self.cluster.apply(&manifests);
        self.say("minimesh check");
        self.cluster.wait_for("condition=Available", &["--namespace", MESH, "deployment", "--all"]);
        print!("{}", self.cluster.minimesh(&["check"]));
    }

    fn inject(&self) {
        self.say("minimesh inject - | kubectl apply -f -");
        let deployments = self.shop.kubectl(&["get", "deployments", "--output", "yaml"]);
        let injected = self.cluster.minimesh_piped(&deployments, &["inject", "-"]);
        self.shop.apply(&injected);
        self.shop.rolled_out();
        let sidecars = self.sidecars();
        assert!(sidecars.iter().all(|(_, meshed)| *meshed), "{sidecars:?}");
        self.visit("in the mesh");
    }

    /// Every pod that is not on its way out, and whether it has a sidecar.
    fn sidecars(&self) -> Vec<(String, bool)> {
        let pods = self.shop.object(&["pods"]);
        let pods = pods["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let meshed = |pod: &Value| {
            let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
            containers.filter(|container| container["name"] == "minimesh-proxy").count() == 1
        };
        pods.map(|pod| (pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(), meshed(pod))).collect()
    }

    fn look(&self) {
        self.say("minimesh stat deployments -n sock-shop ; minimesh edges -n sock-shop");
        let ask = |what: &[&str]| {
            let said = self.cluster.minimesh(&[what, &["--namespace", "sock-shop", "--output", "json"]].concat());
            serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{what:?}: {error}: {said}"))
        };
        let found = wait::within(PATIENCE, "every edge of the shop is secured", || {
            let edges = ask(&["edges"]);
            let edges = edges["edges"].as_array().expect("a list").clone();
            let secured = |(source, destination): &(&str, &str)| {
                let ends = |edge: &&Value| edge["source"] == *source && edge["destination"] == *destination;
                edges.iter().filter(ends).any(|edge| edge["secured"] == true)
            };
            EDGES.iter().all(secured).then_some(edges)
        });
        // whoever comes from outside has no identity, and nobody else is without one
        for edge in found {
            assert!(edge["secured"] == true || edge["source"] == "unknown", "{edge}");
        }
        let stat = ask(&["stat", "deployments"]);
        let workloads = stat["workloads"].as_array().expect("a list");
        let front_end = workloads.iter().find(|row| row["name"] == "front-end").expect("the front end has a row");
        assert_eq!(front_end["success_rate"], 1.0, "{front_end}");
        print!("{}", self.cluster.minimesh(&["stat", "deployments", "--namespace", "sock-shop"]));
        print!("{}", self.cluster.minimesh(&["edges", "--namespace", "sock-shop"]));
    }

    fn restart_the_control_plane(&self) {
        self.say("kubectl rollout restart deployment minimesh-control-plane");
        let (control_plane, timeout) =
            ("deployment/minimesh-control-plane", format!("--timeout={}s", PATIENCE.as_secs()));
        self.cluster.kubectl(&["--namespace", MESH, "rollout", "restart", control_plane]);
        self.visit("while the control plane restarts");
        self.cluster.kubectl(&["--namespace", MESH, "rollout", "status", control_plane, &timeout]);
    }

    fn rotate_the_root(&self) {
        self.say("minimesh identity rotate");
        let before = self.root();
        print!("{}", self.cluster.minimesh(&["identity", "rotate"]));
        self.visit("while the root rotates");
        wait::within(PATIENCE, "only the new root is left", || {
            let roots = self.root();
            (roots != before && roots.matches("BEGIN CERTIFICATE").count() == 1).then_some(())
        });
        self.visit("after the rotation");
    }

    /// The roots that the shop's pods trust.
    fn root(&self) -> String {
        self.shop.kubectl(&["get", "configmap", "minimesh-trust", "--output", r"jsonpath={.data.trust-bundle\.pem}"])
    }

    fn roll_an_application(&self) {
        self.say("kubectl rollout restart deployment front-end catalogue");
        self.shop.kubectl(&["rollout", "restart", "deployment", "front-end", "catalogue"]);
        self.shop.rolled_out();
        self.visit("after a rolling update");
    }

    fn uninject(&self) {
        self.say("minimesh uninject - | kubectl apply -f -");
        let deployments = self.shop.kubectl(&["get", "deployments", "--output", "yaml"]);
        let plain = self.cluster.minimesh_piped(&deployments, &["uninject", "-"]);
        self.shop.apply(&plain);
        self.shop.rolled_out();
        wait::within(PATIENCE, "the last sidecar is gone", || {
            self.sidecars().iter().all(|(_, meshed)| !meshed).then_some(())
        });
    }

    fn uninstall(&self) {
        self.say("minimesh uninstall | kubectl delete -f -");
        let manifests = self.cluster.minimesh(&["uninstall"]);
        self.cluster.piped(&manifests, &["delete", "-f", "-"]);
        assert!(!self.cluster.holds(&["get", "namespace", MESH]), "the namespace is left");
        self.visit("without the mesh again");
    }
}

/// Those that shoppers use all the time.
const EDGES: [(&str, &str); 9] = [
    ("front-end", "carts"),
    ("front-end", "catalogue"),
    ("front-end", "orders"),
    ("front-end", "user"),
    ("catalogue", "catalogue-db"),
    ("carts", "carts-db"),
    ("orders", "payment"),
    ("orders", "shipping"),
    ("shipping", "rabbitmq"),
];
