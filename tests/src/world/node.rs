//! The other end of the pipe to `netns-runner node`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::protocol::{Reply, Request};

pub(super) struct Node(RefCell<Pipe>);

struct Pipe {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

/// A process, as /proc has it.
struct Seen {
    id: u32,
    parent: u32,
    /// In its own PID namespace.
    id_inside: i32,
}

impl Seen {
    fn at(folder: &std::path::Path) -> Option<Seen> {
        let status = std::fs::read_to_string(folder.join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Some(Seen {
            id: field("Pid")?.trim().parse().ok()?,
            parent: field("PPid")?.trim().parse().ok()?,
            id_inside: field("NSpid")?.split_whitespace().last()?.parse().ok()?,
        })
    }
}

impl Node {
    pub(super) fn start() -> Node {
        let mut command = Command::new(super::beside("netns-runner"));
        command.arg("node").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("cargo builds netns-runner beside its tests");
        let requests = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().expect("it is piped"));
        Node(RefCell::new(Pipe { child, requests, replies }))
    }

    pub(super) fn call(&self, request: &Request) -> Reply {
        let mut pipe = self.0.borrow_mut();
        let text = serde_json::to_string(request).expect("requests can be written");
        let requests = pipe.requests.as_mut().expect("the world is not stopped");
        writeln!(requests, "{text}").expect("the node reads its pipe");
        let mut line = String::new();
        pipe.replies.read_line(&mut line).expect("the node answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the node is gone; it answered {line:?} to {text}"))
    }

    /// The id that a process of the world, which knows itself by `pid`, has in this process' namespace.
    pub(super) fn id_outside(&self, pid: i32) -> Option<u32> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let all: Vec<Seen> = processes.filter_map(|entry| Seen::at(&entry.path())).collect();
        let init = all.iter().find(|process| process.parent == self.0.borrow().child.id())?;
        all.iter().find(|process| process.parent == init.id && process.id_inside == pid).map(|process| process.id)
    }

    /// Ends the node, and with it everything inside.
    pub(super) fn stop(&self) {
        let mut pipe = self.0.borrow_mut();
        pipe.requests = None;
        // nothing can be done about a node that cannot be waited for
        let _ = pipe.child.wait();
    }
}
