//! `minimesh redirect`: the step that programs interception.

use crate::Failure;

/// Interception.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    part: minimesh_proxy::redirect::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(minimesh_proxy::redirect::run(self.part)?)
    }
}
