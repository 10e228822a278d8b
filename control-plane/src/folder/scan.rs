//! One look at the folders: what is there, what of it is in force, and what changed since the last look.
//!
//! Only files whose stamp changed are read again. Nothing is forgotten because it cannot be read: a file or a folder that is
//! broken keeps its last good state until it is whole again or gone. Nor because it is being written: a file that is rewritten
//! in place is believed when two looks have found the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use minimesh_index::{Event, Object, ObjectKey};
use tracing::info;

use super::{Problem, parse};

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What changed: first one `Replace`, later `Apply`s and `Delete`s.
    pub(super) events: Vec<Event>,
    /// What is wrong now, in order of place.
    pub(super) problems: Vec<Problem>,
    /// When to look again, whatever happens.
    pub(super) again: Again,
}

/// When to look again where nothing tells of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Again {
    /// All is as it should be.
    #[default]
    Later,
    /// A folder is missing, and nothing would tell of its return.
    Regularly,
    /// Something may be in the middle of being written.
    Soon,
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
    /// Folders that cannot be read.
    problems: Vec<Problem>,
    /// It could be read once.
    listed: bool,
}

/// A file as it was read last.
#[derive(Debug, Default)]
struct File {
    /// When it was read; `None`: it could not be.
    stamp: Option<Stamp>,
    /// It was so young then that a second write may have the same time.
    racy: bool,
    /// What the last look found, if it was not believed yet.
    doubted: Option<Stamp>,
    /// Objects of the last text without a problem, and what in them has no meaning.
    good: Vec<(Object, u32)>,
    faults: Vec<Problem>,
    problems: Vec<Problem>,
}

/// Two equal stamps: nobody wrote in between, as far as the file system can tell. The time is that of the last change of content,
/// owner or mode, which no program can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// What a walk through a folder found.
#[derive(Default)]
struct Walk {
    files: Vec<(PathBuf, io::Result<Metadata>)>,
    directories: Vec<PathBuf>,
    /// Device and inode of each, since links may lead in circles.
    visited: BTreeSet<(u64, u64)>,
    failed: Vec<(PathBuf, io::Error)>,
}

/// Larger manifests are no manifests.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Coarsest clock of the file systems in use (ext4 and tmpfs: one tick), generously.
const TICK: Duration = Duration::from_millis(100);

impl Scanner {
    pub(super) fn new(folders: Vec<PathBuf>) -> Scanner {
        let roots = folders.into_iter().map(|path| Root {
            directories: vec![path.clone()],
            path,
            files: BTreeMap::new(),
            problems: Vec::new(),
            listed: false,
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
            found.again = found.again.max(root.look(&mut self.ignored));
        }
        let mut in_force = BTreeMap::new();
        for root in &self.roots {
            found.problems.extend(root.problems.iter().cloned());
            found
                .problems
                .extend(root.files.values().flat_map(|file| file.problems.iter().chain(&file.faults).cloned()));
            root.contribute(&mut in_force, &mut found.problems);
        }
        found.problems.sort();
        if !self.roots.iter().all(|root| root.listed) {
            // Half a list must not pass for a complete one.
            return found;
        }
        found.events = match self.in_force.take() {
            None => vec![Event::Replace(in_force.values().cloned().collect())],
            Some(before) => difference(&before, &in_force),
        };
        self.in_force = Some(in_force);
        found
    }
}

impl Root {
    /// Reads what changed.
    fn look(&mut self, ignored: &mut BTreeSet<String>) -> Again {
        let mut walk = Walk::default();
        walk.folder(&self.path);
        let problem = |(path, error): &(PathBuf, io::Error)| {
            whole(path, format!("cannot read the folder: {error}; what was read before stays in force"))
        };
        self.problems = walk.failed.iter().map(problem).collect();
        let lost = |path: &Path| walk.failed.iter().any(|(folder, _)| path.starts_with(folder));
        let mut again = if walk.failed.is_empty() { Again::Later } else { Again::Regularly };
        let present: BTreeSet<&PathBuf> = walk.files.iter().map(|(path, _)| path).collect();
        self.files.retain(|path, _| present.contains(path) || lost(path));
        self.listed |= !lost(&self.path);
        for (path, metadata) in walk.files {
            again = again.max(self.files.entry(path.clone()).or_default().look(&path, &metadata, ignored));
        }
        self.directories = walk.directories;
        again
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
    fn look(&mut self, path: &Path, metadata: &io::Result<Metadata>, ignored: &mut BTreeSet<String>) -> Again {
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) => {
                self.refuse(path, 0, &format!("cannot look at the file: {error}"));
                return Again::Later;
            }
        };
        let stamp = Stamp::of(metadata);
        if self.stamp == Some(stamp) && !self.racy {
            return Again::Later;
        }
        let in_place = self.stamp.is_some_and(|known| known != stamp && known.is_of_same_file(&stamp));
        if in_place && !self.good.is_empty() && self.doubted != Some(stamp) {
            self.doubted = Some(stamp);
            return Again::Soon;
        }
        (self.stamp, self.racy, self.doubted) = (Some(stamp), stamp.is_racy(), None);
        match read(path, metadata) {
            Ok(text) => self.take_in(path, &text, ignored),
            Err((line, reason)) => self.refuse(path, line, &reason),
        }
        Again::Later
    }

