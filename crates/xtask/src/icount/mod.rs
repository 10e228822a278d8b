//! `cargo xtask icount`: what one request costs in instructions, allocations and bytes, held to the committed baseline.
//!
//! Instructions do not depend on the machine's mood: valgrind counts those of each worker of both sidecars in one process
//! (`benches/src/bin/icount.rs`). What is counted is the difference between N and 2 N requests, so that start and handshake
//! fall out. Allocations and sizes are counted by tests, which print them.

mod baseline;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::compat;
use crate::host;
use crate::report::{Outcome, Report};
use crate::workspace::{self, Workspace};
use baseline::{Baseline, Tools};

/// What to do with what was measured.
#[derive(Clone, Copy)]
pub(crate) enum Mode<'a> {
    /// It is the new baseline, for this reason.
    Accept(&'a str),
    /// It must be the baseline, or 2 % above at most.
    Compare,
}

/// What was measured, by name: `instructions http1 outbound`, `allocations http2 all`, `bytes connection task`.
pub(crate) type Costs = BTreeMap<String, f64>;

/// A path through both sidecars, how many of its requests make N, and by what its count is divided besides.
struct Counted {
    name: &'static str,
    requests: u32,
    /// Requests that make one unit: blocks of 64 KiB that make a MiB.
    unit: u32,
}

const PATHS: [Counted; 6] = [
    Counted { name: "grpc", requests: 400, unit: 1 },
    Counted { name: "http1", requests: 1000, unit: 1 },
    Counted { name: "http1-access-log", requests: 1000, unit: 1 },
    Counted { name: "http1-strict", requests: 1000, unit: 1 },
    Counted { name: "http2", requests: 400, unit: 1 },
    Counted { name: "opaque", requests: 256, unit: 16 },
];

/// The workers, by the sidecar that each is.
const WORKERS: [(&str, &str); 2] = [("worker-0", "outbound"), ("worker-1", "inbound")];

/// What a counted program says, beside callgrind's files.
const SAID: &str = "said";

/// Begins a line in which a test says a cost.
const COST: &str = "cost: ";

pub(crate) fn run(workspace: &Workspace, mode: Mode<'_>, report: &mut Report) {
    report.step("icount: prepare", || {
        let installed = host::install(&[("valgrind", "valgrind")], &compat::path());
        Outcome { note: installed, ..Outcome::preparation(Ok(())) }
    });
    let mut costs = Costs::new();
    let tools = Tools::here();
    let baseline = match Baseline::read(workspace) {
        Ok(baseline) => baseline,
        Err(error) => return report.step("icount: baseline", || Outcome::of(Err(error))),
    };
    let comparable = matches!(mode, Mode::Accept(_)) || baseline.tools == tools;
    let mut instructions_counted = false;
    report.step("icount: instructions", || {
        if !host::is_on(&compat::path(), "valgrind") {
            return Outcome::skipped("valgrind is not installed");
        }
        if !comparable {
            return Outcome::skipped(baseline.tools.differ(&tools));
        }
        match instructions(workspace) {
            Ok(counted) => {
                costs.extend(counted);
                instructions_counted = true;
                judge(&mode, &baseline, &costs, "instructions ")
            }
            Err(error) => Outcome::of(Err(error)),
        }
    });
    for kind in ["allocations", "bytes"] {
        report.step(format!("icount: {kind}"), || match said(workspace, kind) {
            // layouts are the compiler's business
            Ok(_) if kind == "bytes" && !comparable => Outcome::skipped(baseline.tools.differ(&tools)),
            Ok(counted) => {
                costs.extend(counted);
                judge(&mode, &baseline, &costs, &format!("{kind} "))
            }
            Err(error) => Outcome::of(Err(error)),
        });
    }
    if let Mode::Accept(reason) = mode {
        report.step("icount: accept", || {
            if !instructions_counted {
                return Outcome::of(Err("without instructions there is no new baseline".to_owned()));
            }
            Outcome::of(baseline.accept(workspace, reason, tools, costs))
        });
    }
}

/// Says what was measured beside what was; one failure for everything that costs more than it may.
fn judge(mode: &Mode<'_>, baseline: &Baseline, costs: &Costs, kind: &str) -> Outcome {
    let compared = baseline.compare(costs, kind);
    println!("{}", compared.table);
    match mode {
        Mode::Accept(_) => Outcome::preparation(Ok(())),
        Mode::Compare => Outcome::of(compared.result),
    }
}

