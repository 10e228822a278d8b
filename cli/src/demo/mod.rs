//! `minimesh demo`: a mesh on one machine, without a cluster, without root where the kernel allows it, and without a trace
//! afterwards.
//!
//! ```text
//! supervisor.rs  outside: the run's folder, the host's port, what is shown, the end
//!   stage.rs     namespaces; refusal.rs says why not; lifeline.rs ties a process to its parent
//!     node.rs    first process inside: kubelet, endpoint controller, DNS
//!                  cluster/ (pure) what should run; network.rs, mounts.rs, state.rs, dns.rs, probe.rs, manifests.rs
//!       pod.rs   one per pod: its network namespace, redirect, sidecar, containers; children.rs, logs.rs
//!         exec.rs   becomes a container's program
//!         relay.rs  from the host's port into the mesh
//! ```
//!
//! Each arrow down is a new process of this program (`/proc/self/exe demo-role …`), which talks with its parent over the socket
//! of messages.rs. Must never change anything on the host but the run's folder.

mod children;
mod cluster;
mod dns;
mod exec;
mod lifeline;
mod logs;
mod manifests;
mod messages;
mod mounts;
mod network;
mod node;
mod pod;
mod probe;
mod refusal;
mod relay;
mod stage;
mod state;
mod supervisor;

pub(crate) use supervisor::{Args, run};

use crate::Failure;

/// Processes of the demo.
#[derive(clap::Subcommand)]
pub(crate) enum Role {
    /// A container's program
    Exec(exec::Args),
    /// The node
    Init,
    /// One pod
    Pod {
        /// Stdout is the host's listener
        #[arg(long)]
        takes_listener: bool,
    },
    /// From the host's port into the mesh
    Relay(relay::Args),
    /// Makes the namespaces
    Stage,
}

impl Role {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Role::Exec(args) => exec::run(args),
            Role::Init => node::run(),
            Role::Pod { takes_listener } => pod::run(takes_listener),
            Role::Relay(args) => relay::run(args),
            Role::Stage => stage::run(),
        }
    }
}
