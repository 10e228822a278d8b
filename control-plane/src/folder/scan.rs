//! One look at the folders: what is there, what of it is in force, and what changed since the last look.
//!
//! Only files whose stamp changed are read again. Nothing is forgotten because it cannot be read: a file or a folder that is
//! broken keeps its last good state until it is whole again or gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use minimesh_index::{Event, Object, ObjectKey};
use tracing::info;

use super::{Parsed, Problem, parse};

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What changed: first one `Replace`, later `Apply`s and `Delete`s.
    pub(super) events: Vec<Event>,
    /// What is wrong now, in order of place.
    pub(super) problems: Vec<Problem>,
    /// Something may be in the middle of being written: look again soon.
    pub(super) unsure: bool,
}

/// Looks at folders, and remembers what it saw.
#[derive(Debug)]
pub(super) struct Scanner {
    roots: Vec<Root>,
    in_force: Option<BTreeMap<ObjectKey, Object>>,
    ignored: BTreeSet<String>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    files: BTreeMap<PathBuf, File>,
    directories: Vec<PathBuf>,
    problem: Option<Problem>,
}

/// A file as it was read last.
#[derive(Debug, Default)]
struct File {
    stamp: Stamp,
    /// Objects of the last text without a problem.
    good: Vec<(Object, u32)>,
    problems: Vec<Problem>,
    /// It was seen empty once: perhaps between truncation and writing.
    emptied: bool,
}

/// Two equal stamps: nobody wrote in between, as far as the file system can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    /// The file was so young that a second write may have the same time.
    racy: bool,
}

/// Larger manifests are no manifests.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Folders inside folders; deeper ones are a loop or a mistake.
const DEEPEST: usize = 16;

/// Coarsest clock of the file systems in use (ext4 and tmpfs: one tick), generously.
const TICK: Duration = Duration::from_millis(100);

impl Scanner {
    pub(super) fn new(folders: Vec<PathBuf>) -> Scanner {
        let roots = folders.into_iter().map(|path| Root {
            directories: vec![path.clone()],
            path,
            files: BTreeMap::new(),
            problem: None,
        });
        Scanner { roots: roots.collect(), in_force: None, ignored: BTreeSet::new() }
    }

    /// Every directory that is part of what is looked at.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().flat_map(|root| root.directories.iter().map(PathBuf::as_path))
    }

    /// Looks.
    pub(super) fn scan(&mut self) -> Found {
        let mut found = Found::default();
        for root in &mut self.roots {
            found.unsure |= root.look(&mut self.ignored);
        }
        let mut in_force = BTreeMap::new();
        for root in &self.roots {
            found.problems.extend(root.problem.iter().cloned());
            found.problems.extend(root.files.values().flat_map(|file| file.problems.iter().cloned()));
            root.contribute(&mut in_force, &mut found.problems);
        }
        found.problems.sort();
        found.events = match self.in_force.take() {
            None => vec![Event::Replace(in_force.values().cloned().collect())],
            Some(before) => difference(&before, &in_force),
        };
        self.in_force = Some(in_force);
        found
    }
}

impl Root {
    /// Reads what changed; says whether to look again soon.
    fn look(&mut self, ignored: &mut BTreeSet<String>) -> bool {
        let mut seen = Vec::new();
        let mut directories = Vec::new();
        let listed = list(&self.path, DEEPEST, &mut seen, &mut directories);
        if let Err(error) = listed {
            let reason = format!("cannot read the folder: {error}; what was read before stays in force");
            self.problem = Some(whole(&self.path, reason));
            return false;
        }
        self.problem = None;
        self.directories = directories;
        let present: BTreeSet<&PathBuf> = seen.iter().map(|(path, _)| path).collect();
        self.files.retain(|path, _| present.contains(path));
        let mut unsure = false;
        for (path, metadata) in seen {
            let file = self.files.entry(path.clone()).or_default();
            unsure |= file.look(&path, &metadata, ignored);
        }
        unsure
    }

