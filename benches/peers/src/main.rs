//! Beside its peers: what a pair of sidecars of ours costs, and what others cost in the same place, in turn.
//!
//! Two pods on one node, an application in the second and a load in the first; between them nothing, HAProxies, Envoys,
//! linkerd2-proxies, or minimesh as it is shipped. Everything is started afresh for each proxy in each round, and the order turns
//! round every second time, so that a machine that becomes slower is slower for all. `cargo xtask bench` runs it.
//!
//! ```text
//! certificates   keys for peers
//! cgroup         a CPU limit
//! configuration  of HAProxy and of Envoy
//! linkerd2       a pair of linkerd2-proxies, and what their control plane would say
//! machine        what it ran on
//! minimesh       our pair, and its variants
//! peer           a pair of somebody else's
//! round          everything that is measured of one pair
//! subject        what can be measured
//! ```

mod certificates;
mod cgroup;
mod configuration;
mod linkerd2;
mod machine;
mod minimesh;
mod peer;
mod round;
mod subject;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

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
    /// What our program is: how it was compiled, and its size.
    minimesh: String,
    rounds: usize,
    /// Shorter, and of each kind of peer one.
    quick: bool,
    /// Names of subjects; empty: all.
    only: Vec<String>,
    /// Raw lines, as they come.
    raw: PathBuf,
    /// The page goes here; raw lines and plots into `data` in it, when all is measured.
    output: PathBuf,
    /// Programs, or why there is none.
    haproxy: Result<PathBuf, String>,
    envoy: Result<PathBuf, String>,
    linkerd2: Result<PathBuf, String>,
}

/// Raw lines, beside the plots.
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
        ["linkerd2-control-plane", plan] => linkerd2::control_plane(plan),
        ["load", plan] => load::run(plan).map(|outcome| println!("{outcome}")),
        ["origin"] => origin::run(),
        ["report", raw, output] => publish(Path::new(raw), Path::new(output)),
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
    let seconds: f64 = subjects.iter().map(|subject| round::seconds(task.quick, subject.kind)).sum();
    println!("{} rounds of {}: about {} minutes", task.rounds, subjects.len(), minutes(seconds * task.rounds as f64));
    // what an earlier run has found may be all that there is of it; none may be there
    let _ = std::fs::rename(&task.raw, task.raw.with_extension("previous.jsonl"));
    let about = Run {
        command: task.command.clone(),
        commit: task.commit.clone(),
        begun: std::time::UNIX_EPOCH.elapsed()?.as_secs(),
        rounds: task.rounds,
        machine: machine::facts(),
        present: subjects.iter().map(|subject| (subject.name.to_owned(), subject.version(task))).collect(),
        absent,
    };
    record::append(&task.raw, &Line::Run(Box::new(about)))?;
    let begun = Instant::now();
    for round in 0..task.rounds {
        let turned = round % 2 == 1;
        let order: Vec<&Subject> = if turned { subjects.iter().rev().collect() } else { subjects.iter().collect() };
        for subject in order {
            let measured = measured(task, subject, round);
            println!("round {round} {}", round::in_short(&measured));
            record::append(&task.raw, &Line::Measured(Box::new(measured)))?;
        }
        let each = begun.elapsed().as_secs_f64() / (round + 1) as f64;
        println!(
            "{} of {} rounds, about {} minutes left",
            round + 1,
            task.rounds,
            minutes(each * (task.rounds - round - 1) as f64)
        );
    }
    publish(&task.raw, &task.output)
}

fn minutes(seconds: f64) -> f64 {
    (seconds / 60.0).ceil()
}

/// Writes page and plots from the raw lines, and those beside them.
fn publish(raw: &Path, output: &Path) -> Result<(), Failure> {
    let (run, measured) = record::read(raw)?;
    let Report { page, plots } = report::report(&run, &measured, "data/");
    for (name, svg) in plots {
        std::fs::write(output.join("data").join(name), svg)?;
    }
    if raw != output.join(RAW) {
        std::fs::copy(raw, output.join(RAW))?;
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
