//! `minimesh proxy`: the sidecar.

use crate::Failure;

/// The sidecar.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    part: minimesh_proxy::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(minimesh_proxy::run(self.part)?)
    }
}
