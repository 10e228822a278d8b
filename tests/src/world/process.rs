//! A program that runs somewhere in a world.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::World;
use crate::protocol::{Reply, Request, Status};
use crate::wait;

/// A program that was started, with what it prints.
pub struct Process<'w> {
    world: &'w World,
    pid: i32,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl<'w> Process<'w> {
    pub(super) fn new(world: &'w World, pid: i32, what: &str, stdout: PathBuf, stderr: PathBuf) -> Process<'w> {
        Process { world, pid, what: what.to_owned(), stdout, stderr }
    }

    /// Name for people.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Its id outside of the world, by which it stands in /proc; none if it is gone.
    pub fn id_outside(&self) -> Option<u32> {
        self.world.node.id_outside(self.pid)
    }

    /// How it is.
    pub fn status(&self) -> Status {
        match self.world.node.call(&Request::Status { pid: self.pid }) {
            Reply::Status(status) => status,
            other => panic!("status of {}: {other:?}", self.what),
        }
    }

    /// What it has printed so far, if that goes to a log.
    pub fn output(&self) -> String {
        match self.stdout.is_file() {
            true => std::fs::read_to_string(&self.stdout).unwrap_or_default(),
            false => String::new(),
        }
    }

    /// The same, in which not every byte need be text: those that are none are shown as `\\xE9`.
    pub fn output_escaped(&self) -> String {
        let bytes = std::fs::read(&self.stdout).unwrap_or_default();
        let chunk = |chunk: std::str::Utf8Chunk<'_>| format!("{}{}", chunk.valid(), chunk.invalid().escape_ascii());
        bytes.utf8_chunks().map(chunk).collect()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.world.node.call(&Request::Signal { pid: self.pid, signal: signal as i32 });
    }

    /// Waits for its end.
    pub fn wait(&self) -> Status {
        self.wait_within(wait::PATIENCE)
    }

    /// Waits for its end as long as that.
    pub fn wait_within(&self, patience: std::time::Duration) -> Status {
        wait::within(patience, &format!("{} ends", self.what), || {
            Some(self.status()).filter(|status| *status != Status::Running)
        })
    }

    /// Waits for its end, which must be a good one; says what it printed.
    pub fn succeed(self) -> String {
        self.succeed_within(wait::PATIENCE)
    }

    /// The same with another deadline.
    pub fn succeed_within(self, patience: std::time::Duration) -> String {
        let status = self.wait_within(patience);
        assert_eq!(status, Status::Exited(0), "{}:\n{}{}", self.what, self.output_escaped(), self.log());
        self.output_escaped()
    }

    /// Panics with its log if it is gone.
    pub fn expect_running(&self) {
        let status = self.status();
        assert_eq!(status, Status::Running, "{} is gone:\n{}{}", self.what, self.output(), self.log());
    }

    /// Sends SIGTERM and waits for its end.
    pub fn terminate(&self) -> Status {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Sends SIGKILL and waits for its end.
    pub fn kill(&self) -> Status {
        self.signal(Signal::SIGKILL);
        self.wait()
    }
}
