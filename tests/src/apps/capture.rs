//! Looks at every packet of the node, which is every pod's veth, for a marker that must not be there in plaintext.
//!
//! Ends on SIGTERM, or when the node does.

use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};

use super::flags::Flags;
use crate::Failure;

/// What it prints once for each packet that contains the marker.
const FOUND: &str = "found";

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let marker = flags.text("marker")?.as_bytes();
    let packets = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    // as much as the kernel grants: a packet that is dropped here is not looked at
    let _ = setsockopt(&packets, sockopt::RcvBufForce, &(64 << 20));
    println!("{}", super::READY);
    // a segment that the kernel has not cut yet is larger than any MTU
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = recv(packets.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if buffer[..length].windows(marker.len()).any(|window| window == marker) {
            println!("{FOUND} in {length} bytes");
        }
    }
}
