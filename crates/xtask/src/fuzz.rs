//! `cargo xtask fuzz`: every target of `fuzz/` for some seconds, with libFuzzer, on a stable compiler.
//!
//! The engine is compiled by the crate libfuzzer-sys; edges and compares of our own crates are counted by passes that every
//! rustc has (`fuzz/instrument`). Dependencies are those that the unit tests compiled. New inputs stay in `target/fuzz`, beside
//! the committed corpus, which nothing here writes to. `cargo xtask ci` makes a fixed number of inputs from one seed, so that what
//! it finds has to do with the change it judges, not with the machine's speed; a person's run starts from another seed each time,
//! and is where the search goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::compat;
use crate::host;
use crate::report::{Outcome, Report};
use crate::workspace::Workspace;

/// Made of one seed at most; two cores make them of most targets within the default time.
const INPUTS_FROM_A_SEED: u32 = 100_000;

/// What to fuzz.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    seconds: u32,
    /// `None`: all.
    target: Option<String>,
    /// `None`: another in each run.
    seed: Option<u32>,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { seconds: 20, target: None, seed: None }
    }
}

impl Wanted {
    /// All targets for a short time, from the same seed each time.
    pub(crate) fn in_ci() -> Wanted {
        Wanted { seed: Some(1), ..Wanted::default() }
    }

    /// `[--seconds N] [TARGET]`
    pub(crate) fn parse(arguments: &[&str]) -> Result<Wanted, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number of seconds"));
        let all = Wanted::default();
        let one = |target: &str| match target.starts_with('-') {
            true => Err(format!("fuzz does not know {target:?}")),
            false => Ok(Some(target.to_owned())),
        };
        match *arguments {
            [] => Ok(all),
            ["--seconds", seconds] => Ok(Wanted { seconds: number(seconds)?, ..all }),
            ["--seconds", seconds, target] => Ok(Wanted { seconds: number(seconds)?, target: one(target)?, ..all }),
            [target] => Ok(Wanted { target: one(target)?, ..all }),
            _ => Err("usage: cargo xtask fuzz [--seconds N] [TARGET]".to_owned()),
        }
    }
}

/// A target and its committed corpus.
struct Target {
    name: String,
    corpus: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, wanted: &Wanted, report: &mut Report) {
    let targets = match targets(workspace, wanted) {
        Ok(targets) => targets,
        Err(error) => return report.step("fuzz", || Outcome::of(Err(error))),
    };
    let installed = host::install(&[("g++", "c++")], &compat::path());
    if !host::is_on(&compat::path(), "c++") {
        return report.step("fuzz", || Outcome::skipped(format!("libFuzzer is C++: {installed}")));
    }
    let mut program = None;
    report.step("fuzz: build", || {
        let built = build(workspace);
        Outcome::preparation(built.map(|path| program = Some(path)))
    });
    let Some(program) = program else { return };
    // each runs in one thread; more of them than processors would see less each
    let abreast = std::thread::available_parallelism().map_or(1, usize::from);
    for some in targets.chunks(abreast) {
        let running: Vec<_> = some.iter().map(|target| (target, start(workspace, &program, target, wanted))).collect();
        for (target, child) in running {
            report.step(format!("fuzz: {}", target.name), || match child.and_then(wait) {
                Ok(said) => judge(workspace, target, &said),
                Err(error) => Outcome::of(Err(error)),
            });
        }
    }
}

/// The folders of the corpus are the targets; a test of fuzz/ holds that both are the same.
fn targets(workspace: &Workspace, wanted: &Wanted) -> Result<Vec<Target>, String> {
    let folder = workspace.root.join("fuzz/corpus");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut targets: Vec<Target> = entries
        .flatten()
        .map(|entry| Target { name: entry.file_name().to_string_lossy().into_owned(), corpus: entry.path() })
        .collect();
    targets.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<&str> = targets.iter().map(|target| &*target.name).collect();
    if let Some(name) = &wanted.target
        && !names.contains(&&**name)
    {
        return Err(format!("no target {name:?}: there are {}", names.join(", ")));
    }
    targets.retain(|target| wanted.target.as_ref().is_none_or(|name| *name == target.name));
    Ok(targets)
}

