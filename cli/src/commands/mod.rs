//! The table of commands: one file and one line each, in alphabetical order.
//!
//! A command file owns its arguments and calls the part that does the work; it does no work itself.

mod control_plane;
mod demo;
mod demo_role;
mod edges;
mod proxy;
mod redirect;
mod sock_shop;
mod stat;
mod version;

use crate::Failure;

/// What `minimesh` can be asked to do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Watch manifests, answer the proxies, be the certificate authority
    ControlPlane(control_plane::Args),
    /// Run a shop of 14 services as a mesh on this machine, and show its traffic
    Demo(demo::Args),
    /// A process of the demo
    #[command(hide = true)]
    DemoRole(demo_role::Args),
    /// Who talks to whom, and whether both sides proved who they are
    Edges(edges::Args),
    /// The data plane: the sidecar of one pod
    Proxy(proxy::Args),
    /// Program the interception of a pod's connections (needs NET_ADMIN)
    Redirect(redirect::Args),
    /// One service of the demo's shop
    #[command(hide = true)]
    SockShop(sock_shop::Args),
    /// Golden metrics of the running mesh
    Stat(stat::Args),
    /// The version of this program and of its parts
    Version(version::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Command::ControlPlane(args) => args.run(),
            Command::Demo(args) => args.run(),
            Command::DemoRole(args) => args.run(),
            Command::Edges(args) => args.run(),
            Command::Proxy(args) => args.run(),
            Command::Redirect(args) => args.run(),
            Command::SockShop(args) => args.run(),
            Command::Stat(args) => args.run(),
            Command::Version(args) => args.run(),
        }
    }
}
