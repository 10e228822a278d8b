//! Where a running demo keeps its files, and how other commands find it.
//!
//! `demo` creates a run; `stat` and `edges` look one up. One base folder per user (`$XDG_RUNTIME_DIR/minimesh`, else
//! `/tmp/minimesh-UID`), mode 0700, one subfolder per run. A run is alive while its supervisor holds the lock on the run's
//! `lock` file: the kernel gives the lock back however the supervisor ends, so no pid is ever guessed at.
//! Never follows a symbolic link that someone else may have put there, never removes what is not a dead run of ours.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{
    fcntl::{Flock, FlockArg},
    unistd::Uid,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where runs are kept. Flatten this into a command's arguments.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Base {
    /// The user's folder for run-time files
    #[arg(long, env = "XDG_RUNTIME_DIR", hide = true)]
    runtime_dir: Option<PathBuf>,
}

/// What a run tells about itself (`run.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The run's folder.
    pub(crate) directory: PathBuf,
    /// The control plane's socket for `stat` and `edges`.
    pub(crate) operator_socket: PathBuf,
    /// Process id of the supervisor.
    pub(crate) pid: u32,
    /// Where the exposed Service is reached from this machine, if one is.
    pub(crate) url: Option<String>,
    /// Seconds since 1970 when the run began.
    pub(crate) started: u64,
}

/// A run that this process owns; dropping it removes the folder.
#[derive(Debug)]
pub(crate) struct OwnRun {
    directory: PathBuf,
    started: u64,
    _lock: Flock<fs::File>,
}

/// A run that was found, and what the user should be told about the choice.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) run: Run,
    pub(crate) note: Option<String>,
}

