//! What the other end's kernel has not acknowledged: proof that a request went nowhere, where there is any.

#![allow(unsafe_code)] // no safe wrapper of this ioctl exists

use std::os::fd::{AsFd, AsRawFd};

use socket2::SockRef;

mod outq {
    #![allow(unreachable_pub)] // the macro knows no other visibility
    nix::ioctl_read_bad!(
        /// SIOCOUTQ (tcp(7)): bytes written and not acknowledged.
        siocoutq,
        nix::libc::TIOCOUTQ,
        nix::libc::c_int
    );
}

/// Whether the last `written` bytes provably reached nobody: the other end has ended its direction (the caller has read that)
/// and reset the connection, and its kernel has acknowledged not one of them. A FIN alone proves nothing, nor does an RST: an
/// application may have read what is not acknowledged yet. Both together are those of a socket that was closed before
/// the bytes came.
pub(crate) fn reached_nobody(tcp: &impl AsFd, written: u64) -> bool {
    // without a peer: the connection was reset
    let reset = SockRef::from(tcp).peer_addr().is_err();
    let mut unacknowledged = 0;
    // SAFETY: the descriptor is open while `tcp` is borrowed, and the kernel writes one int, to a local of that type.
    let asked = unsafe { outq::siocoutq(tcp.as_fd().as_raw_fd(), &mut unacknowledged) };
    reset && written > 0 && asked.is_ok() && u64::try_from(unacknowledged).is_ok_and(|bytes| bytes >= written)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
        (client, listener.accept().expect("a connection").0)
    }

    #[test]
    fn what_was_written_to_a_closed_socket_reached_nobody() {
        let (mut client, mut server) = pair();
        client.write_all(b"first").expect("open");
        server.read_exact(&mut [0; 5]).expect("five bytes");
        drop(server);
        client.write_all(b"second").expect("our direction is open");
        assert_eq!(client.read(&mut [0]).expect("a FIN"), 0);
        assert!(reached_nobody(&client, 6));
        assert!(!reached_nobody(&client, 11), "five of these were acknowledged");
    }

    #[test]
    fn a_fin_alone_and_an_rst_alone_prove_nothing() {
        let (mut client, mut server) = pair();
        client.write_all(b"taken").expect("open");
        server.read_exact(&mut [0; 5]).expect("five bytes");
        drop(server);
        assert_eq!(client.read(&mut [0]).expect("a FIN"), 0);
        assert!(!reached_nobody(&client, 5));

        let (mut client, server) = pair();
        client.write_all(b"unread").expect("open");
        drop(server);
        client.read(&mut [0]).expect_err("an RST: something was not read");
        assert!(!reached_nobody(&client, 6), "the kernel had it, and an application may");
    }
}
