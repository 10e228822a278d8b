//! What the threat model says is held by tests is held by tests that are there.

use super::File;
use crate::source;
use crate::workspace::Workspace;

const PAGE: &str = "docs/threat-model.md";

pub(crate) fn check(workspace: &Workspace, files: &[File]) -> Vec<String> {
    let Some(page) = files.iter().find(|file| file.path == workspace.root.join(PAGE)) else {
        return vec![format!("{PAGE} is missing")];
    };
    let code: Vec<String> = files.iter().filter(|file| file.is_rust()).map(|file| source::code(&file.text)).collect();
    let there = |name: &str| code.iter().any(|code| code.contains(&format!("fn {name}(")));
    let mut complaints = Vec::new();
    for row in rows(&page.text) {
        let names = named(row.last().copied().unwrap_or_default());
        if names.is_empty() {
            complaints.push(format!("{PAGE}: the row of {:?} names no test", row[0]));
        }
        let missing = names.into_iter().filter(|name| !there(name));
        complaints.extend(missing.map(|name| format!("{PAGE}: there is no test {name}")));
    }
    complaints
}

/// Cells of the table's rows, without its head.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    lines.skip(1).map(|line| line.split(" | ").collect())
}

/// What stands between back ticks.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_its_tests_in_its_last_cell() {
        let text = "| who | tests |\n|---|---|\n| a `b` | `c`, `d` |\n\nelsewhere `e`";
        let rows: Vec<_> = rows(text).collect();
        assert_eq!(rows, [vec!["a `b`", "`c`, `d`"]]);
        assert_eq!(named(rows[0][1]), ["c", "d"]);
    }
}
