//! Waits until a look at the folders may find something new: inotify, or a clock where inotify is refused.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use super::scan::Again;

/// Where changes are noticed.
pub(super) struct Notice {
    inotify: Option<Watches>,
}

struct Watches {
    inotify: Inotify,
    /// The same open file, for waiting. tokio's general `AsyncFd` can only be made with `unsafe`; its pipe end, from an owned
    /// descriptor that is not checked to be a pipe, does the same: readiness and read(2).
    events: Receiver,
    directories: HashMap<PathBuf, WatchDescriptor>,
}

/// A burst of writes is one change; the longest that a change may wait for more of its burst.
const SETTLE: Duration = Duration::from_millis(20);

/// Between looks where nothing tells of changes.
const POLL: Duration = Duration::from_millis(500);

/// For what inotify does not see: links to files elsewhere, network file systems.
const SLOW: Duration = Duration::from_secs(10);

impl Notice {
    pub(super) fn new() -> Notice {
        Notice { inotify: Watches::new().map_err(|error| refused(&error)).ok() }
    }

    /// Watches these directories from now on; says whether one of them is new.
    pub(super) fn watch<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) -> bool {
        let Some(watches) = &mut self.inotify else { return false };
        match watches.watch(directories) {
            Ok(new) => new,
            Err(error) => {
                refused(&error.into());
                self.inotify = None;
                true
            }
        }
    }

    /// Looks at a clock alone, as where inotify is refused.
    #[cfg(test)]
    pub(super) fn clock() -> Notice {
        Notice { inotify: None }
    }

    /// Resolves when it is time to look.
    pub(super) async fn wait(&mut self, again: Again) {
        let longest = match again {
            Again::Soon => SETTLE,
            Again::Regularly => POLL,
            Again::Later => SLOW,
        };
        let Some(watches) = &mut self.inotify else { return sleep(longest.min(POLL)).await };
        let longest = Instant::now() + longest;
        if timeout_at(longest, watches.changed()).await.is_ok() {
            let settled = Instant::now() + SETTLE;
            while timeout_at(settled, watches.changed()).await.is_ok() {}
        }
    }
}

impl Watches {
    fn new() -> std::io::Result<Watches> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = Receiver::from_owned_fd_unchecked(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Watches { inotify, events, directories: HashMap::new() })
    }

    fn watch<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) -> Result<bool, Errno> {
        let wanted: Vec<&Path> = directories.collect();
        self.directories.retain(|path, _| wanted.contains(&path.as_path()));
        let mut new = false;
        for path in wanted {
            let watching = match self.inotify.add_watch(path, flags()) {
                Ok(descriptor) => self.directories.insert(path.to_owned(), descriptor) != Some(descriptor),
                // Gone or unreadable at this moment: the parent's watch, or the slow clock, tells when it is back.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => self.directories.remove(path).is_some(),
                Err(error) => return Err(error),
            };
            new |= watching;
        }
        Ok(new)
    }

    /// Resolves when something has happened; what it was, the look at the folders finds out.
    async fn changed(&self) {
        let mut names = [0; 4096];
        while self.events.readable().await.is_ok() {
            match self.events.try_read(&mut names) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}

/// Only what completes a change: a file that is still being written is looked at when it is closed.
fn flags() -> AddWatchFlags {
    AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

fn refused(error: &std::io::Error) {
    warn!(%error, "inotify is refused (see fs.inotify.max_user_instances and max_user_watches); looking at the manifest folders every {POLL:?}");
}
