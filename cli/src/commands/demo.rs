//! `minimesh demo`: the mesh on one machine.

use crate::Failure;

/// The mesh on one machine.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::new("demo: this part is not built into this program yet"))
    }
}
