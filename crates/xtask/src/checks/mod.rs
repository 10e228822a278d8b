//! House style that a program can hold. A check is one file and one line in the table here.

mod layers;
mod names;
mod places;
mod shape;
mod threats;

use std::path::PathBuf;

use crate::report::{Outcome, Report};
use crate::workspace::Workspace;

/// A text file of the repository.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

type Check = fn(&Workspace, &[File]) -> Vec<String>;

const CHECKS: [(&str, Check); 5] = [
    ("layers: who may depend on whom", layers::check),
    ("names: files, postponed work, ignored tests, sleeps", names::check),
    ("places: no machine paths, no other registries", places::check),
    ("shape: module docs, sizes", shape::check),
    ("threats: tests that the threat model names", threats::check),
];

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let files = match read(workspace) {
        Ok(files) => files,
        Err(error) => return report.step("house style", || Outcome::of(Err(error))),
    };
    for (name, check) in CHECKS {
        report.step(name, || {
            let complaints = check(workspace, &files);
            Outcome::of(if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) })
        });
    }
}

/// Files that are no text are no business of these checks.
fn read(workspace: &Workspace) -> Result<Vec<File>, String> {
    let files = workspace.files()?.into_iter();
    Ok(files.filter_map(|path| std::fs::read_to_string(&path).ok().map(|text| File { path, text })).collect())
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}
