//! `demo-role exec`: becomes a container's program, tied to its pod's life.

use std::{io, os::unix::process::CommandExt, path::PathBuf, process::Command};

use nix::unistd::{Pid, setsid};

use super::lifeline;
use crate::Failure;

/// What to become.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Process id of the pod
    #[arg(long)]
    parent: i32,
    /// Working directory
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Program and arguments; `minimesh` is this program
    #[arg(last = true, required = true)]
    command: Vec<std::ffi::OsString>,
}

/// Returns only if the program cannot be run.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    lifeline::hold_to(Pid::from_raw(args.parent))?;
    // a group of its own, so that what it starts can be ended with it
    let _ = setsid();
    let (program, rest) = args.command.split_first().expect("clap requires one");
    let ours = program == "minimesh";
    let mut command = Command::new(if ours { "/proc/self/exe".as_ref() } else { program.as_os_str() });
    command.args(rest);
    if ours {
        command.arg0("minimesh");
    }
    if let Some(directory) = &args.directory {
        command.current_dir(directory);
    }
    let error = command.exec();
    let place = args.directory.map(|directory| format!(" in {}", directory.display())).unwrap_or_default();
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "; containers run programs of this machine, images are not pulled",
        _ => "",
    };
    Err(Failure::new(format!("cannot run {}{place}: {error}{advice}", program.display())))
}
