//! `minimesh control-plane`: the control plane.

use crate::Failure;

/// The control plane.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::new("control-plane: this part is not built into this program yet"))
    }
}
