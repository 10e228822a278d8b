//! `minimesh edges`: who talks to whom.

use crate::Failure;

/// Who talks to whom.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::new("edges: this part is not built into this program yet"))
    }
}
