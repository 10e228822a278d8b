//! A real Kubernetes as a test sees it: kubectl, the minimesh program as its user runs it, and clients outside of the nodes.
//!
//! `cargo xtask test --only cluster` starts the cluster (tests/cluster/cluster says how) and names it in `MINIMESH_CLUSTER`;
//! without that name a test says that it is skipped. All tests share the cluster, one at a time, each in namespaces of its own.

mod load;
mod memory;
mod servers;
mod shop;

use std::ffi::OsStr;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::wait;
use crate::world::minimesh;

pub use load::Load;
pub use memory::Memory;
pub use servers::SERVERS;
pub use shop::MESH;

/// The cluster that the tests of this run share.
pub struct Cluster {
    script: PathBuf,
}

/// A namespace of one test. Dropping it deletes it, and waits for its pods to be gone.
pub struct Namespace<'c> {
    cluster: &'c Cluster,
    name: String,
}

/// The first node, where the Services of type LoadBalancer are reached.
pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
/// Nodes start pods for many tests on few processors.
pub const PATIENCE: Duration = Duration::from_secs(180);

impl Cluster {
    /// The one that runs. None, with a line that says so, where there is none.
    #[allow(clippy::disallowed_methods)] // a test has no command line of its own
    pub fn of_this_run(test: &str) -> Option<Cluster> {
        if std::env::var_os("MINIMESH_CLUSTER").is_none() {
            println!("\nskipped: {test}: there is no cluster: `cargo xtask test --only cluster` starts one");
            return None;
        }
        Some(Cluster { script: Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster") })
    }

    /// The one that runs, if the program has these commands; it says which it lacks.
    pub fn with_commands(test: &str, commands: &[&str]) -> Option<Cluster> {
        let cluster = Cluster::of_this_run(test)?;
        if let Some(command) = cluster.lacks_command(commands) {
            println!("\nskipped: {test}: the program has no command `{command}`");
            return None;
        }
        Some(cluster)
    }

    /// The first of these commands that the program does not have.
    pub fn lacks_command<'n>(&self, commands: &[&'n str]) -> Option<&'n str> {
        let lacks = |command: &&&str| {
            let mut help = Command::new(minimesh());
            help.args([**command, "--help"]).stdout(Stdio::null()).stderr(Stdio::null());
            !help.status().expect("the program starts").success()
        };
        commands.iter().find(lacks).copied()
    }

    /// Whether there is time for what takes minutes: a run of all tests takes what is needed, and says what it leaves out.
    #[allow(clippy::disallowed_methods)] // a test has no command line of its own
    pub fn has_time(&self, test: &str) -> bool {
        let hurry = std::env::var_os("MINIMESH_CLUSTER_BRIEFLY").is_some();
        if hurry {
            println!("\nskipped: {test}: it takes minutes: `cargo xtask test --only cluster`");
        }
        !hurry
    }

    /// Whether those images of Debian's servers could be made here; it says which not, and why.
    #[allow(clippy::disallowed_methods)] // a test has no command line of its own
    pub fn has_images(&self, test: &str, names: &[&str]) -> bool {
        let lacking = std::env::var("MINIMESH_CLUSTER_LACKS").unwrap_or_default();
        let lacks = |name: &&&str| lacking.lines().find(|line| line.starts_with(&format!("minimesh-test/{name}:")));
        let lacking = names.iter().find_map(|name| lacks(&name));
        if let Some(why) = lacking {
            println!("\nskipped: {test}: {why}");
        }
        lacking.is_none()
    }

    /// A namespace that is new and empty.
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        // what a test that was killed has left
        self.kubectl(&["delete", "namespace", name, "--ignore-not-found", "--wait"]);
        self.kubectl(&["create", "namespace", name]);
        Namespace { cluster: self, name: name.to_owned() }
    }

    /// What kubectl says. It must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        succeeded(self.command("kubectl", arguments).output().expect("the script starts"), arguments)
    }

    /// Whether kubectl succeeds.
    pub fn holds(&self, arguments: &[&str]) -> bool {
        self.command("kubectl", arguments).output().expect("the script starts").status.success()
    }

    /// An object, or a list of them.
    pub fn object(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "--output", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, manifests: &str) -> String {
        self.piped(manifests, &["apply", "-f", "-"])
    }

    /// kubectl with this on its standard input. It must succeed.
    pub fn piped(&self, input: &str, arguments: &[&str]) -> String {
        fed(self.command("kubectl", arguments), input, arguments)
    }

    /// The minimesh program, as somebody outside of the cluster runs it who has its kubeconfig. It must succeed.
    pub fn minimesh(&self, arguments: &[&str]) -> String {
        succeeded(self.minimesh_command(arguments).output().expect("the script starts"), arguments)
    }

    /// The same with this on its standard input.
    pub fn minimesh_piped(&self, input: &str, arguments: &[&str]) -> String {
        fed(self.minimesh_command(arguments), input, arguments)
    }

    /// The same, not started yet.
    pub fn minimesh_command(&self, arguments: &[&str]) -> Command {
        self.outside(minimesh(), arguments)
    }

    /// A program on the network beside the nodes, with the administrator's kubeconfig in its environment.
    pub fn outside(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command.arg("outside").arg(program).args(arguments);
        command
    }

    /// Changes an object without kubectl's own hundred milliseconds: a merge patch, sent to the API server.
    pub fn patch(&self, path: &str, patch: &str) {
        let said = succeeded(self.command("kubeconfig", &[]).output().expect("the script starts"), &["kubeconfig"]);
        let keys = Path::new(said.trim()).with_file_name("pki");
        let file = |name: &str| keys.join(name).display().to_string();
        let url = format!("https://{NODE}:6443{path}");
        let (authority, certificate, key) = (file("ca.crt"), file("admin.crt"), file("admin.key"));
        let who = ["--cacert", &*authority, "--cert", &*certificate, "--key", &*key];
        let what = ["--request", "PATCH", "--header", "content-type: application/merge-patch+json", "--data", patch];
        let arguments = [&["--silent", "--show-error", "--fail"], &who[..], &what[..], &[&*url]].concat();
        succeeded(self.outside("curl", &arguments).output().expect("the script starts"), &arguments);
    }

    /// The status of a GET that comes from the first node.
    pub fn status_from_node(&self, url: &str) -> u16 {
        let arguments =
            ["curl", "--silent", "--output", "/dev/null", "--max-time", "20", "--write-out", "%{http_code}", url];
        let output = self.command("exec", &arguments).output().expect("the script starts");
        succeeded(output, &arguments).parse().expect("a status")
    }

    /// Waits for `kubectl wait --for CONDITION`.
    pub fn wait_for(&self, condition: &str, arguments: &[&str]) {
        let (condition, timeout) = (format!("--for={condition}"), format!("--timeout={}s", PATIENCE.as_secs()));
        self.kubectl(&[&["wait", &*condition, &*timeout], arguments].concat());
    }

    /// The nodes' names, each with the process of this machine that is its first.
    pub fn nodes(&self) -> Vec<(String, u32)> {
        let said = succeeded(self.command("nodes", &[]).output().expect("the script starts"), &["nodes"]);
        let node = |line: &str| {
            let (name, pid) = line.split_once(' ').expect("NAME PID");
            (name.to_owned(), pid.parse().expect("a process"))
        };
        said.lines().map(node).collect()
    }

    fn command(&self, what: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(what).args(arguments).stdin(Stdio::null());
        command
    }
}