    fn take_in(&mut self, path: &Path, text: &str, ignored: &mut BTreeSet<String>) {
        let parsed = parse(&path.to_string_lossy(), text);
        for kind in parsed.ignored {
            if ignored.insert(kind.clone()) {
                info!(%kind, file = %path.display(), "ignoring a kind that the mesh has no use for");
            }
        }
        if parsed.problems.is_empty() {
            (self.good, self.faults, self.problems) = (parsed.objects, parsed.faults, Vec::new());
        } else {
            self.problems = parsed.problems.into_iter().map(|problem| self.explain(problem)).collect();
        }
    }

    fn refuse(&mut self, path: &Path, line: u32, reason: &str) {
        self.stamp = None;
        self.problems = vec![self.explain(Problem { line, ..whole(path, reason.to_owned()) })];
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
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_of_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn is_racy(&self) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let since_epoch = u64::try_from(seconds).ok().zip(u32::try_from(nanoseconds).ok());
        let changed =
            since_epoch.map(|(seconds, nanoseconds)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds));
        let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
        age.is_none_or(|age| age < TICK)
    }
}

impl Walk {
    fn folder(&mut self, folder: &Path) {
        let listed = fs::metadata(folder).and_then(|metadata| {
            let known = !self.visited.insert((metadata.dev(), metadata.ino()));
            let entries = if known { Vec::new() } else { fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()? };
            Ok((known, entries))
        });
        let mut entries = match listed {
            Ok((true, _)) => return,
            Ok((false, entries)) => entries,
            Err(error) => return self.failed.push((folder.to_owned(), error)),
        };
        self.directories.push(folder.to_owned());
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Hidden files are mounted ConfigMaps' own (..data) or, like the others, an editor's.
            if name.starts_with(['.', '#']) || name.ends_with('~') {
                continue;
            }
            self.entry(entry.path(), [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)));
        }
    }

    fn entry(&mut self, path: PathBuf, is_manifest: bool) {
        // follows links: mounted ConfigMaps consist of them
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.folder(&path),
            // Gone since the folder was read; a link that leads nowhere is another matter.
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() => {}
            metadata if is_manifest => self.files.push((path, metadata)),
            _ => {}
        }
    }
}

/// `Err`: on which line, and why not.
fn read(path: &Path, metadata: &Metadata) -> Result<String, (u32, String)> {
    let whole = |reason: String| (0, reason);
    let too_large = |size: u64| whole(format!("the file has {size} bytes or more; at most {LARGEST} are read"));
    if !metadata.is_file() {
        return Err(whole("this is no file".to_owned()));
    }
    if metadata.len() > LARGEST {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error| whole(format!("cannot read the file: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large(LARGEST + 1));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let lines = error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        let reason = format!("byte {} is not UTF-8: save the file in that encoding", at + 1);
        (u32::try_from(lines + 1).unwrap_or(0), reason)
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
