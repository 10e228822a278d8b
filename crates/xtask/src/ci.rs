//! `cargo xtask ci`: everything that must hold before a change is in.

use crate::report::{Outcome, Report};
use crate::workspace::{self, Workspace};
use crate::{checks, docs, fuzz, icount, test};

/// Whether the tests are part of this run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    /// They ran before, by `cargo xtask test`.
    Leave,
    Run,
}

pub(crate) fn run(workspace: &Workspace, tests: Tests, report: &mut Report) {
    let mut cargo = |name: &str, arguments: &[&str], environment: &[(&str, &str)]| {
        report.step(name, || {
            Outcome::of(workspace::passes(workspace.cargo(arguments).envs(environment.iter().copied())))
        });
    };
    cargo("format", &["fmt", "--all", "--check"], &[]);
    cargo("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"], &[]);
    cargo(
        "rustdoc",
        &["doc", "--workspace", "--no-deps", "--quiet", "--keep-going"],
        &[("RUSTDOCFLAGS", "--deny warnings")],
    );
    checks::run(workspace, report);
    if tests == Tests::Run {
        test::run(workspace, test::Layer::ALL, report);
    }
    docs::run(workspace, docs::Mode::Compare, report);
    icount::run(workspace, icount::Mode::Compare, report);
    fuzz::run(workspace, &fuzz::Wanted::in_ci(), report);
}
