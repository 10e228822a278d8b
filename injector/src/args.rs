//! Command line of `minimesh injector`. Read once by `app`; nothing else looks at flags or the environment.

use std::net::SocketAddr;

use minimesh_runtime::logging;

use crate::settings::Settings;

/// Answers the API server's question whether a new pod gets a sidecar.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Args {
    /// Address that the API server connects to (HTTPS)
    #[arg(long, value_name = "ADDRESS", env = "MINIMESH_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,

    /// Port of /metrics, /ready and /live; 0: none
    #[arg(long, value_name = "PORT", env = "MINIMESH_ADMIN_PORT", default_value_t = 8087)]
    pub admin_port: u16,

    /// What every sidecar has in common
    #[command(flatten)]
    pub settings: Settings,

    /// What is logged, and how
    #[command(flatten)]
    pub logging: logging::Args,
}