impl Namespace<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// kubectl in this namespace. It must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(&[&["--namespace", &*self.name], arguments].concat())
    }

    /// `kubectl apply -f -` in this namespace.
    pub fn apply(&self, manifests: &str) -> String {
        self.cluster.piped(manifests, &["--namespace", &self.name, "apply", "-f", "-"])
    }

    /// kubectl in this namespace with this on its standard input, or why it did not succeed.
    pub fn try_piped(&self, input: &str, arguments: &[&str]) -> Result<String, String> {
        let arguments = [&["--namespace", &*self.name], arguments].concat();
        let output = output_of(self.cluster.command("kubectl", &arguments), input);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }

    /// An object of it, or a list of them.
    pub fn object(&self, arguments: &[&str]) -> Value {
        self.cluster.object(&[&["--namespace", &*self.name], arguments].concat())
    }

    /// Waits until every Deployment has rolled out.
    pub fn rolled_out(&self) {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        for name in self.kubectl(&["get", "deployments", "--output", "name"]).lines() {
            self.kubectl(&["rollout", "status", name, &timeout]);
        }
    }

    /// The address that a Service of type LoadBalancer was given.
    pub fn load_balancer(&self, service: &str) -> Ipv4Addr {
        let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
        wait::within(PATIENCE, &format!("an address for {service}"), || {
            self.kubectl(&["get", "service", service, "--output", path]).trim().parse().ok()
        })
    }

    /// What a command says in a pod (or `deployment/NAME`). It must succeed.
    pub fn exec(&self, pod: &str, command: &[&str]) -> String {
        self.kubectl(&[&["exec", pod, "--"], command].concat())
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // it is looked at, and goes with the cluster
            return;
        }
        self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait"]);
    }
}

fn succeeded(output: Output, arguments: &[&str]) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn fed(command: Command, input: &str, arguments: &[&str]) -> String {
    succeeded(output_of(command, input), arguments)
}

fn output_of(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = command.spawn().expect("the script starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // what it says meanwhile must not fill the pipe against us
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it is our child");
    // one that ended without reading says why itself
    let _ = writer.join();
    output
}
