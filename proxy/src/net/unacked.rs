//! What the other end's kernel has not acknowledged: proof that a request went nowhere, where there is any, and the sign of a peer
//! that is not there any more.

#![allow(unsafe_code)] // no safe wrapper of this ioctl and of TCP_INFO exists

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

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

/// Whether what a socket sends is not acknowledged: it resends, or asks a shut window and hears nothing. An error where the
/// descriptor is no TCP socket, or none at all.
pub(super) fn is_unheard(socket: RawFd) -> io::Result<bool> {
    // tcp_info(7) begins with four bytes: state, ca_state, retransmits, probes
    let mut info = [0u8; 4];
    let mut length = info.len() as nix::libc::socklen_t;
    let (level, name) = (nix::libc::IPPROTO_TCP, nix::libc::TCP_INFO);
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is as long; any number may stand for the descriptor.
    let asked = unsafe { nix::libc::getsockopt(socket, level, name, info.as_mut_ptr().cast(), &mut length) };
    nix::errno::Errno::result(asked)?;
    let [_, _, retransmits, probes] = info;
    // a probe is without an answer for a round trip each time
    Ok(retransmits > 0 || probes > 2)
}

/// Ends a connection whose peer acknowledges nothing for so long; zero takes that back.
pub(super) fn limit_unheard(socket: RawFd, time: Duration) -> io::Result<()> {
    let time = nix::libc::c_uint::try_from(time.as_millis()).unwrap_or(nix::libc::c_uint::MAX);
    let (level, name) = (nix::libc::IPPROTO_TCP, nix::libc::TCP_USER_TIMEOUT);
    let length = size_of_val(&time) as nix::libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `time`, a local of that size; any number may stand for the descriptor.
    let set = unsafe { nix::libc::setsockopt(socket, level, name, (&raw const time).cast(), length) };
    nix::errno::Errno::result(set)?;
    Ok(())
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
