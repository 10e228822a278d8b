//! What several stories begin with: the stand-in shop in a namespace, the mesh in the cluster.

use std::net::SocketAddr;

use super::{Cluster, Namespace};

/// Where the mesh is installed.
pub const MESH: &str = "minimesh";

impl Namespace<'_> {
    /// Opens the stand-in shop, waits until all of it runs, and says where those outside find its front end. Whether it is
    /// meshed is the namespace's matter.
    pub fn open_shop(&self) -> SocketAddr {
        let manifests = format!("{}/../examples/sock-shop/manifests", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(manifests).expect("the shop is beside the tests").flatten() {
            // its own label is the test's matter; HTTPRoutes need their CRDs
            if !["00-namespace.yaml", "routes.yaml"].iter().any(|name| entry.file_name() == *name) {
                self.apply(&std::fs::read_to_string(entry.path()).expect("a manifest"));
            }
        }
        self.kubectl(&["patch", "service", "front-end", "--patch", r#"{"spec":{"type":"LoadBalancer"}}"#]);
        self.rolled_out();
        SocketAddr::from((self.load_balancer("front-end"), 80))
    }
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
    /// stand-ins keep everything in memory.
    pub fn visit(&self, page: SocketAddr) {
        let target = page.to_string();
        let said = self.minimesh(&["sock-shop", "load", "--target", &target, "--rate", "5", "--duration", "10"]);
        assert!(said.contains(" 0 skipped, 0 failed"), "{said}");
    }
}