/// The engine's program.
fn build(workspace: &Workspace) -> Result<PathBuf, String> {
    // the crates that are named and those that are not are the unit layer's: dependencies have the same features then
    let mut command = workspace.cargo(&["test", "--workspace", "--exclude", "minimesh-tests", "--test", "fuzz"]);
    command.args(["--features", "minimesh-fuzz/libfuzzer", "--no-run", "--message-format", "json-render-diagnostics"]);
    command.env("RUSTC_WORKSPACE_WRAPPER", workspace.root.join("fuzz/instrument"));
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| message["target"]["name"] == "fuzz");
    let program = programs.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| format!("{command:?} made no program"))
}

struct Running {
    child: std::process::Child,
    log: PathBuf,
}

fn start(workspace: &Workspace, program: &Path, target: &Target, wanted: &Wanted) -> Result<Running, String> {
    let folder = workspace.target.join("fuzz").join(&target.name);
    let here = |error: std::io::Error| format!("{}: {error}", folder.display());
    let found = folder.join("found");
    std::fs::create_dir_all(&found).map_err(here)?;
    let log = folder.join("log");
    let file = std::fs::File::create(&log).map_err(here)?;
    let mut command = Command::new(program);
    command.env("MINIMESH_FUZZ_TARGET", &target.name).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    if let Some(seed) = wanted.seed {
        command.arg(format!("-seed={seed}")).arg(format!("-runs={INPUTS_FROM_A_SEED}"));
    }
    command.arg(format!("-max_total_time={}", wanted.seconds)).arg(format!("-artifact_prefix={}/", folder.display()));
    command.args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"]);
    // what is found goes to the first folder
    command.arg(&found).arg(&target.corpus);
    Ok(Running { child: command.spawn().map_err(here)?, log })
}

/// What it said, and whether all went well.
fn wait(mut running: Running) -> Result<(bool, String), String> {
    let status = running.child.wait().map_err(|error| error.to_string())?;
    let bytes = std::fs::read(&running.log).map_err(|error| format!("{}: {error}", running.log.display()))?;
    Ok((status.success(), String::from_utf8_lossy(&bytes).into_owned()))
}

fn judge(workspace: &Workspace, target: &Target, (well, said): &(bool, String)) -> Outcome {
    let summed = sum(said);
    if *well && let Some(Summed { executions: 1.., .. }) = summed {
        let Summed { executions, edges, features } = summed.unwrap_or_default();
        return Outcome {
            note: format!("{executions} executions, {edges} edges, {features} features"),
            ..Outcome::of(Ok(()))
        };
    }
    let last: Vec<&str> = said.lines().rev().take(60).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Outcome::of(Err(format!(
        "{}\n\nThe input is in {}. Keep it in {} with what mends it.",
        last.join("\n"),
        workspace.target.join("fuzz").join(&target.name).display(),
        workspace.relative(&target.corpus)
    )))
}

/// What libFuzzer sums up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summed {
    executions: u64,
    edges: u64,
    features: u64,
}

/// From `#123 DONE cov: 45 ft: 67 …` and `stat::number_of_executed_units: 123`.
fn sum(said: &str) -> Option<Summed> {
    let executions = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    let words: Vec<&str> = said.lines().rfind(|line| line.contains(" cov: "))?.split_whitespace().collect();
    let after = |name: &str| words.iter().skip_while(|word| **word != name).nth(1)?.parse().ok();
    Some(Summed { executions: executions.trim().parse().ok()?, edges: after("cov:")?, features: after("ft:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read() {
        assert_eq!(Wanted::parse(&[]), Ok(Wanted { seconds: 20, target: None, seed: None }));
        let head = Wanted { seconds: 3600, target: Some("head".to_owned()), seed: None };
        assert_eq!(Wanted::parse(&["--seconds", "3600", "head"]), Ok(head));
        assert!(Wanted::parse(&["--second", "1"]).is_err() && Wanted::parse(&["--help"]).is_err());
    }

    #[test]
    fn what_libfuzzer_sums_up_is_read() {
        let said = "#2\tINITED cov: 3 ft: 4 corp: 1/1b\n#900\tDONE   cov: 45 ft: 67 corp: 9/90b lim: 4 exec/s: 45 rss: 30Mb\n\
                    stat::number_of_executed_units: 900\n";
        assert_eq!(sum(said), Some(Summed { executions: 900, edges: 45, features: 67 }));
        assert_eq!(sum("nothing"), None);
    }
}
