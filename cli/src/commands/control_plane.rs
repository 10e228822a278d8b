//! `minimesh control-plane`: the control plane.

use crate::Failure;

/// The control plane.
#[derive(clap::Args)]
#[group(skip)]
#[command(
    about = ABOUT,
    long_about = "Watch a cluster or manifests, answer the proxies, be the certificate authority\n\n\
        With --kubernetes it watches the cluster that it runs in, or that KUBECONFIG names; the authority's keys are kept in \
        the Secret minimesh-issuer, tokens are reviewed by the API server, and a Lease says which replica writes. Without it, it \
        reads folders of ordinary Kubernetes manifests and follows every change; a file that cannot be read is reported \
        with file, line and field, and what was read before stays in force. Tells each proxy over one stream what it asks \
        for (targets, endpoints, policy, trust), signs the certificates of pods that present their token, and keeps the \
        last fifteen minutes of golden metrics for `minimesh stat` and `edges`. `minimesh demo` starts one by itself. \
        Manifests from a folder are refused inside a Kubernetes cluster.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    part: minimesh_control_plane::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(minimesh_control_plane::run(self.part)?)
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Watch a cluster or manifests, answer the proxies, be the certificate authority";

const EXAMPLES: &str = "Examples:
  # manifests and certificate authority in this folder, questions over a socket in it
  minimesh control-plane --manifests ./manifests --ca-dir ./ca --operator-socket ./operator.sock

  # the cluster of this pod, or of KUBECONFIG
  minimesh control-plane --kubernetes

  # certificates that live for five minutes, for watching renewals
  minimesh control-plane --manifests ./manifests --ca-dir ./ca --leaf-lifetime 5m --log-level debug";
