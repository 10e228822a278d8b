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
    /// Who calls whom.
    edges: &'static [(&'static str, &'static str)],
    begun: Instant,
}

#[test]
fn the_tutorial_meshes_a_page_and_what_is_behind_it_and_takes_them_out_again() {
    let test = "the_tutorial_meshes_a_page_and_what_is_behind_it_and_takes_them_out_again";
    let Some(cluster) = Cluster::with_commands(test, &COMMANDS).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.without_mesh();
    let shop = cluster.namespace("sock-shop");
    let page = shop.open(&["catalogue-db", "catalogue", "front-end"]);
    let tutorial = Tutorial { cluster: &cluster, shop: &shop, page, edges: &EDGES_OF_WINDOW, begun: Instant::now() };
    tutorial.install();
    tutorial.inject();
    tutorial.look();
    tutorial.memory();
    tutorial.uninject();
    tutorial.uninstall();
    tutorial.page_is_there("after the mesh");
}

#[test]
fn the_tutorial_fails_nobody() {
    let test = "the_tutorial_fails_nobody";
    let Some(cluster) = Cluster::with_commands(test, &COMMANDS).filter(|cluster| cluster.has_time(test)) else {
        return;
    };
    cluster.without_mesh();
    let shop = cluster.namespace("sock-shop");
    let page = shop.open_shop();
    let paths = ["/", "/catalogue?size=5", "/catalogue/size", "/tags"].map(str::to_owned).to_vec();
    let tutorial = Tutorial { cluster: &cluster, shop: &shop, page, edges: &EDGES, begun: Instant::now() };
    tutorial.visit("before the mesh");

    let load = cluster.load(&OpenLoopPlan { target: page, paths, per_second: 20 });
    tutorial.install();
    tutorial.inject();
    tutorial.visit("in the mesh");
    tutorial.look();
    tutorial.restart_the_control_plane();
    tutorial.rotate_the_root();
    tutorial.roll_an_application();
    tutorial.memory();
    tutorial.uninject();
    tutorial.uninstall();
    tutorial.visit("without the mesh again");
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

    /// The catalogue, through the front end.
    fn page_is_there(&self, when: &str) {
        let url = format!("http://{}/catalogue", self.page);
        assert_eq!(self.cluster.status_from_node(&url), 200, "{when}");
    }

    /// What issue 6 grants it.
    fn memory(&self) {
        let memory = self.cluster.mesh_memory();
        println!("memory of the mesh:\n{}", memory.table());
        assert!(memory.most("control-plane") <= 40 * 1024, "{memory:?}");
        assert!(memory.most("injector") <= 20 * 1024, "{memory:?}");
        assert!(memory.sum() <= 160 * 1024, "{memory:?}");
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

    /// What users look at. Plaintext of the time before is in it for a minute.
    fn look(&self) {
        self.say("minimesh stat deployments; minimesh edges; minimesh identity");
        wait::within(PATIENCE, "every edge of the shop is secured", || {
            self.page_is_there("in the mesh");
            let edges = self.asked(&["edges"], "edges");
            let secured = |(source, destination): &(&str, &str)| {
                let of = |edge: &&Value| edge["source"] == *source && edge["destination"] == *destination;
                edges.iter().find(of).is_some_and(|edge| edge["secured"] == true)
            };
            self.edges.iter().all(secured).then_some(())
        });
        let workloads = self.asked(&["stat", "deployments"], "workloads");
        let certificates = self.asked(&["identity"], "certificates");
        for (pod, _) in self.sidecars() {
            let own = |certificate: &&Value| certificate["pod"] == *pod && certificate["trusts_current"] == true;
            assert!(certificates.iter().any(|certificate| own(&certificate)), "{pod}: {certificates:#?}");
            let of_pod = |workload: &&Value| workload["name"].as_str().is_some_and(|name| pod.starts_with(name));
            assert!(workloads.iter().any(|workload| of_pod(&workload)), "{pod}: {workloads:#?}");
        }
        for command in [&["stat", "deployments"][..], &["edges"], &["identity"]] {
            println!("{}", self.cluster.minimesh(&[command, &["--namespace", self.shop.name()]].concat()));
        }
        assert_eq!(self.cluster.refusals(), [""; 0]);
    }

    /// The rows that a command of the program's gives for the shop.
    fn asked(&self, command: &[&str], rows: &str) -> Vec<Value> {
        let arguments = [command, &["--namespace", self.shop.name(), "--output", "json"]].concat();
        let said = self.cluster.minimesh(&arguments);
        let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command:?}: {error}: {said}"));
        answer[rows].as_array().unwrap_or_else(|| panic!("{command:?}: no {rows}: {said}")).clone()
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
    }
}

const COMMANDS: [&str; 8] = ["check", "edges", "identity", "inject", "install", "stat", "uninject", "uninstall"];
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
const EDGES_OF_WINDOW: [(&str, &str); 2] = [("front-end", "catalogue"), ("catalogue", "catalogue-db")];
