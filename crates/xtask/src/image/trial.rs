//! Runs what goes into an image where nothing else is: a program that needs a file of this machine is found here, not on a node.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::program::Architecture;
use crate::compat::path;
use crate::host;

/// A program and the layer that it was put into.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'p> {
    pub(crate) program: &'p Path,
    pub(crate) architecture: Architecture,
    pub(crate) layer: &'p Path,
}

/// Asks the program for its version, below `folder`; says how that went, or why it was not tried. It must answer that version.
pub(crate) fn run(packed: &Packed<'_>, version: &str, folder: &Path) -> Result<String, String> {
    let Packed { program, architecture, layer } = *packed;
    let (mut command, _root) = if Architecture::host() == Some(architecture) {
        if let Err(why) = host::namespaces() {
            return Ok(format!("not tried: {why}"));
        }
        let root = Root::of(layer, folder)?;
        (alone(&root.0, &["/minimesh", "--version"]), Some(root))
    } else {
        let emulator = format!("qemu-{}-static", architecture.processor());
        if !host::is_on(&path(), &emulator) {
            return Ok(format!("not tried: no {emulator} here (on Debian: apt-get install qemu-user-static)"));
        }
        let mut command = Command::new(emulator);
        command.arg(program).arg("--version");
        (command, None)
    };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Ok(format!("not tried: {}: {error}", command.get_program().display())),
    };
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && said == format!("minimesh {version}") {
        Ok(format!("tried: it is {said}"))
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        Err(format!(
            "with the image's files alone its program does not say minimesh {version} ({status}): {said}{errors}"
        ))
    }
}

/// A command with that root and nothing of this machine's environment.
pub(crate) fn alone(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net"]);
    if !host::is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--root").arg(root).args(words).env_clear().env("PATH", path());
    command.stdin(Stdio::null());
    command
}

/// The files of a layer, until they are no longer looked at.
pub(crate) struct Root(pub(crate) PathBuf);

impl Root {
    pub(crate) fn of(layer: &Path, folder: &Path) -> Result<Root, String> {
        let root = Root(folder.join(format!("root-{}", std::process::id())));
        std::fs::create_dir_all(&root.0).map_err(|error| format!("{}: {error}", root.0.display()))?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--no-same-owner", "--file"]).arg(layer).arg("--directory").arg(&root.0);
        let output = tar.output().map_err(|error| format!("tar: {error}"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(root) } else { Err(format!("tar does not read the layer: {errors}")) }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // nothing of it is worth a word
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
