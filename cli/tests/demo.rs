//! `minimesh demo` as a person runs it: the real program, real namespaces, in whatever way this machine allows.
//!
//! Where it allows none, the tests say so and pass: the refusal itself is tested with the advice.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A demo, and a pipe that every process of it holds open.
struct Demo {
    folder: PathBuf,
    child: Child,
    stderr: BufReader<ChildStderr>,
    everyone: io::PipeReader,
}

impl Demo {
    /// `None`: this machine allows no namespaces.
    fn start(name: &str, manifests: &str, arguments: &[&str]) -> Option<Demo> {
        // short, since a socket's path must fit
        let folder = PathBuf::from(format!("/tmp/mm-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("manifests")).expect("a folder of our own");
        fs::write(folder.join("manifests/app.yaml"), manifests).expect("a manifest");
        let (everyone, held) = io::pipe().expect("a pipe");
        fcntl(held.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).expect("children keep it");
        let child = Command::new(env!("CARGO_BIN_EXE_minimesh"))
            .arg("demo")
            .arg("--file")
            .arg(folder.join("manifests"))
            .args(arguments)
            .env("XDG_RUNTIME_DIR", &folder)
            .env_remove("HOME")
            // as in a pod of some cluster: the demo's control plane must not take its folder for that cluster's
            .env("KUBERNETES_SERVICE_HOST", "10.43.0.1")
            .env("KUBERNETES_SERVICE_PORT", "443")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut demo = Demo { folder, child, stderr, everyone };
        let first = demo.line();
        if first.contains("does not let the demo make") {
            eprintln!("skipped: {first}");
            return None;
        }
        Some(demo)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).expect("text");
        line
    }

    fn wait_for(&mut self, text: &str) {
        let mut said = String::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "ended before {text:?}: {said}");
            if line.contains(text) {
                return;
            }
            said.push_str(&line);
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it runs");
    }

    /// Until no process of the demo is left.
    fn wait_for_everyone(&mut self) {
        let mut watched = [PollFd::new(self.everyone.as_fd(), PollFlags::POLLIN)];
        let ended = poll(&mut watched, PollTimeout::from(20_000_u16)).expect("a pipe can be polled");
        assert_eq!(ended, 1, "a process of the demo outlives it");
        assert_eq!(self.everyone.read(&mut [0]).expect("an end"), 0);
    }

    fn runs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("minimesh")).expect("the base folder").flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Two pods of the shop's own programs, without sidecars.
const APP: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: sessions, namespace: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: sessions}}
  template:
    metadata: {labels: {app: sessions}}
    spec:
      containers:
        - name: sessions
          command: ["minimesh", "sock-shop", "session-db"]
          ports: [{name: redis, containerPort: 6379}]
          readinessProbe: {tcpSocket: {port: redis}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: sessions, namespace: app}
spec:
  selector: {app: sessions}
  ports: [{port: 6379, targetPort: redis}]
"#;

#[test]
fn killed_supervisor_leaves_no_process() {
    let Some(mut demo) = Demo::start("kill", APP, &["-o", "plain"]) else { return };
    demo.wait_for("pods 3/3 ready");
    demo.signal(Signal::SIGKILL);
    demo.child.wait().expect("it was ours");
    demo.wait_for_everyone();
    assert_eq!(demo.runs().len(), 1, "its folder waits for the next start");
}

#[test]
fn interrupted_demo_ends_cleanly_and_removes_its_folder() {
    let Some(mut demo) = Demo::start("int", APP, &["-o", "plain"]) else { return };
    demo.wait_for("pods 3/3 ready");
    demo.signal(Signal::SIGINT);
    demo.child.wait().expect("it was ours");
    demo.wait_for_everyone();
    assert_eq!(demo.runs(), Vec::<PathBuf>::new());
}

#[test]
fn demo_without_traffic_fails_with_a_document_and_a_sentence() {
    let Some(mut demo) = Demo::start("json", APP, &["-o", "json", "--duration", "1s"]) else { return };
    demo.wait_for("no traffic was reported");
    let status = demo.child.wait().expect("it was ours");
    let mut document = String::new();
    demo.child.stdout.take().expect("piped").read_to_string(&mut document).expect("text");
    let document: serde_json::Value = serde_json::from_str(&document).expect("one document and nothing else");
    assert_eq!((status.code(), document["edges"].as_array().map(Vec::len)), (Some(1), Some(0)));
}

#[test]
fn container_without_command_is_refused_with_file_line_and_field() {
    let manifest = APP.replace(r#"command: ["minimesh", "sock-shop", "session-db"]"#, "image: redis:7");
    let folder = PathBuf::from(format!("/tmp/mm-bad-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder of our own");
    fs::write(folder.join("app.yaml"), manifest).expect("a manifest");
    let output = run(&folder, &["demo", "--file"]);
    let _ = fs::remove_dir_all(&folder);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("app.yaml:12: spec.template.spec.containers[0].command is missing"), "{text}");
}

fn run(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let program = Command::new(env!("CARGO_BIN_EXE_minimesh"))
        .args(arguments)
        .arg(folder)
        .env("XDG_RUNTIME_DIR", folder)
        .output();
    program.expect("the program starts")
}