    /// Adds this folder's objects; they override those of earlier folders.
    fn contribute(&self, in_force: &mut BTreeMap<ObjectKey, Object>, problems: &mut Vec<Problem>) {
        let mut places: BTreeMap<ObjectKey, (&Path, u32)> = BTreeMap::new();
        for (path, file) in &self.files {
            for (object, line) in &file.good {
                let key = object.key();
                if let Some((first, first_line)) = places.get(&key) {
                    let first = first.display();
                    let reason = format!("{key} is already defined at {first}:{first_line}; that one is in force");
                    problems.push(Problem { line: *line, ..whole(path, reason) });
                    continue;
                }
                in_force.insert(key.clone(), object.clone());
                places.insert(key, (path, *line));
            }
        }
    }
}

impl File {
    fn look(&mut self, path: &Path, metadata: &io::Result<Metadata>, ignored: &mut BTreeSet<String>) -> bool {
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) => {
                self.refuse(path, &format!("cannot look at the file: {error}"));
                return false;
            }
        };
        let stamp = Stamp::of(metadata);
        if stamp == self.stamp && !stamp.racy && !self.emptied {
            return false;
        }
        self.stamp = stamp;
        let text = match read(path, metadata) {
            Ok(text) => text,
            Err(reason) => {
                self.refuse(path, &reason);
                return false;
            }
        };
        if text.trim().is_empty() && !self.good.is_empty() && !self.emptied {
            self.emptied = true;
            return true;
        }
        self.emptied = false;
        let Parsed { objects, problems, ignored: kinds } = parse(&path.to_string_lossy(), &text);
        for kind in kinds {
            if ignored.insert(kind.clone()) {
                info!(%kind, file = %path.display(), "ignoring a kind that the mesh has no use for");
            }
        }
        if problems.is_empty() {
            self.good = objects;
            self.problems = problems;
        } else {
            self.problems = problems.into_iter().map(|problem| self.explain(problem)).collect();
        }
        false
    }

    fn refuse(&mut self, path: &Path, reason: &str) {
        self.problems = vec![self.explain(whole(path, reason.to_owned()))];
    }

    /// Adds what follows from a problem.
    fn explain(&self, mut problem: Problem) -> Problem {
        let follows = if self.good.is_empty() {
            "nothing of this file is in force"
        } else {
            "the file's last good state stays in force"
        };
        problem.reason = format!("{}; {follows}", problem.reason);
        problem
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            racy: age.is_none_or(|age| age < TICK),
        }
    }
}

/// What there is to read below a folder. Only the top folder's failure is an error.
fn list(
    folder: &Path,
    depth: usize,
    files: &mut Vec<(PathBuf, io::Result<Metadata>)>,
    directories: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    directories.push(folder.to_owned());
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.starts_with('#') || name.ends_with('~') {
            continue;
        }
        let path = entry.path();
        // follows links: mounted ConfigMaps consist of them
        let metadata = fs::metadata(&path);
        let is_folder = metadata.as_ref().is_ok_and(Metadata::is_dir);
        if is_folder && depth > 0 {
            // A folder inside that cannot be read has no files; its own watch would tell of a change.
            let _ = list(&path, depth - 1, files, directories);
        } else if !is_folder && [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)) {
            files.push((path, metadata));
        }
    }
    Ok(())
}

fn read(path: &Path, metadata: &Metadata) -> Result<String, String> {
    if !metadata.is_file() {
        return Err("this is no file".to_owned());
    }
    if metadata.len() > LARGEST {
        return Err(format!("the file has {} bytes; at most {LARGEST} are read", metadata.len()));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot read the file: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        format!("byte {} is not UTF-8: save the file in that encoding", error.utf8_error().valid_up_to() + 1)
    })
}

fn whole(path: &Path, reason: String) -> Problem {
    Problem { file: path.to_owned(), line: 0, column: 0, field: String::new(), reason }
}

/// What is referred to comes before what refers to it (`Kind`'s order), and goes after it.
fn difference(before: &BTreeMap<ObjectKey, Object>, after: &BTreeMap<ObjectKey, Object>) -> Vec<Event> {
    let changed = after.iter().filter(|(key, object)| before.get(*key) != Some(*object));
    let gone = before.keys().rev().filter(|key| !after.contains_key(*key));
    let applied = changed.map(|(_, object)| Event::Apply(object.clone()));
    applied.chain(gone.map(|key| Event::Delete(key.clone()))).collect()
}
