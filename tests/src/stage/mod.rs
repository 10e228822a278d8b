//! The inside: makes namespaces and starts programs in them, as a test says over a pipe.
//!
//! Three roles of one program, each single-threaded when it enters a namespace: `node` makes the namespaces, `init` is PID 1
//! of them, `enter` becomes the program that was asked for. When the test ends, however it ends, `init` reads the end of
//! its pipe or is killed with `node`, and the kernel ends every process of the PID namespace with it.

mod network;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getgid, getuid};

use crate::Failure;
use crate::protocol::{Reply, Request, Spawn, Status};
use network::Network;

/// In the argument list of a [`Spawn`]: this program itself.
pub const SELF: &str = "@netns-runner";

/// Makes the namespaces and waits for what runs in them.
pub fn node() -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let (uid, gid) = (getuid(), getgid());
    let mut flags =
        CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|error| format!("unshare: {error}; `cargo xtask test` says what is missing"))?;
    if !uid.is_root() {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    let status = Command::new("/proc/self/exe").arg("init").status()?;
    if status.success() { Ok(()) } else { Err(format!("init: {status}").into()) }
}

/// PID 1 of a world: has a bridge, and does what the test says until the test is gone.
pub fn init() -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut init = Init { network: runtime.block_on(Network::new())?, ended: HashMap::new() };
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let reply = match serde_json::from_str(&line?) {
            Ok(request) => {
                runtime.block_on(init.serve(request)).unwrap_or_else(|error| Reply::Failed(error.to_string()))
            }
            Err(error) => Reply::Failed(error.to_string()),
        };
        writeln!(stdout, "{}", serde_json::to_string(&reply)?)?;
        stdout.flush()?;
    }
    Ok(())
}

/// Becomes the program of `arguments` in the network namespace that is open as standard input.
pub fn enter(arguments: &[String]) -> Result<(), Failure> {
    setns(std::io::stdin(), CloneFlags::CLONE_NEWNET)?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let (program, rest) = arguments.split_first().ok_or("nothing to start")?;
    let program = if program == SELF { "/proc/self/exe" } else { program };
    Err(format!("{program}: {}", Command::new(program).args(rest).exec()).into())
}

struct Init {
    network: Network,
    ended: HashMap<i32, Status>,
}

impl Init {
    async fn serve(&mut self, request: Request) -> Result<Reply, Failure> {
        self.reap()?;
        match request {
            Request::AddAddress { pod, address } => self.network.add_address(&pod, address).await.map(|()| Reply::Done),
            Request::AddPod { name, address, families } => {
                self.network.add_pod(name, address, families).await.map(|()| Reply::Done)
            }
            Request::Attach { pod, attached } => self.network.attach(&pod, attached).await.map(|()| Reply::Done),
            Request::Signal { pid, signal } => match kill(Pid::from_raw(pid), Signal::try_from(signal)?) {
                Ok(()) | Err(Errno::ESRCH) => Ok(Reply::Done),
                Err(error) => Err(error.into()),
            },
            Request::Spawn(spawn) => self.spawn(&spawn).map(Reply::Started),
            Request::Status { pid } => Ok(Reply::Status(self.ended.get(&pid).copied().unwrap_or(Status::Running))),
        }
    }

    fn spawn(&self, spawn: &Spawn) -> Result<i32, Failure> {
        let log = |path| OpenOptions::new().create(true).append(true).open(path);
        let mut command = Command::new("/proc/self/exe");
        command.arg("enter").args(&spawn.argv).envs(&spawn.environment);
        command.stdin(Stdio::from(self.network.namespace(spawn.pod.as_deref())?));
        let child = command.stdout(log(&spawn.stdout)?).stderr(log(&spawn.stderr)?).spawn()?;
        Ok(i32::try_from(child.id())?)
    }

    /// Takes note of everything that has ended, orphans included.
    fn reap(&mut self) -> Result<(), Failure> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => self.ended.insert(pid.as_raw(), Status::Exited(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.ended.insert(pid.as_raw(), Status::Killed(signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) => None,
                Err(error) => return Err(error.into()),
            };
        }
    }
}
