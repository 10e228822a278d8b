//! `minimesh check`: is the cluster fit, is the mesh whole, are the pods meshed that should be?
//!
//! ```text
//! facts.rs   what is asked of the API server, once per round
//! table.rs   the checks: what, why it matters, and a judgement of the facts
//! judge.rs   pure: the judgements
//! ```
//!
//! Reads and changes nothing. Every check says what is wrong, why that matters and what to do, and has a test that makes it fail.

mod facts;
mod judge;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use facts::{Facts, gather};
pub(crate) use table::{CHECKS, Check, Stage};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Good,
    /// Works, and is worth a look.
    Odd(Problem),
    Wrong(Problem),
}

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) problem: String,
    pub(crate) fix: String,
    /// May be over in a moment: something is starting.
    pub(crate) passes: bool,
}

impl Finding {
    fn wrong(problem: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::Wrong(Problem { problem: problem.into(), fix: fix.into(), passes: false })
    }

    /// Wrong now, and perhaps not in a moment.
    fn not_yet(problem: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::Wrong(Problem { problem: problem.into(), fix: fix.into(), passes: true })
    }

    fn odd(problem: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::Odd(Problem { problem: problem.into(), fix: fix.into(), passes: false })
    }
}
