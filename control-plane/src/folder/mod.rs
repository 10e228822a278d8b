//! The folder source: ordinary Kubernetes manifests in folders, watched.
//!
//! Later folders override objects of earlier ones. A malformed file is a [`Problem`]; the last good state of that file stays
//! in force. `parse` is pure, `scan` looks at the disk and says what changed, `notice` waits until it is worth looking again.

mod notice;
mod parse;
mod scan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use minimesh_index::{Event, Object};
use tokio::sync::{mpsc, watch};

use notice::Notice;
pub use parse::parse;
use scan::{Again, Scanner};

/// Something in a folder that is not in force, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// As given and found: the folder's path as on the command line, then the path inside.
    pub file: PathBuf,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    /// From 1; 0: unknown.
    pub column: u32,
    /// As `spec.ports[0].port`; empty: none in particular.
    pub field: String,
    /// What is wrong and what follows from it.
    pub reason: String,
}

/// What a manifest's text came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Objects of known kinds with the line on which each begins.
    pub objects: Vec<(Object, u32)>,
    /// Documents that could not be read.
    pub problems: Vec<Problem>,
    /// What has no meaning in objects that are in force all the same, with what follows from it.
    pub faults: Vec<Problem>,
    /// `apiVersion Kind` of documents that the mesh has no use for.
    pub ignored: Vec<String>,
}

/// A running watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct Folder {
    /// What one look at the folders found changed, to be applied as a whole: first one `Replace`, then `Apply`s and `Delete`s.
    pub events: mpsc::Receiver<Vec<Event>>,
    /// What is wrong now, in order of place.
    pub problems: watch::Receiver<Arc<[Problem]>>,
}

/// The watch cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A folder that is not there, or is no folder.
    #[error("cannot read the manifest folder {}: {source}; create it, or name another with --manifests", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Watches folders; objects of a later one override those of an earlier one. Must be called on a tokio runtime.
pub fn watch(folders: Vec<PathBuf>) -> Result<Folder, FolderError> {
    for path in &folders {
        std::fs::read_dir(path).map_err(|source| FolderError::Unreadable { path: path.clone(), source })?;
    }
    let (changes, events) = mpsc::channel(1);
    let (report, problems) = watch::channel(Arc::from([]));
    tokio::spawn(run(Scanner::new(folders), Notice::new(), changes, report));
    Ok(Folder { events, problems })
}

/// Looks, tells, waits. What changes while the receiver is busy is told as one change: nothing queues.
async fn run(
    mut scanner: Scanner,
    mut notice: Notice,
    changes: mpsc::Sender<Vec<Event>>,
    report: watch::Sender<Arc<[Problem]>>,
) {
    loop {
        // Watches come before the look: what changes in between is noticed.
        notice.watch(scanner.directories());
        let looked = tokio::task::spawn_blocking(move || {
            let found = scanner.scan();
            (scanner, found)
        });
        let Ok((back, found)) = looked.await else { return };
        scanner = back;
        report.send_if_modified(|known| {
            let differs = **known != *found.problems;
            if differs {
                *known = Arc::from(found.problems);
            }
            differs
        });
        if !found.events.is_empty() && changes.send(found.events).await.is_err() {
            return;
        }
        // What was made in a new directory before it was watched, only another look can find.
        let again = if notice.watch(scanner.directories()) { Again::Soon } else { found.again };
        tokio::select! {
            () = notice.wait(again) => {}
            () = changes.closed() => return,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.reason)
    }
}
