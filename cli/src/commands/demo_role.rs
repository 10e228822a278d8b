//! `minimesh demo-role ROLE`: the processes that `minimesh demo` starts. Not for people.

use crate::{Failure, demo};

/// A process of the demo.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    #[command(subcommand)]
    role: demo::Role,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.role.run()
    }
}
