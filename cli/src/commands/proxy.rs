//! `minimesh proxy`: the sidecar.

use crate::Failure;

/// The sidecar.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::new("proxy: this part is not built into this program yet"))
    }
}
