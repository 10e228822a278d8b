//! `minimesh demo` as a test sees it: started as a user starts it, and looked into through its processes' namespaces.
//!
//! The program knows nothing of this: that it can be looked into is what Linux offers to whoever started it.

mod watch;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::apps::READY;
use crate::wait;
use crate::world::{beside, minimesh};

pub use watch::{Interface, Plan, Seen, run};

/// A demo that runs. Dropping it ends it.
pub struct Demo {
    folder: PathBuf,
    child: Child,
}

/// A capture on every interface of every pod, under way.
pub struct Watch {
    child: Child,
    end: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Nineteen pods on a machine that compiles at the same time.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the demo's node, its DNS and its kubelet speak from.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);

impl Demo {
    /// Starts one, for the test of that name, and waits until every pod is ready.
    pub fn start(name: &str, arguments: &[&str]) -> Demo {
        // a socket's path is at most 107 bytes long
        let folder = PathBuf::from(format!("/tmp/minimesh-{name}-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&folder).expect("nobody else makes a folder of that name");
        let log = File::create(folder.join(LOG)).expect("the folder is ours");
        let mut command = Command::new(minimesh());
        command.arg("demo").args(arguments).env("XDG_RUNTIME_DIR", &folder);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut demo = Demo { folder, child: child.expect("the program starts") };
        wait::within(PATIENCE, "every pod of the demo is ready", || {
            let ended = demo.child.try_wait().expect("it is our child");
            assert_eq!(ended, None, "{}", demo.log());
            demo.log().lines().any(all_ready).then_some(())
        });
        demo
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// A folder that goes when the demo goes.
    pub fn scratch(&self) -> &Path {
        &self.folder
    }

    /// Where the shop is on this machine.
    pub fn page(&self) -> SocketAddr {
        let runs = fs::read_dir(self.folder.join("minimesh")).expect("the demo's own folder").flatten();
        let run = runs.map(|entry| entry.path().join("run.json")).find(|file| file.is_file()).expect("one run");
        let run: Value = serde_json::from_str(&fs::read_to_string(run).expect("it is ours")).expect("JSON");
        let url = run["url"].as_str().expect("the shop is exposed");
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        address.parse().expect("an address and a port")
    }

    /// Begins to look at every packet of every pod.
    pub fn watch(&self, markers: &[&str]) -> Watch {
        let markers = markers.iter().map(|&marker| marker.to_owned()).collect();
        let plan = Plan { markers, pods: self.pods(), node: NODE };
        let plan = serde_json::to_string(&plan).expect("it can be written");
        let mut command = Command::new(beside("netns-runner"));
        command.args(["watch", &plan]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("cargo builds netns-runner beside its tests");
        let end = child.stdin.take().expect("it is piped");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("text");
        assert_eq!(line.trim(), READY, "the capture does not begin");
        Watch { child, end, output }
    }

    /// Every network namespace of the demo by its pod's name, with a process that is in it.
    fn pods(&self) -> BTreeMap<String, u32> {
        let ours = namespace(std::process::id());
        let mut pods = BTreeMap::new();
        for process in descendants(self.child.id()) {
            if let Some(name) = pod_of(process)
                && namespace(process) != ours
            {
                pods.insert(name, process);
            }
        }
        pods
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the demo said:\n{}", self.log());
        }
        // everything of a demo ends with its supervisor
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Watch {
    /// Looks at what has arrived until now and says what was seen, by pod.
    pub fn finish(mut self) -> BTreeMap<String, Seen> {
        drop(self.end);
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("text");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}");
        serde_json::from_str(&text).expect("it says what it saw")
    }
}

/// `  3.4 s  pods 19/19 ready`
fn all_ready(line: &str) -> bool {
    let counts = line.split_once("pods ").and_then(|(_, rest)| rest.split_once(" ready"));
    counts.and_then(|(counts, _)| counts.split_once('/')).is_some_and(|(ready, wanted)| ready == wanted)
}

/// The name that a process' command line gives its pod.
fn pod_of(process: u32) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{process}/cmdline")).ok()?;
    let mut words = line.split('\0');
    let named = words.clone().find_map(|word| word.strip_prefix("--pod-name="));
    Some(named.or_else(|| words.find(|word| ["control-plane", "init"].contains(word)))?.to_owned())
}

fn namespace(process: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

/// Children, their children, and so on.
fn descendants(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    let pairs: Vec<(u32, u32)> = entries.filter_map(|entry| child_and_parent(&entry.path())).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(pairs.iter().filter(|pair| pair.1 == parent).map(|pair| pair.0));
        next += 1;
    }
    found
}

fn child_and_parent(folder: &Path) -> Option<(u32, u32)> {
    let child = folder.file_name()?.to_str()?.parse().ok()?;
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Some((child, parent.trim().parse().ok()?))
}

const LOG: &str = "demo.log";
