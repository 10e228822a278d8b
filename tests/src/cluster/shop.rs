//! What several stories begin with: the stand-in shop in a namespace, the mesh in the cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Cluster, Namespace};

/// Where the mesh is installed.
pub const MESH: &str = "minimesh";

impl Namespace<'_> {
    /// Opens the stand-in shop, waits until all of it runs, and says where those outside find its front end. Whether it is
    /// meshed is the namespace's matter.
    pub fn open_shop(&self) -> SocketAddr {
        let entries = std::fs::read_dir(manifests()).expect("the shop is beside the tests").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // its own label is the test's matter; HTTPRoutes need their CRDs
        let names: Vec<String> =
            names.filter(|name| !["00-namespace.yaml", "routes.yaml"].contains(&&**name)).collect();
        self.open(&names.iter().map(|name| name.trim_end_matches(".yaml")).collect::<Vec<_>>())
    }

    /// The same with these services of it alone, the front end among them.
    pub fn open(&self, services: &[&str]) -> SocketAddr {
        for service in services {
            let manifest = std::fs::read_to_string(manifests().join(format!("{service}.yaml")));
            self.apply(&manifest.expect("a manifest"));
        }
        self.kubectl(&["patch", "service", "front-end", "--patch", r#"{"spec":{"type":"LoadBalancer"}}"#]);
        self.rolled_out();
        SocketAddr::from((self.load_balancer("front-end"), 80))
    }
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/sock-shop/manifests")
}

impl Cluster {
    /// `minimesh install | kubectl apply -f -`, and waits until it runs.
    pub fn install_mesh(&self, options: &[&str]) {
        // what another story has left is made to be as this one wants it
        let manifests = self.minimesh(&[&["install", "--ignore-cluster"], options].concat());
        self.apply(&manifests);
        self.wait_for("condition=Available", &["--namespace", MESH, "deployment", "--all"]);
    }

    /// Removes what another story has left of the mesh.
    pub fn without_mesh(&self) {
        if self.holds(&["get", "namespace", MESH]) {
            let manifests = self.minimesh(&["uninstall", "--force"]);
            self.piped(&manifests, &["delete", "--ignore-not-found", "-f", "-"]);
        }
    }

    /// Shoppers from outside, with carts and orders, for ten seconds: none of them fails. Not while databases are replaced: the
    /// stand-ins keep everything in memory. Says how many they were.
    pub fn visit(&self, page: SocketAddr) -> String {
        let target = page.to_string();
        let said = self.minimesh(&["sock-shop", "load", "--target", &target, "--rate", "5", "--duration", "10"]);
        assert!(said.contains(" 0 skipped, 0 failed"), "{said}");
        said
    }

    /// Lines in which the mesh's own parts say that the API server refused them something, or in which a library speaks for them.
    pub fn refusals(&self) -> Vec<String> {
        let parts = ["minimesh-control-plane", "minimesh-injector"];
        let said = parts.map(|part| {
            let selector = format!("app.kubernetes.io/name={part}");
            self.kubectl(&["--namespace", MESH, "logs", "--prefix", "--tail=-1", "--selector", &selector])
        });
        let is_one = |line: &&str| REFUSED.iter().any(|word| line.contains(word));
        said.iter().flat_map(|text| text.lines()).filter(is_one).map(str::to_owned).collect()
    }
}

/// Of the API server, of kube's errors, and of its client's own log.
const REFUSED: [&str; 4] = ["forbidden", "Forbidden", "code: 403", "kube_client::"];
