//! Peers that acknowledge nothing any more: their machine, or the way to it, is gone, and nobody says so.
//!
//! TCP gives up after a quarter of an hour (tcp_retries2); until then a request waits, even one whose client has ended its
//! direction, as clients do that give up. TCP_USER_TIMEOUT shortens that, but also ends connections to a peer that answers and
//! takes nothing for a while: the kernel counts the time for which a window is shut, whoever answers its probes. So the
//! option is on only while nothing is heard. The worker's sweep looks; nothing here is asked by a connection itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use tokio::net::TcpStream;

use super::unacked::{is_unheard, limit_unheard};

/// From the first repetition: seven are without an answer then. Longer than a network takes to find another way, or a virtual
/// machine to move; shorter than most people wait. HTTP/2 between proxies asks by itself and knows after 20 s.
const UNHEARD: Duration = Duration::from_secs(30);

/// The sockets that a worker dialled, by their numbers, and whether the option is on. A number may have become another socket's: what
/// is done to a socket depends on its own state alone, so that is no harm.
#[derive(Debug, Default)]
pub(crate) struct Dialled(RefCell<HashMap<RawFd, bool>>);

impl Dialled {
    /// A connection to be looked at from now on, until its number is no socket's any more.
    pub(crate) fn note(&self, tcp: &TcpStream) {
        self.0.borrow_mut().insert(tcp.as_raw_fd(), false);
    }

    /// Every few seconds.
    pub(crate) fn sweep(&self) {
        self.0.borrow_mut().retain(|socket, limited| {
            let Ok(unheard) = is_unheard(*socket) else { return false };
            if unheard != std::mem::replace(limited, unheard) {
                return limit_unheard(*socket, if unheard { UNHEARD } else { Duration::ZERO }).is_ok();
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn a_peer_that_only_takes_nothing_is_left_alone_and_a_closed_socket_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let tcp = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("loopback");
        let _peer = listener.accept().await.expect("a connection");
        let dialled = Dialled::default();
        dialled.note(&tcp);
        // until its window is shut
        while tcp.try_write(&[0; 65_536]).is_ok() {}
        dialled.sweep();
        assert_eq!(dialled.0.borrow().get(&tcp.as_raw_fd()), Some(&false));
        assert_eq!(socket2::SockRef::from(&tcp).tcp_user_timeout().expect("a TCP socket"), None);
        // a pipe's end in the place of the socket
        let (pipe, _other) = std::io::pipe().expect("a pipe");
        dialled.0.borrow_mut().insert(pipe.as_raw_fd(), false);
        dialled.sweep();
        assert_eq!(dialled.0.borrow().len(), 1, "what is no socket is forgotten");
    }
}
