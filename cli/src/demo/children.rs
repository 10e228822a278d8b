//! The processes that a role of the demo has started: who runs, and how each ended.
//!
//! Used by the node (PID 1 of its namespace) and by each pod. Reaps orphans too, which is why tokio's own child handling
//! cannot be used beside it. Belongs to one thread: the parent-death signal of a child is tied to the thread that started it.

use std::{cell::RefCell, collections::HashMap, fmt, io, process::Command, rc::Rc};

use nix::{
    errno::Errno,
    sys::{
        signal::{self, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Status(i32),
    Killed(Signal),
}

/// The table of children of this process. Dropping it ends the reaping.
pub(crate) struct Children {
    waiting: Rc<RefCell<Waiting>>,
    reaper: JoinHandle<()>,
}

/// A child that was started.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    exit: oneshot::Receiver<Exit>,
    ended: Option<Exit>,
}

type Waiting = HashMap<Pid, oneshot::Sender<Exit>>;

impl Children {
    /// Must be called on a current-thread runtime inside a `LocalSet`.
    pub(crate) fn new() -> io::Result<Children> {
        let mut ended = signal(SignalKind::child())?;
        let waiting = Rc::new(RefCell::new(Waiting::new()));
        let table = Rc::clone(&waiting);
        let reaper = tokio::task::spawn_local(async move {
            while ended.recv().await.is_some() {
                reap(&table);
            }
        });
        Ok(Children { waiting, reaper })
    }

    /// Starts a process.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // std's handle neither waits nor kills when dropped
        let pid = Pid::from_raw(command.spawn()?.id().cast_signed());
        let (sender, exit) = oneshot::channel();
        // the reaper runs on this thread, so it cannot have met the pid before this line
        self.waiting.borrow_mut().insert(pid, sender);
        Ok(Child { pid, exit, ended: None })
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}

impl Child {
    /// How it ended. May be dropped and called again.
    pub(crate) async fn wait(&mut self) -> Exit {
        if let Some(ended) = self.ended {
            return ended;
        }
        let exit = (&mut self.exit).await.unwrap_or(Exit::Killed(Signal::SIGKILL));
        *self.ended.insert(exit)
    }

    /// Asks the process itself.
    pub(crate) fn terminate(&self) {
        if self.ended.is_none() {
            let _ = signal::kill(self.pid, Signal::SIGTERM);
        }
    }

    /// Ends the process and what is left of its process group.
    pub(crate) fn kill(&self) {
        let _ = signal::killpg(self.pid, Signal::SIGKILL);
        if self.ended.is_none() {
            let _ = signal::kill(self.pid, Signal::SIGKILL);
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "ended with status {status}"),
            Exit::Killed(signal) => write!(f, "was ended by {signal}"),
        }
    }
}

fn reap(table: &RefCell<Waiting>) {
    loop {
        let (pid, exit) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, Exit::Status(status)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Killed(signal)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => return,
        };
        // none waits: an orphan that was given to us
        if let Some(waiting) = table.borrow_mut().remove(&pid) {
            let _ = waiting.send(exit);
        }
    }
}
