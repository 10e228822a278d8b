//! Beside its peers: what a pair of sidecars of ours costs, and what others cost in the same place, in turn.
//!
//! Two pods on one node, an application in the second and a load in the first; between them nothing, HAProxies, Envoys,
//! or minimesh as it is shipped. Everything is started afresh for each proxy in each round, and the order turns
//! round every second time, so that a machine that becomes slower is slower for all. `cargo xtask bench` runs it.
//!
//! ```text
//! certificates   keys for peers
//! cgroup         a CPU limit
//! configuration  of HAProxy and of Envoy
//! machine        what it ran on
//! minimesh       our pair, and its variants
//! peer           a pair of somebody else's
//! round          everything that is measured of one pair
//! subject        what can be measured
//! ```

mod certificates;
mod cgroup;
mod configuration;
mod machine;
mod minimesh;
mod peer;
mod round;
mod subject;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minimesh_benches::load::{self, Failure};
use minimesh_benches::origin;
use minimesh_benches::record::{self, Line, Measured, Run};
use minimesh_benches::report::{self, Report};
use serde::Deserialize;

use subject::Subject;

/// What `cargo xtask bench` asks for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Task {
    /// What the user typed.
    command: String,
    commit: String,
    rounds: usize,
    /// Shorter, and of each kind of peer one.
    quick: bool,
    /// Names of subjects; empty: all.
    only: Vec<String>,
    /// The page goes here; raw lines and plots into `data` in it.
    output: PathBuf,
    /// Programs, or why there is none.
    haproxy: Result<PathBuf, String>,
    envoy: Result<PathBuf, String>,
}

/// Raw lines.
const RAW: &str = "data/peers.jsonl";
/// The page, where it is not kept.
const PAGE: &str = "peers.md";
/// The page that is committed holds this run's between these two lines.
const KEPT: &str = "RESULTS.md";
const MARKS: [&str; 2] = ["<!-- cargo xtask bench --keep -->", "<!-- end of cargo xtask bench --keep -->"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments {
        ["load", plan] => load::run(plan).map(|outcome| println!("{outcome}")),
        ["origin"] => origin::run(),
        ["report", folder] => publish(Path::new(folder)),
        ["run", task] => serde_json::from_str(task).map_err(Failure::from).and_then(|task| run(&task)),
        _ => Err("it is started by `cargo xtask bench`".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<(), Failure> {
    let (subjects, absent) = subject::choose(task);
    for (name, why) in &absent {
        println!("{name} is not measured: {why}");
    }
    let raw = task.output.join(RAW);
    // of an earlier run
    let _ = std::fs::remove_file(&raw);
    let about = Run {
        command: task.command.clone(),
        commit: task.commit.clone(),
        begun: std::time::UNIX_EPOCH.elapsed()?.as_secs(),
        rounds: task.rounds,
        machine: machine::facts(),
        present: subjects.iter().map(|subject| (subject.name.to_owned(), subject.version(task))).collect(),
        absent,
    };
    record::append(&raw, &Line::Run(Box::new(about)))?;
    for round in 0..task.rounds {
        let turned = round % 2 == 1;
        let order: Vec<&Subject> = if turned { subjects.iter().rev().collect() } else { subjects.iter().collect() };
        for subject in order {
            let measured = measured(task, subject, round);
            println!("round {round} {}", round::in_short(&measured));
            record::append(&raw, &Line::Measured(Box::new(measured)))?;
        }
    }
    publish(&task.output)
}

/// Writes page and plots from the raw lines.
fn publish(output: &Path) -> Result<(), Failure> {
    let (run, measured) = record::read(&output.join(RAW))?;
    let Report { page, plots } = report::report(&run, &measured, "data/");
    for (name, svg) in plots {
        std::fs::write(output.join("data").join(name), svg)?;
    }
    let kept = output.join(KEPT);
    if !kept.is_file() {
        std::fs::write(output.join(PAGE), &page)?;
        println!("\n{page}");
        return Ok(());
    }
    let text = std::fs::read_to_string(&kept)?;
    let parts = text.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{} has no place for it", kept.display()))?;
    Ok(std::fs::write(&kept, format!("{before}{}\n\n{page}\n{}{after}", MARKS[0], MARKS[1]))?)
}

/// One subject, once. What goes wrong is kept in its place: the rest of the run is still worth something.
fn measured(task: &Task, subject: &Subject, round: usize) -> Measured {
    let mut measured =
        Measured { round, subject: subject.name.to_owned(), load_before: machine::load(), ..Measured::default() };
    // a world says what is wrong by panicking
    let attempt = catch_unwind(AssertUnwindSafe(|| round::measure(task, subject, &mut measured)));
    measured.failed = match attempt {
        Ok(done) => done.err().map(|error| error.to_string()),
        Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panicked".to_owned())),
    };
    measured
}
