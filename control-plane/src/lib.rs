//! The control plane: watches the cluster or a folder, answers the proxies, is their certificate authority.

mod args;
pub mod folder;

pub use args::Args;

/// Why the control plane cannot go on: what, where, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not built yet.
    #[error("the control plane cannot run yet")]
    Unfinished,
}

/// Runs until SIGTERM or SIGINT. Builds its own runtime.
pub fn run(args: Args) -> Result<(), Error> {
    drop(args);
    Err(Error::Unfinished)
}
