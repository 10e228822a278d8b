//! SIGTERM and SIGINT, as the end of `run` functions.

use std::fmt;
use std::io;

use tokio::signal::unix::{self, SignalKind};

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: a person pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: the kubelet, or whoever started us, wants us to end.
    Terminate,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
        })
    }
}

/// Both signals, caught from its making on.
#[derive(Debug)]
pub struct Listener {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Listener {
    /// Catches both signals. Needs a tokio runtime with I/O.
    pub fn new() -> io::Result<Listener> {
        Ok(Listener {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// The next of the two. May be called again: the second SIGTERM is how impatience is said.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// The first SIGTERM or SIGINT from now on. If the system refuses to tell of signals, it never resolves, and the default action
/// (the process ends) remains in force.
pub async fn terminate() -> Signal {
    match Listener::new() {
        Ok(mut listener) => listener.next().await,
        Err(error) => {
            tracing::warn!(%error, "signals cannot be caught; SIGTERM ends the process without a drain");
            std::future::pending().await
        }
    }
}
