//! Names and habits: every place has a name, every postponed thing an issue, every wait an event.

use super::File;
use crate::source;
use crate::workspace::Workspace;

/// A name that says nothing attracts everything.
const NAMELESS: [&str; 5] = ["common", "helper", "helpers", "misc", "util"];

pub(crate) fn check(workspace: &Workspace, files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let shown = workspace.relative(&file.path);
        let stem =
            |name: Option<&std::ffi::OsStr>| name.and_then(|name| name.to_str()).map(str::to_owned).unwrap_or_default();
        let names = [stem(file.path.file_stem()), stem(file.path.parent().and_then(|folder| folder.file_name()))];
        if let Some(name) =
            names.iter().find(|name| NAMELESS.contains(&name.trim_end_matches('s')) || NAMELESS.contains(&&***name))
        {
            complaints.push(format!("{shown}: {name:?} names nothing"));
        }
        for (number, line) in file.text.lines().enumerate() {
            if line.contains(concat!("TO", "DO")) && !names_issue(line) {
                complaints.push(format!("{shown}:{}: a postponed thing needs an issue: #NUMBER", number + 1));
            }
        }
        for (number, line) in source::code(&file.text).lines().enumerate() {
            if line.contains("#[ignore") {
                complaints.push(format!("{shown}:{}: a test runs or is not there", number + 1));
            }
            if line.contains("thread::sleep(") {
                complaints.push(format!("{shown}:{}: wait for an event, with a deadline", number + 1));
            }
        }
    }
    complaints
}

fn names_issue(line: &str) -> bool {
    line.match_indices('#').any(|(at, _)| line[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_is_a_hash_and_a_number() {
        assert!(names_issue("later (#12)"));
        assert!(!names_issue("later #[soon]"));
    }
}
