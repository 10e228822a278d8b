//! `minimesh uninject`: manifests in, manifests without the mesh out.

use std::path::PathBuf;

use super::inject::pass;
use crate::{Failure, manifest::workload::Change};

/// Out of the mesh.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Mark workloads in manifests as not meshed\n\n\
        The opposite of inject: sets the label minimesh.io/inject: disabled on every pod template, and takes a sidecar out that \
        `inject --manual` wrote. The label stays, so that a namespace that is meshed does not mesh them again. What was changed \
        is said on stderr; nothing is written to a cluster.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// Files, folders of manifests, or - for stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        pass(&self.files, &Change::Remove)
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Mark workloads in manifests as not meshed";

const EXAMPLES: &str = "Examples:
  # what runs already: new pods without sidecar take the place of the old ones
  kubectl get deployments -n sock-shop -o yaml | minimesh uninject - | kubectl apply -f -

  # one file
  minimesh uninject deployment.yaml";
