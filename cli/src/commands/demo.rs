//! `minimesh demo`: the mesh on one machine.

use crate::{Failure, demo};

/// The mesh on one machine.
#[derive(clap::Args)]
#[group(skip)]
#[command(
    about = ABOUT,
    long_about = "Run a shop of 14 services as a mesh on this machine, and show its traffic\n\n\
        Every pod is a network namespace with its own sidecar; shoppers walk through the shop, and a table shows who talks \
        to whom, how fast, and whether both sides proved who they are. Needs Linux with network namespaces and nf_tables; \
        no cluster, no package, and no root where unprivileged user namespaces are allowed. Ctrl-C ends it, and nothing \
        stays behind. Several demos may run at the same time.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    demo: demo::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        demo::run(self.demo)
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Run a shop of 14 services as a mesh on this machine, and show its traffic";

const EXAMPLES: &str = "Examples:
  # the shop, until Ctrl-C
  minimesh demo

  # for scripts: one JSON document; the status is zero if every edge was secured and no request failed
  minimesh demo --duration 30s -o json

  # your own manifests and programs, and the first of them on port 8000 of this machine
  minimesh demo --file ./my-app --port 8000

From another terminal, while it runs: `minimesh stat`, `minimesh edges`.";
