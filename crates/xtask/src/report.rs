//! What ran, how it ended and how long it took: a table, and one last line that scripts read.

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Results of the steps of one task, in order.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// For people: why it failed or was skipped.
    pub(crate) note: String,
}

impl Outcome {
    /// A step that counts as one.
    pub(crate) fn of(result: Result<(), String>) -> Outcome {
        match result {
            Ok(()) => Outcome { passed: 1, failed: 0, skipped: 0, note: String::new() },
            Err(note) => Outcome { passed: 0, failed: 1, skipped: 0, note },
        }
    }

    /// A step that must work before others can, and is no test itself.
    pub(crate) fn preparation(result: Result<(), String>) -> Outcome {
        let passed = 0;
        Outcome { passed, ..Outcome::of(result) }
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Outcome {
        Outcome { passed: 0, failed: 0, skipped: 1, note: why.into() }
    }
}

impl Report {
    /// Runs a step under a heading and keeps its outcome.
    pub(crate) fn step(&mut self, name: impl Into<String>, run: impl FnOnce() -> Outcome) {
        let name = name.into();
        println!("\n=== {name}");
        let begun = Instant::now();
        let outcome = run();
        if !outcome.note.is_empty() {
            println!("{}", outcome.note);
        }
        self.steps.push(Step { name, outcome, took: begun.elapsed() });
    }

    /// Whether a step so far did.
    pub(crate) fn has_failed(&self) -> bool {
        self.steps.iter().any(|step| step.outcome.failed > 0)
    }

    /// Prints the table and the last line.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n{:<46} {:<9} {:>7} {:>7} {:>7} {:>8}", "step", "result", "passed", "failed", "skipped", "minutes");
        for Step { name, outcome, took } in &self.steps {
            let Outcome { passed, failed, skipped, .. } = outcome;
            let minutes = took.as_secs_f64() / 60.0;
            println!("{name:<46} {:<9} {passed:>7} {failed:>7} {skipped:>7} {minutes:>8.1}", outcome.word());
        }
        for Step { name, outcome, .. } in self.steps.iter().filter(|step| step.outcome.skipped > 0) {
            for why in outcome.note.lines() {
                println!("skipped: {name}: {why}");
            }
        }
        let sum = |count: fn(&Outcome) -> usize| self.steps.iter().map(|step| count(&step.outcome)).sum::<usize>();
        let failed = sum(|outcome| outcome.failed);
        println!(
            "\n{} passed, {failed} failed, {} skipped",
            sum(|outcome| outcome.passed),
            sum(|outcome| outcome.skipped)
        );
        ExitCode::from(u8::from(failed > 0))
    }
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Outcome { failed: 1.., .. } => "FAILED",
            Outcome { passed: 0, skipped: 1.., .. } => "skipped",
            _ => "passed",
        }
    }
}
