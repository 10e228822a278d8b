//! Where operators ask: a Unix socket, for `stat`, `edges` and the demo's table, for processes of this user alone; in a pod a port
//! of its loopback, where a port-forward ends that the API server authorised.
//!
//! A workload cannot reach either: the socket is a file of mode 0600, and the kernel names the user of whoever connects; the
//! loopback belongs to the control plane's own pod.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use minimesh_runtime::drain;
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tonic::service::Routes;
use tracing::warn;

use crate::serve::{accept_failed, serve_local};

/// A bound socket; removes its file when dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds, in place of a socket that an earlier process left. Call it while the process has one thread: the mode is set by
    /// the process's umask, so that there is no moment at which others may connect.
    pub(crate) fn bind(path: &Path) -> io::Result<Socket> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is no socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        umask(before);
        Ok(Socket { listener: listener?, path: path.to_owned() })
    }

    /// Accepts until the drain starts.
    pub(crate) async fn accept(self, routes: Routes, drain: drain::Watch) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.started() => return,
            };
            match accepted {
                Ok((stream, _)) if is_ours(&stream) => {
                    tokio::spawn(serve_local(routes.clone(), stream, None, drain.clone()));
                }
                Ok(_) => warn!(path = %self.path.display(), "a process of another user was refused"),
                Err(error) => accept_failed(&error).await,
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Left behind, it would be replaced by the next process.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Accepts on a listener of the loopback until the drain starts.
pub(crate) async fn accept_local(listener: TcpListener, routes: Routes, drain: drain::Watch) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(serve_local(routes.clone(), stream, None, drain.clone()))),
            Err(error) => accept_failed(&error).await,
        }
    }
}

/// Of this user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw() || peer.uid() == 0)
}
