//! `minimesh proxy`: the sidecar.

use crate::Failure;

/// The sidecar.
#[derive(clap::Args)]
#[group(skip)]
#[command(
    about = ABOUT,
    long_about = "The data plane: the sidecar of one pod\n\n\
        Takes the connections that `minimesh redirect` sends to it. Outbound it finds the Service by the address that was \
        dialled, chooses route, backend and endpoint, and speaks mutual TLS with exactly the identity that the control \
        plane named; inbound it checks who asks and hands the request to the application. Every flag may be given as an \
        environment variable. `minimesh demo` starts one in each pod.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    part: minimesh_proxy::Args,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(minimesh_proxy::run(self.part)?)
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "The data plane: the sidecar of one pod";

const EXAMPLES: &str = "Examples:
  # in the network namespace of pod shop/web-1, beside a control plane at 10.42.0.2
  minimesh proxy --control-plane 10.42.0.2:8086 \\
    --control-plane-identity spiffe://cluster.local/ns/minimesh/sa/minimesh-control-plane \\
    --trust-bundle ./ca/trust-bundle.pem --token-file ./token --pod-namespace shop --pod-name web-1

What it does is at http://127.0.0.1:4191/metrics; what it knows, at http://127.0.0.1:4192/dump.";
