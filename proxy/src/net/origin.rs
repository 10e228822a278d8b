//! Where an intercepted connection was meant to go, and whether it may go there.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::worker::OwnPorts;

/// How a worker learns the original destination.
#[derive(Clone, Debug)]
pub enum Origin {
    /// In process: all connections of a listener are meant for one address, and every address is this pod's.
    Fixed {
        /// Of outbound connections.
        outbound: SocketAddr,
        /// Of inbound connections.
        inbound: SocketAddr,
    },
    /// From the kernel (SO_ORIGINAL_DST), as interception left it.
    Kernel,
}

/// Why a connection's original destination is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// One of our own ports, or not redirected at all.
    Loop,
    /// No address of this pod.
    NotOurAddress,
}

/// What the checks need to know of this pod.
#[derive(Debug)]
pub(crate) struct Place {
    origin: Origin,
    ports: OwnPorts,
    addresses: RefCell<HashSet<IpAddr>>,
    looked: Cell<Option<Instant>>,
}

/// An address may appear after the proxy's start (a second family, a late interface); looking more often is for attackers.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Place {
    pub(crate) fn new(origin: Origin, ports: OwnPorts) -> Place {
        Place { origin, ports, addresses: RefCell::default(), looked: Cell::new(None) }
    }

    /// Where an application's connection was meant to go.
    pub(crate) fn outbound(&self, tcp: &TcpStream) -> Result<SocketAddr, Refused> {
        match &self.origin {
            Origin::Fixed { outbound, .. } => Ok(*outbound),
            Origin::Kernel => self.original(tcp),
        }
    }

    /// Where a peer's connection was meant to go: an address of this pod, on a port of the application.
    pub(crate) fn inbound(&self, tcp: &TcpStream) -> Result<SocketAddr, Refused> {
        match &self.origin {
            Origin::Fixed { inbound, .. } => Ok(*inbound),
            Origin::Kernel => {
                let address = self.original(tcp)?;
                if self.is_ours(address.ip()) { Ok(address) } else { Err(Refused::NotOurAddress) }
            }
        }
    }

    /// Whether an address is on an interface of this pod, loopback excepted.
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        if matches!(self.origin, Origin::Fixed { .. }) {
            return false;
        }
        let known = self.addresses.borrow().contains(&address);
        let fresh = self.looked.get().is_some_and(|looked| looked.elapsed() < LOOK_AGAIN);
        if known || fresh {
            return known;
        }
        self.looked.set(Some(Instant::now()));
        *self.addresses.borrow_mut() = own_addresses();
        self.addresses.borrow().contains(&address)
    }

    fn original(&self, tcp: &TcpStream) -> Result<SocketAddr, Refused> {
        let local = tcp.local_addr().map_err(|_| Refused::Loop)?;
        // Without a NAT entry the kernel says ENOENT or the local address: nobody redirected this connection.
        let address = original_destination(tcp, local).map_err(|_| Refused::Loop)?;
        if address == local || (self.ports.contains(address.port()) && self.is_local(address.ip())) {
            return Err(Refused::Loop);
        }
        Ok(address)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || address.is_unspecified() || self.is_ours(address)
    }
}

/// Asked at the level of the address family (SOL_IP, SOL_IPV6): the other level knows nothing of it.
fn original_destination(tcp: &TcpStream, local: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(tcp);
    let address = match local.ip().to_canonical() {
        IpAddr::V4(_) => socket.original_dst_v4()?,
        IpAddr::V6(_) => socket.original_dst_v6()?,
    };
    let address = address.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// On this pod's interfaces, loopback excepted.
pub(crate) fn own_addresses() -> HashSet<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return HashSet::new() };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .filter(|address| !address.is_loopback())
        .collect()
}
