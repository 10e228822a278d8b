//! `minimesh injector`: the admission webhook.

use crate::Failure;

/// The injector.
#[derive(clap::Args)]
#[group(skip)]
#[command(
    about = ABOUT,
    long_about = "Give new pods their sidecar: the admission webhook\n\n\
        The API server asks it about every new pod that a label marks (minimesh.io/inject: enabled on the pod or its namespace), over \
        HTTPS. It answers with a patch that adds the sidecar, or says why there is none. Its certificate is made at the first \
        start, kept in the Secret minimesh-injector, and put into the webhook configuration of that name. The chart runs it; \
        `minimesh inject --manual` does the same to manifests without it.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    part: minimesh_injector::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(minimesh_injector::run(self.part)?)
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Give new pods their sidecar: the admission webhook";

const EXAMPLES: &str = "Examples:
  # as the chart runs it
  minimesh injector --sidecar-image minimesh:0.1.0 --mesh-namespace minimesh

What it did is counted at http://127.0.0.1:8087/metrics.";
