//! `minimesh control-plane`: the control plane.

use crate::Failure;

/// The control plane.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    part: minimesh_control_plane::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(minimesh_control_plane::run(self.part)?)
    }
}
