//! A CPU limit, as Kubernetes sets it for a container: time per tenth of a second, by a control group of version 1 or 2.

use std::fs;
use std::path::{Path, PathBuf};

use minimesh_benches::load::Failure;

/// A control group. Dropping it lets its processes go.
pub(crate) struct Limit {
    folder: PathBuf,
    parent: PathBuf,
}

impl Limit {
    /// With so many thousandths of a processor; a sentence if this machine has no such group for us.
    pub(crate) fn new(name: &str, millis: u32) -> Result<Limit, String> {
        let base = Path::new("/sys/fs/cgroup");
        let first_version = base.join("cpu/cgroup.procs").exists();
        let parent = if first_version { base.join("cpu") } else { base.to_owned() };
        let micros = millis * PERIOD / 1000;
        let (file, quota) = match first_version {
            true => ("cpu.cfs_quota_us", micros.to_string()),
            false => ("cpu.max", format!("{micros} {PERIOD}")),
        };
        let folder = parent.join(format!("minimesh-bench-{}-{name}", std::process::id()));
        let here = |error: std::io::Error| format!("no control group for CPU limits: {}: {error}", folder.display());
        fs::create_dir(&folder).map_err(here)?;
        let limit = Limit { folder: folder.clone(), parent };
        fs::write(folder.join(file), quota).map_err(here)?;
        Ok(limit)
    }

    /// Moves a process into it.
    fn hold(&self, process: u32) -> Result<(), Failure> {
        Ok(fs::write(self.folder.join("cgroup.procs"), process.to_string())?)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let held = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for process in held.lines() {
            // one that has just ended need not be moved
            let _ = fs::write(self.parent.join("cgroup.procs"), process);
        }
        // an empty group can always be removed
        let _ = fs::remove_dir(&self.folder);
    }
}

/// A tenth of a processor for each.
pub(crate) fn limit(processes: &[u32]) -> Result<Vec<Limit>, Failure> {
    let mut limits = Vec::new();
    for &process in processes {
        let limit = Limit::new(&process.to_string(), 100)?;
        limit.hold(process)?;
        limits.push(limit);
    }
    Ok(limits)
}

/// Microseconds; what Kubernetes uses.
const PERIOD: u32 = 100_000;
