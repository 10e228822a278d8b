//! `minimesh demo`: the mesh on one machine.

use crate::{Failure, demo};

/// The mesh on one machine.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    demo: demo::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        demo::run(self.demo)
    }
}
