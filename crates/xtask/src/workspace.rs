//! The workspace as cargo sees it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where it is, and which crate depends on which.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One crate of ours.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Direct dependencies that end up in what is shipped: normal ones, not those of tests and build scripts.
    pub(crate) dependencies: Vec<String>,
}

impl Workspace {
    pub(crate) fn load() -> Result<Workspace, String> {
        let mut command = Command::new("cargo");
        command.args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| format!("cannot run cargo metadata: {error}"))?;
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("cannot read cargo metadata: {error}"))?;
        let path =
            |key: &str| metadata[key].as_str().map(PathBuf::from).ok_or_else(|| format!("no {key} in cargo metadata"));
        Ok(Workspace {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            packages: metadata["packages"].as_array().into_iter().flatten().map(package).collect(),
        })
    }

    /// The version of one of our crates.
    pub(crate) fn version(&self, name: &str) -> Result<&str, String> {
        let package = self.packages.iter().find(|package| package.name == name);
        package.map(|package| &*package.version).ok_or_else(|| format!("there is no crate {name}"))
    }

    /// A cargo command at the root, without colours in what is read by us.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Every file that git knows or would add.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, String> {
        let mut command = Command::new("git");
        command.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&self.root);
        let output = command.output().map_err(|error| format!("cannot run git ls-files: {error}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let names = String::from_utf8_lossy(&output.stdout);
        let mut files: Vec<PathBuf> =
            names.lines().map(|name| self.root.join(name)).filter(|path| path.is_file()).collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    pub(crate) fn relative<'p>(&self, path: &'p Path) -> std::path::Display<'p> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

fn package(value: &Value) -> Package {
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let dependencies = value["dependencies"].as_array().into_iter().flatten();
    let version = value["version"].as_str().unwrap_or_default().to_owned();
    Package {
        name: name(value),
        version,
        dependencies: dependencies.filter(|one| one["kind"].is_null()).map(name).collect(),
    }
}

/// Runs a command with its output on the terminal.
pub(crate) fn passes(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    let status = command.status().map_err(|error| format!("cannot run {shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}
