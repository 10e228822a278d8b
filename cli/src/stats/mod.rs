//! What the proxies report, for people: `minimesh edges`, `minimesh stat` and the demo's live table.
//!
//! ```text
//! source.rs   asks a control plane's Operator service: over its Unix socket, or in its pod
//! mesh.rs     which mesh: the demo's, or a cluster's with all its replicas
//! replicas.rs pure: what several replicas say -> as if one had said it
//! merge.rs    pure: rows of all proxies, both directions -> edges and workloads
//! view.rs     pure: edges and workloads -> cells, JSON
//! table.rs    pure: cells -> aligned text
//! screen.rs   lines that are redrawn in place
//! live.rs     the demo's table, redrawn until the demo ends, and the verdict
//! asking.rs   what the commands share: which mesh, which namespace, how long a window
//! ```
//!
//! Every number comes from proxies' reports. Must never ask a proxy, a pod or the shop.

pub(crate) mod asking;
mod live;
pub(crate) mod merge;
pub(crate) mod mesh;
mod replicas;
mod screen;
mod source;
pub(crate) mod table;
#[cfg(test)]
mod testing;
pub(crate) mod view;

use std::time::Duration;

pub(crate) use live::{first_requests, live};
pub(crate) use screen::Screen;
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

    /// The verdict in words, a line each.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let edges = if self.edges == 1 { "1 edge".to_owned() } else { format!("{} edges", self.edges) };
        match self.problems.as_slice() {
            [] if self.edges == 0 => vec!["failed: no traffic was reported".to_owned()],
            [] => vec![format!("passed: {edges}, all secured by mutual TLS, no failed request")],
            problems => problems.iter().map(|problem| format!("failed: {problem}")).collect(),
        }
    }
}

/// Why an answer could not be had: what, where, why, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The replica is there, the answer is not.
    #[error("cannot ask replica {pod} of the control plane: {reason}; `minimesh check` says more")]
    Replica {
        /// Name of its pod.
        pod: String,
        /// Why.
        reason: String,
    },
    /// The socket is there, the answer is not.
    #[error("cannot ask the control plane at {socket}: {reason}; is the demo still running?")]
    Unanswered {
        /// Where.
        socket: String,
        /// Why.
        reason: String,
    },
}
