//! `demo-role stage`: makes the namespaces and starts the node inside them.
//!
//! Started by the supervisor as a fresh process, because a process with threads cannot enter a user namespace. Stays as the
//! link between the two: the new PID namespace's first process must be somebody's child. Changes nothing on the host.

use std::{
    fs, io,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setsid},
};

use super::{
    lifeline,
    messages::{self, FromNode},
    refusal::{self, Step},
};
use crate::Failure;

/// Stdin is the socket to the supervisor, stdout the host's listener or nothing; both are handed on to the node.
pub(crate) fn run() -> Result<(), Failure> {
    let socket = messages::inherited()?;
    lifeline::hold(socket.as_fd())?;
    // Ctrl-C on the terminal is the supervisor's business
    let _ = setsid();
    let as_root = Uid::effective().is_root();
    if let Err((step, error)) = enter() {
        tell(socket, &FromNode::Refused(refusal::explain(step, error, as_root)));
        return Err(Failure::silent(1));
    }
    // entering a user namespace changed our credentials, which clears the parent-death signal
    lifeline::hold(socket.as_fd())?;
    drop(socket);
    let status = Command::new("/proc/self/exe")
        .args(["demo-role", "init"])
        .stdin(io::stdin().as_fd().try_clone_to_owned()?)
        .stdout(io::stdout().as_fd().try_clone_to_owned()?)
        .stderr(Stdio::inherit())
        .env_clear()
        .envs(kept_environment())
        .status()?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Err(Failure::silent(u8::try_from(code).unwrap_or(1)))
}

/// Enters a user namespace unless root may do without, then the others.
fn enter() -> Result<(), (Step, Errno)> {
    let others = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() && unshare(others).is_ok() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| (Step::UserNamespace, error))?;
    let map = |file: &str, text: String| {
        let written = fs::write(format!("/proc/self/{file}"), text);
        written.map_err(|error| (Step::UserMap, Errno::from_raw(error.raw_os_error().unwrap_or(0))))
    };
    // without this an unprivileged process may not map its group
    map("setgroups", "deny".into())?;
    map("uid_map", format!("0 {uid} 1"))?;
    map("gid_map", format!("0 {gid} 1"))?;
    unshare(others).map_err(|error| (Step::Namespaces, error))
}

/// Programs of the user run with the caller's paths and language, and with nothing that leads out of the mesh, such as a
/// proxy variable.
fn kept_environment() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    std::env::vars_os().filter(|(name, _)| KEPT.iter().any(|kept| name == kept))
}

fn tell(mut socket: std::os::unix::net::UnixStream, message: &FromNode) {
    use io::Write;
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    let _ = socket.write_all(&line);
}

const KEPT: &[&str] =
    &["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "MINIMESH_LOG_LEVEL", "PATH", "TMPDIR", "TZ", "USER"];
