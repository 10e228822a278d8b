//! `minimesh stat`: golden metrics per workload.

use crate::Failure;

/// Golden metrics per workload.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::new("stat: this part is not built into this program yet"))
    }
}
