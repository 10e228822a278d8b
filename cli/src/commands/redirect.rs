//! `minimesh redirect`: the step that programs interception.

use crate::Failure;

/// Interception.
#[derive(clap::Args)]
#[group(skip)]
#[command(
    about = ABOUT,
    long_about = "Program the interception of a pod's connections (needs NET_ADMIN)\n\n\
        Writes one nf_tables table into the network namespace that it is started in, as one transaction, and exits: \
        connections that the pod makes go to the proxy's outbound port, connections that come in to its inbound port. What \
        the proxy itself sends is exempt, by its user or by its mark. Run again, it replaces the table.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    part: minimesh_proxy::redirect::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(minimesh_proxy::redirect::run(self.part)?)
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Program the interception of a pod's connections (needs NET_ADMIN)";

const EXAMPLES: &str = "Examples:
  # what would be programmed; touches nothing and needs no rights
  minimesh redirect --print

  # in a pod whose proxy runs as user 2102, without SSH and mail
  minimesh redirect --skip-inbound-ports 22 --skip-outbound-ports 25,465,587

  # where every process has one user: by the mark of the proxy's connections (`minimesh proxy --mark 2102`)
  minimesh redirect --exempt-mark 2102

  # all direct again
  minimesh redirect --remove";
