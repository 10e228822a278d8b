//! `minimesh redirect`: the step that programs interception.

use crate::Failure;

/// The step that programs interception.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Err(Failure::new("redirect: this part is not built into this program yet"))
    }
}
