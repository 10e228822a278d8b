//! What the proxies report, for people: `minimesh edges`, `minimesh stat` and the demo's live table.
//!
//! ```text
//! source.rs   asks the control plane's Operator service over its Unix socket
//! merge.rs    pure: rows of all proxies, both directions -> edges and workloads
//! table.rs    pure: rows -> aligned text
//! live.rs     the demo's table, redrawn until the demo ends, and the verdict
//! ```
//!
//! Every number comes from proxies' reports. Must never ask a proxy, a pod or the shop.

mod source;

use std::time::Duration;

pub(crate) use source::Source;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// One JSON document on stdout when the demo ends; nothing else on stdout.
    Json,
    /// Lines without control sequences.
    Plain,
    /// A table; redrawn in place where stdout is a terminal, else as `plain`.
    Table,
}

/// What the live table needs to know.
#[derive(Clone, Debug)]
pub(crate) struct LiveOptions {
    /// How to print.
    pub(crate) output: Output,
    /// Lines above the table, e.g. where the shop's page is.
    pub(crate) header: Vec<String>,
    /// How often the terminal is redrawn (1 s) …
    pub(crate) refresh: Duration,
    /// … and over how long rates and percentiles are taken (10 s).
    pub(crate) window: Duration,
}

/// What the demo's end says: passed only if edges were seen, all of them were secured and none failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Edges that carried traffic.
    pub(crate) edges: usize,
    /// Why the demo did not pass, a sentence each.
    pub(crate) problems: Vec<String>,
}

impl Verdict {
    /// Whether the exit status is zero.
    pub(crate) fn passed(&self) -> bool {
        self.edges > 0 && self.problems.is_empty()
    }
}

/// Why an answer could not be had: what, where, why, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing to ask.
    #[error("no demo is running: start one with `minimesh demo`, then ask again from another terminal")]
    NoDemo,
    /// The socket is there, the answer is not.
    #[error("cannot ask the control plane at {socket}: {reason}; is the demo still running?")]
    Unanswered {
        /// Where.
        socket: String,
        /// Why.
        reason: String,
    },
}

/// Shows the edges until `end` resolves, then prints the last table (or the JSON document) and judges.
///
/// Asks again while the control plane does not answer, and says so in the table; fails only if it never answered.
pub(crate) async fn live(
    source: &Source,
    options: LiveOptions,
    end: impl Future<Output = ()>,
) -> Result<Verdict, Error> {
    let _ = options;
    end.await;
    Err(Error::Unanswered { socket: source.path().display().to_string(), reason: "not built yet".into() })
}
