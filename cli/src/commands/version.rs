//! `minimesh version`: what this program is.

use std::io::Write;

use crate::Failure;

/// The version of this program.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION");
        match writeln!(std::io::stdout(), "minimesh {version}") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}
