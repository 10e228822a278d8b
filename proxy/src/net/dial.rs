//! Outgoing TCP connections, marked as the proxy's own so that interception leaves them alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A peer that does not answer SYN twice (1 s apart) is taken for gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Finds dead peers of idle connections before conntrack forgets them (nf_conntrack_tcp_timeout_established is days, cloud
/// NATs' 350 s).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How this worker dials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialer {
    /// SO_MARK, where interception exempts by mark.
    pub(crate) mark: Option<u32>,
}

impl Dialer {
    /// Connects within the time-out.
    pub(crate) async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(mark) = self.mark {
            SockRef::from(&socket).set_mark(mark)?;
        }
        let tcp = match timeout(CONNECT_TIMEOUT, socket.connect(address)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        // A connection to a local port from the ephemeral range can meet itself (TCP simultaneous open).
        if tcp.local_addr()? == address {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        tune(&tcp)?;
        Ok(tcp)
    }
}

/// Options of every connection, accepted or dialled.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}
