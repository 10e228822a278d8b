//! `minimesh version`: what this program is.

use crate::{Failure, stats::asking::print_lines};

/// The version of this program.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "The version of this program and of its parts\n\n\
        One program holds them all, so there is one version: proxy, redirect, control plane and commands.",
    after_long_help = "Examples:
  minimesh version"
)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        print_lines(&[format!("minimesh {}", env!("CARGO_PKG_VERSION"))])
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "The version of this program and of its parts";