/// Why there is no run folder to work with.
#[derive(Debug, Error)]
pub(crate) enum RunDirError {
    #[error("{}", cannot("use", path, source))]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} exists but is {what}; remove it, or set XDG_RUNTIME_DIR to a folder of your own")]
    Unsafe { path: PathBuf, what: &'static str },
    #[error("no demo of this user is running (looked in {looked}); start one with `minimesh demo`")]
    NotRunning { looked: String },
    #[error("{path}: not a run of the demo ({reason}); `--run` takes the folder that `minimesh demo` printed")]
    NotARun { path: PathBuf, reason: String },
}

impl Base {
    /// Removes dead runs and makes a new one.
    pub(crate) fn create(&self) -> Result<OwnRun, RunDirError> {
        let base = self.candidates().remove(0);
        own_folder(&base)?;
        // one at a time: a run without its lock yet must not look dead to another
        let _turn = lock(&base.join("lock"), FlockArg::LockExclusive)?;
        remove_dead_runs(&base)?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let directory = base.join(format!("run-{started}-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(at(&directory))?;
        let held = lock(&directory.join(LOCK), FlockArg::LockExclusive)?;
        Ok(OwnRun { directory, started, _lock: held })
    }

    /// The run that `--run` names (a folder or its last part), else the newest that is alive.
    pub(crate) fn find(&self, named: Option<&Path>) -> Result<Found, RunDirError> {
        let bases = self.candidates();
        if let Some(named) = named {
            let found = std::iter::once(named.to_owned()).chain(bases.iter().map(|base| base.join(named)));
            let path = found.into_iter().find(|path| path.is_dir()).unwrap_or_else(|| named.to_owned());
            return Ok(Found { run: read(&path)?, note: None });
        }
        let mut alive = Vec::new();
        for base in bases.iter().filter(|base| trusted(base).is_ok()) {
            let runs = runs_in(base)?.into_iter().filter(|path| !is_dead(path));
            alive.extend(runs.filter_map(|path| read(&path).ok()));
        }
        alive.sort_by_key(|run| (run.started, run.pid));
        let several = alive.len() > 1;
        let Some(run) = alive.pop() else {
            let looked = bases.iter().map(|base| base.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(RunDirError::NotRunning { looked });
        };
        let note = several.then(|| {
            let others =
                alive.iter().rev().map(|run| run.directory.display().to_string()).collect::<Vec<_>>().join(", ");
            format!("several demos are running; this is the newest, {}; with --run: {others}", run.directory.display())
        });
        Ok(Found { run, note })
    }

    /// Folders that may hold runs of this user, the one for new runs first.
    fn candidates(&self) -> Vec<PathBuf> {
        let uid = Uid::effective();
        let fallback = PathBuf::from(format!("/tmp/minimesh-{uid}"));
        let own = |path: &&PathBuf| {
            // a socket's path holds 107 bytes, and our longest name below the base has under 50; sudo keeps the caller's folder
            path.is_absolute()
                && path.as_os_str().len() < 50
                && fs::metadata(path).is_ok_and(|folder| folder.is_dir() && folder.uid() == uid.as_raw())
        };
        let runtime = self.runtime_dir.as_ref().filter(own).map(|path| path.join("minimesh"));
        runtime.into_iter().chain([fallback]).collect()
    }
}

impl OwnRun {
    /// The run's folder.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Where the control plane shall listen for `stat` and `edges`.
    pub(crate) fn operator_socket(&self) -> PathBuf {
        self.directory.join("operator.sock")
    }

    /// Makes the run known to other commands.
    pub(crate) fn publish(&self, url: Option<String>) -> Result<Run, RunDirError> {
        let run = Run {
            directory: self.directory.clone(),
            operator_socket: self.operator_socket(),
            pid: std::process::id(),
            url,
            started: self.started,
        };
        let (path, new) = (self.directory.join(RUN), self.directory.join("run.json.new"));
        let text = serde_json::to_vec_pretty(&run).map_err(|error| at(&path)(error.into()))?;
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(at(&path))?;
        Ok(run)
    }
}

impl Drop for OwnRun {
    fn drop(&mut self) {
        // what cannot be removed now is a dead run for the next start
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn own_folder(path: &Path) -> Result<(), RunDirError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(path)(error)),
        _ => trusted(path),
    }
}

/// The folder is ours alone and no link: nobody else can have put anything into it.
fn trusted(path: &Path) -> Result<(), RunDirError> {
    let found = fs::symlink_metadata(path).map_err(at(path))?;
    let what = if !found.is_dir() {
        "no folder"
    } else if found.uid() != Uid::effective().as_raw() {
        "owned by another user"
    } else if found.mode() & 0o077 != 0 {
        "open to other users (mode should be 0700)"
    } else {
        return Ok(());
    };
    Err(RunDirError::Unsafe { path: path.to_owned(), what })
}

fn remove_dead_runs(base: &Path) -> Result<(), RunDirError> {
    for path in runs_in(base)? {
        if is_dead(&path) {
            fs::remove_dir_all(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

fn runs_in(base: &Path) -> Result<Vec<PathBuf>, RunDirError> {
    let entries = fs::read_dir(base).map_err(at(base))?.flatten();
    let is_run = |path: &PathBuf| {
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("run-"));
        named && fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
    };
    Ok(entries.map(|entry| entry.path()).filter(is_run).collect())
}

/// Nobody holds the run's lock.
fn is_dead(run: &Path) -> bool {
    let Ok(file) = fs::File::open(run.join(LOCK)) else { return true };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
}

fn read(directory: &Path) -> Result<Run, RunDirError> {
    let not_a_run = |reason: String| RunDirError::NotARun { path: directory.to_owned(), reason };
    let text = fs::read(directory.join(RUN)).map_err(|error| not_a_run(format!("{RUN}: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| not_a_run(format!("{RUN}: {error}")))
}

fn lock(path: &Path, how: FlockArg) -> Result<Flock<fs::File>, RunDirError> {
    let open = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = open.map_err(at(path))?;
    Flock::lock(file, how).map_err(|(_, error)| at(path)(error.into()))
}

/// What could not be done to something below the base, and the way out.
pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there (a demo takes about 2 MiB), or set XDG_RUNTIME_DIR to a folder of yours elsewhere"
        }
        io::ErrorKind::PermissionDenied => {
            "make it yours (chown) and mode 0700, or set XDG_RUNTIME_DIR to a folder of yours elsewhere"
        }
        _ => "set XDG_RUNTIME_DIR to a folder of yours elsewhere",
    };
    format!("cannot {what} {}: {error}; {advice}", path.display())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.to_owned();
    move |source| RunDirError::Io { path, source }
}

const LOCK: &str = "lock";
const RUN: &str = "run.json";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A run-time folder of this test's own, short enough for a socket below it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> (Scratch, Base) {
            let path = PathBuf::from(format!("/tmp/mm-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("no such folder yet");
            (Scratch(path.clone()), Base { runtime_dir: Some(path) })
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn published_run_is_found_until_dropped() {
        let (_scratch, base) = Scratch::new("found");
        let own = base.create().expect("a run");
        let run = own.publish(Some("http://127.0.0.1:1/".into())).expect("published");
        let name = run.directory.file_name().map(Path::new);
        assert_eq!(base.find(name).expect("found").run, run);
        drop(own);
        assert!(matches!(base.find(name), Err(RunDirError::NotARun { .. })));
    }

    #[test]
    fn run_without_holder_of_its_lock_is_removed_by_the_next() {
        let (scratch, base) = Scratch::new("dead");
        let dead = scratch.0.join("minimesh/run-1-1");
        fs::DirBuilder::new().mode(0o700).create(scratch.0.join("minimesh")).expect("base");
        fs::create_dir(&dead).expect("dead run");
        fs::write(dead.join(RUN), "{}").expect("its file");
        let _own = base.create().expect("a run");
        assert!(!dead.exists());
    }

    #[test]
    fn full_disk_is_named_with_the_place_and_the_way_out() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let text = RunDirError::Io { path: "/run/user/1/minimesh".into(), source: full }.to_string();
        assert!(text.starts_with("cannot use /run/user/1/minimesh: "), "{text}");
        assert!(text.contains("free some space there") && text.contains("XDG_RUNTIME_DIR"), "{text}");
    }

    #[test]
    fn link_in_place_of_the_base_is_refused() {
        let (scratch, base) = Scratch::new("link");
        let elsewhere = scratch.0.join("elsewhere");
        fs::create_dir(&elsewhere).expect("folder");
        std::os::unix::fs::symlink(&elsewhere, scratch.0.join("minimesh")).expect("link");
        assert!(matches!(base.create(), Err(RunDirError::Unsafe { what: "no folder", .. })));
    }

    #[test]
    fn base_open_to_others_is_refused() {
        let (scratch, base) = Scratch::new("open");
        let path = scratch.0.join("minimesh");
        fs::create_dir(&path).expect("folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        assert!(matches!(base.create(), Err(RunDirError::Unsafe { .. })));
    }
}
