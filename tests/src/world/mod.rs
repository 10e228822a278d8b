//! What a test talks to: a world of one node, with pods, a control plane and manifests.
//!
//! Everything a world needs on disk is in `netns-tests/NAME` of the target folder: manifests, tokens, keys, logs. It is kept
//! when the test fails and removed when it does not.

mod control_plane;
pub mod manifests;
mod node;
mod pair;
mod pod;
mod process;
mod programs;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::protocol::{Families, Reply, Request, Spawn};
use crate::stage::SELF;
use crate::wait;

pub use control_plane::ControlPlane;
pub use pair::Pair;
pub use pod::{Pod, PodBuilder, UnmeshedBuilder};
pub use process::Process;
pub use programs::{Collector, HttpServer, Load, LongStream};

use manifests::Service;
use node::Node;

/// The namespace (of Kubernetes) of every pod that names no other.
pub const NAMESPACE: &str = "test";
/// Trust domain of every story.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// A node with pods. Dropping it ends every process in it.
pub struct World {
    folder: PathBuf,
    node: Node,
    pods: Cell<u8>,
    processes: Cell<u32>,
}

impl World {
    /// An empty node, for the test of that name.
    pub fn start(name: &str) -> World {
        let folder = target().join("netns-tests").join(name);
        // of an earlier run that failed
        let _ = std::fs::remove_dir_all(&folder);
        for part in ["ca", "logs", "manifests", "state", "tokens"] {
            std::fs::create_dir_all(folder.join(part)).expect("the target folder can be written");
        }
        let world = World { node: Node::start(), folder, pods: Cell::new(0), processes: Cell::new(0) };
        world.apply(&manifests::namespace());
        world
    }

    /// A pod to be described and started.
    pub fn pod(&self, name: &str) -> PodBuilder<'_> {
        PodBuilder::new(self, name)
    }

    /// Starts a control plane, with more arguments than those that every story needs.
    pub fn control_plane(&self, arguments: &[&str]) -> ControlPlane<'_> {
        ControlPlane::start(self, arguments)
    }

    /// Writes an object into the folder of live state, at once or not at all.
    pub fn apply(&self, object: &Value) {
        let text = serde_json::to_string_pretty(object).expect("values can be written");
        replace(&self.state_file(&manifests::file_name(object)), &text);
    }

    /// Takes an object out of the folder of live state.
    pub fn delete(&self, object: &Value) {
        std::fs::remove_file(self.state_file(&manifests::file_name(object))).expect("it was applied before");
    }

    /// Applies a Service and the pods behind it; again, to change them. It is of the families of the first of them.
    pub fn serve(&self, service: &Service<'_>, pods: &[&Pod<'_>]) {
        let families = pods.first().map_or(Families::V4, |pod| pod.families());
        self.apply(&service.object_of(families));
        if families.v4() {
            let endpoints: Vec<_> = pods.iter().map(|pod| (pod.address(), pod.name(), false)).collect();
            self.apply(&service.endpoints(&endpoints));
        }
        if families.v6() {
            let endpoints: Vec<_> = pods.iter().map(|pod| (pod.address6(), pod.name(), false)).collect();
            self.apply(&service.endpoints(&endpoints));
        }
    }

    /// Writes a file as a user would into the folder of manifests, at once or not at all.
    pub fn manifest(&self, name: &str, text: &str) {
        replace(&self.folder.join("manifests").join(name), text);
    }

    /// Takes such a file away.
    pub fn remove_manifest(&self, name: &str) {
        std::fs::remove_file(self.folder.join("manifests").join(name)).expect("it was written before");
    }

    /// Runs a program of the mesh on the node itself.
    pub fn run_app(&self, name: &str, arguments: &[&str]) -> Process<'_> {
        self.spawn(None, name, &[&[SELF, "app", name], arguments].concat(), None)
    }

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder of the control plane's authority.
    pub fn authority(&self) -> PathBuf {
        self.path("ca")
    }

    fn state_file(&self, name: &str) -> PathBuf {
        self.folder.join("state").join(name)
    }

    /// `stdout`: instead of a log.
    fn spawn(&self, pod: Option<&str>, what: &str, argv: &[&str], stdout: Option<PathBuf>) -> Process<'_> {
        let number = self.processes.replace(self.processes.get() + 1);
        let stem = format!("logs/{number:03}-{}-{what}", pod.unwrap_or("node"));
        let stdout = stdout.unwrap_or_else(|| self.path(&format!("{stem}.out")));
        let stderr = self.path(&format!("{stem}.err"));
        let spawn = Spawn {
            pod: pod.map(str::to_owned),
            argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
            environment: BTreeMap::from([("RUST_BACKTRACE".to_owned(), "1".to_owned())]),
            stdout: stdout.clone(),
            stderr: stderr.clone(),
        };
        match self.node.call(&Request::Spawn(spawn)) {
            Reply::Started(pid) => Process::new(self, pid, what, stdout, stderr),
            other => panic!("cannot start {argv:?}: {other:?}"),
        }
    }

    fn next_address(&self) -> Ipv4Addr {
        let number = self.pods.replace(self.pods.get() + 1);
        Ipv4Addr::new(10, 42, 0, 10 + number)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.node.stop();
        if std::thread::panicking() {
            eprintln!("logs are kept in {}", self.folder.display());
        } else {
            // what cannot be removed now is removed by the next run
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The program under test: the one that `cargo xtask test` has built as users do, or the one beside the tests.
#[allow(clippy::disallowed_methods)] // a test has no command line of its own
pub fn minimesh() -> PathBuf {
    let path = std::env::var("MINIMESH_BINARY").map_or_else(|_| beside("minimesh"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: run the tests with `cargo xtask test`", path.display());
    path
}

/// A program that cargo built: a test's own is in a folder below that of the others.
pub(crate) fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    let folder = own.parent().expect("a program is in a folder");
    let programs = if folder.ends_with("deps") { folder.parent().expect("deps is in target/PROFILE") } else { folder };
    programs.join(name)
}

fn target() -> PathBuf {
    beside("..").canonicalize().expect("programs are in target/PROFILE")
}

/// A reader sees the old file or the new one.
fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, path))
        .expect("the target folder can be written");
}

/// Lines of a log that an application appends to; none yet if it has not begun.
fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits until an application has said so.
fn ready(process: &Process<'_>) {
    let said = || process.output().lines().any(|line| line == crate::apps::READY).then_some(());
    wait::eventually(&format!("{} is ready", process.what()), || {
        process.expect_running();
        said()
    });
}
