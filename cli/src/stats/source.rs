//! The control plane's Operator service, reached over its Unix socket.

use std::path::{Path, PathBuf};

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    socket: PathBuf,
}

impl Source {
    /// A control plane whose operator socket is known.
    pub(crate) fn at(socket: impl Into<PathBuf>) -> Source {
        Source { socket: socket.into() }
    }

    /// The socket.
    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }
}