/// Instructions of each worker on each path.
fn instructions(workspace: &Workspace) -> Result<Costs, String> {
    // the features of `cargo build --bin minimesh`, whose dependencies are then not compiled again
    let packages = ["build", "--release", "--package", "minimesh-cli", "--package", "minimesh-benches"];
    workspace::passes(workspace.cargo(&packages).args(["--bin", "icount"]))?;
    let program = workspace.target.join("release/icount");
    let mut costs = Costs::new();
    for path in &PATHS {
        let folder = workspace.target.join("icount").join(path.name);
        // the two at once, each on a processor of its own where there are two
        let started = [(1, "once"), (2, "twice")]
            .map(|(times, name)| Run::start(&program, path.name, times, path.requests, folder.join(name)));
        let [once, twice] = started.map(|run| run.and_then(Run::counts));
        let (once, twice) = (once?, twice?);
        for (worker, side) in WORKERS {
            let of = |counts: &BTreeMap<String, u64>| {
                counts.get(worker).copied().ok_or_else(|| format!("{}: no thread {worker}", path.name))
            };
            let difference = of(&twice)? as f64 - of(&once)? as f64;
            let each = difference * f64::from(path.unit) / f64::from(path.requests);
            costs.insert(format!("instructions {} {side}", path.name), each.round());
        }
    }
    Ok(costs)
}

/// A program that is being counted.
struct Run {
    child: Child,
    shown: String,
    folder: PathBuf,
}

impl Run {
    /// `times` times that many requests, on the processor of that number.
    fn start(program: &Path, path: &str, times: u32, requests: u32, folder: PathBuf) -> Result<Run, String> {
        let here = |error: std::io::Error| format!("{}: {error}", folder.display());
        // what an earlier run left would be read as this one's
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(here)?;
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--separate-threads=yes"]);
        command.arg(format!("--callgrind-out-file={}", folder.join("out").display()));
        command.arg(program).args([path, &(times * requests).to_string(), &times.to_string()]);
        let said = std::fs::File::create(folder.join(SAID)).map_err(here)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().map_err(here)?;
        Ok(Run { child, shown: format!("{command:?}"), folder })
    }

    /// Instructions of each thread, by the thread's name.
    fn counts(mut self) -> Result<BTreeMap<String, u64>, String> {
        let here = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        let status = self.child.wait().map_err(here)?;
        let said = std::fs::read_to_string(self.folder.join(SAID)).map_err(here)?;
        if !status.success() {
            return Err(format!("{}: {status}\n{said}", self.shown));
        }
        let names = threads(&said);
        let mut counts = BTreeMap::new();
        for entry in std::fs::read_dir(&self.folder).map_err(here)? {
            let text = std::fs::read_to_string(entry.map_err(here)?.path()).map_err(here)?;
            if let Some((name, count)) = summary(&text).and_then(|(thread, count)| Some((names.get(&thread)?, count))) {
                *counts.entry(name.clone()).or_default() += count;
            }
        }
        Ok(counts)
    }
}

/// The lines `thread NUMBER NAME` that the program says.
fn threads(said: &str) -> BTreeMap<u64, String> {
    let words = said.lines().filter_map(|line| line.strip_prefix("thread ")?.split_once(' '));
    words.filter_map(|(number, name)| Some((number.parse().ok()?, name.to_owned()))).collect()
}

/// Thread and instructions of one of callgrind's files.
fn summary(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((field("thread:")?, field("summary:")?))
}

/// What the tests say a request costs, in this kind.
fn said(workspace: &Workspace, kind: &str) -> Result<Costs, String> {
    // named as in the unit layer: what that has built is not built again
    let tests: &[&str] = match kind {
        "allocations" => &["--test", "allocations", "--", "--nocapture"],
        _ => &["--lib", "--", "path_tests::sizes::", "--nocapture"],
    };
    let mut command = workspace.cargo(&["test", "--quiet", "--workspace", "--exclude", "minimesh-tests"]);
    let output = command.args(tests).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{command:?}: {}\n{text}", output.status));
    }
    let costs: Costs = text.lines().filter_map(cost).filter(|(name, _)| name.starts_with(kind)).collect();
    if costs.is_empty() { Err(format!("{command:?} says no {kind}")) } else { Ok(costs) }
}

/// `cost: NAME … VALUE`, possibly after what the harness printed without a line's end.
fn cost(line: &str) -> Option<(String, f64)> {
    let (_, said) = line.split_once(COST)?;
    let (name, value) = said.rsplit_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}

/// The file with the baseline.
fn file(workspace: &Workspace) -> PathBuf {
    workspace.root.join("benches/baselines/costs.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrind_files_are_read() {
        let text =
            "# callgrind format\nversion: 1\npart: 1\nthread: 3\n\nevents: Ir\nsummary: 126729\n\nfn=(1) x\n1 2\n";
        assert_eq!(summary(text), Some((3, 126_729)));
        assert_eq!(summary(""), None);
    }

    #[test]
    fn what_is_said_is_read() {
        let said = "==1== Callgrind\nthread 1 icount\nthread 3 access-log\nthread x y\n";
        let names: BTreeMap<u64, String> = [(1, "icount".into()), (3, "access-log".into())].into();
        assert_eq!(threads(said), names);
        let line = "test a ... cost: bytes connection task 2864";
        assert_eq!(cost(line), Some(("bytes connection task".to_owned(), 2864.0)));
        assert_eq!(cost("cost: bytes"), None);
    }
}
