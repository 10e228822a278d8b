//! `cargo xtask gen-docs`: reference pages that are written by the program itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;

use crate::report::{Outcome, Report};
use crate::workspace::{self, Workspace};

/// What to do with a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Fail if it differs from what would be written.
    Compare,
    Write,
}

type Generate = fn(&Workspace) -> Result<String, String>;

const PAGES: [(&str, Generate); 4] = [
    ("docs/errors.md", errors),
    ("docs/reference/annotations.md", annotations),
    ("docs/reference/chart.md", chart_values),
    ("docs/reference/cli.md", command_line),
];

pub(crate) fn run(workspace: &Workspace, mode: Mode, report: &mut Report) {
    for (page, generate) in PAGES {
        report.step(format!("generated: {page}"), || Outcome::of(one(workspace, page, generate, mode)));
    }
}

fn one(workspace: &Workspace, page: &str, generate: Generate, mode: Mode) -> Result<(), String> {
    let path = workspace.root.join(page);
    let text = generate(workspace)?;
    if std::fs::read_to_string(&path).is_ok_and(|written| written == text) {
        return Ok(());
    }
    if mode == Mode::Compare {
        return Err(format!("{page} is not what the program says: run `cargo xtask gen-docs` and commit"));
    }
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| format!("{page}: {error}"))
}

/// The table of annotations, printed by an example of its crate, likewise.
fn annotations(workspace: &Workspace) -> Result<String, String> {
    output(&mut workspace.cargo(&["run", "--quiet", "--package", "minimesh-api", "--example", "annotation-table"]))
}

/// The proxy's error table, printed by an example of its crate: this tool does not link the proxy.
fn errors(workspace: &Workspace) -> Result<String, String> {
    output(&mut workspace.cargo(&["run", "--quiet", "--package", "minimesh-proxy", "--example", "error-table"]))
}

/// The comments of the chart's values.
fn chart_values(workspace: &Workspace) -> Result<String, String> {
    let path = workspace.root.join("charts/minimesh/values.yaml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut page = String::from(
        "# Values of the chart\n\nWritten by `cargo xtask gen-docs` from charts/minimesh/values.yaml. For Helm, and for `--set` and\n`--values` of `minimesh install`.\n\n| value | default | what it is for |\n|---|---|---|\n",
    );
    page.push_str(&value_rows(&text)?);
    Ok(page)
}

/// A row for each value that has a comment; a value without one is an error, unless values below it have.
fn value_rows(values: &str) -> Result<String, String> {
    let (_, values) = values.split_once("\n\n").ok_or("the values begin with a comment about the file")?;
    let (mut rows, mut comment) = (String::new(), Vec::new());
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut documented: Option<usize> = None;
    for line in values.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        // what stands below a documented value is its default
        if documented.is_some_and(|above| indent > above) {
            continue;
        }
        documented = None;
        if let Some(text) = line.trim_start().strip_prefix("# ") {
            comment.push(text);
            continue;
        }
        let (key, value) = line.trim_start().split_once(':').ok_or_else(|| format!("{line:?} is no value"))?;
        path.retain(|(above, _)| *above < indent);
        path.push((indent, key));
        let name = path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
        match (comment.is_empty(), value.trim()) {
            (false, default) => {
                let default = if default.is_empty() { "see the file".to_owned() } else { format!("`{default}`") };
                rows.push_str(&format!("| `{name}` | {default} | {} |\n", comment.join(" ")));
                comment.clear();
                documented = Some(indent);
            }
            (true, "") => {}
            (true, _) => return Err(format!("charts/minimesh/values.yaml: {name} has no comment")),
        }
    }
    Ok(rows)
}

/// `--help` of the program and of every visible subcommand.
fn command_line(workspace: &Workspace) -> Result<String, String> {
    let mut text = String::from(
        "# Command line\n\nWritten by `cargo xtask gen-docs` from the program's own `--help`. What has an environment variable names it.\n",
    );
    workspace::passes(&mut workspace.cargo(&["build", "--quiet", "--release", "--bin", "minimesh"]))?;
    let program = workspace.target.join("release/minimesh");
    let mut open = VecDeque::from([Vec::<String>::new()]);
    while let Some(command) = open.pop_front() {
        let help = output(Command::new(&program).args(&command).arg("--help"))?;
        let name = ["minimesh"].into_iter().chain(command.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", trimmed(&help)));
        for subcommand in subcommands(&help) {
            open.push_back(command.iter().cloned().chain([subcommand]).collect());
        }
    }
    Ok(text)
}

fn trimmed(help: &str) -> String {
    help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// The names under `Commands:` of a help page.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| line.trim_end() != "Commands:").skip(1);
    let entries = lines.take_while(|line| !line.trim().is_empty());
    // continuation lines of a description are indented further
    let names = entries.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

fn output(command: &mut Command) -> Result<String, String> {
    // the width of help pages must not depend on who runs this
    command.env("COLUMNS", "100").env_remove("CLICOLOR_FORCE");
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{command:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_documented_by_their_comments() {
        let values =
            "# the file\n\n# One.\na: 1\n\nb:\n  # Two,\n  # in lines.\n  c: \"\"\n  # Three.\n  d:\n    e: 1\n";
        let rows = "| `a` | `1` | One. |\n| `b.c` | `\"\"` | Two, in lines. |\n| `b.d` | see the file | Three. |\n";
        assert_eq!(value_rows(values).as_deref(), Ok(rows));
        assert!(value_rows("# f\n\na: 1\n").is_err());
    }

    #[test]
    fn subcommands_are_read_from_help() {
        let help =
            "Usage: x\n\nCommands:\n  demo   Runs\n           more\n  stat   Shows\n  help   Print\n\nOptions:\n  -h\n";
        assert_eq!(subcommands(help), ["demo", "stat"]);
    }
}
