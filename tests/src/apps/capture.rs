//! Looks at every packet of the node, which is every pod's veth, for a marker that must not be there in plaintext, and says
//! which word follows it.
//!
//! Ends on SIGTERM, or when the node does.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};

use super::flags::Flags;
use crate::Failure;

/// What it prints for each packet that contains the marker, before the word that follows it.
const FOUND: &str = "found";

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let marker = flags.text("marker")?.as_bytes();
    let packets = packets()?;
    println!("{}", super::READY);
    // a segment that the kernel has not cut yet is larger than any MTU
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = recv(packets.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let packet = &buffer[..length];
        if let Some(at) = packet.windows(marker.len()).position(|window| window == marker) {
            let word = packet[at + marker.len()..].iter().take_while(|byte| byte.is_ascii_alphanumeric());
            println!("{FOUND} {}", String::from_utf8_lossy(&word.copied().collect::<Vec<u8>>()));
        }
    }
}

/// Every packet of the network namespace that this process is in.
pub(crate) fn packets() -> nix::Result<OwnedFd> {
    let packets = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    // as much as the kernel grants: a packet that is dropped here is not looked at
    let _ = setsockopt(&packets, sockopt::RcvBufForce, &(64 << 20));
    Ok(packets)
}
