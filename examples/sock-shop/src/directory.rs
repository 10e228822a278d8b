//! Where the shop's hosts are: DNS, or for tests a list.

use std::{collections::HashMap, io, net::SocketAddr};

use tokio::net::TcpStream;

use crate::dns;

/// Turns a host and port into a connection; asks DNS for each connection, as a process that trusts its cluster does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    fixed: HashMap<(String, u16), SocketAddr>,
}

impl Directory {
    /// Names that are not asked for: tests run many services on one loopback address.
    #[cfg(test)]
    pub(crate) fn fixed(entries: impl IntoIterator<Item = (&'static str, u16, SocketAddr)>) -> Directory {
        Directory { fixed: entries.into_iter().map(|(host, port, addr)| ((host.to_owned(), port), addr)).collect() }
    }

    /// Connects to the first address that takes the connection.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = match self.fixed.get(&(host.to_owned(), port)) {
            Some(addr) => TcpStream::connect(addr).await?,
            None => connect_any(host, port).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn connect_any(host: &str, port: u16) -> io::Result<TcpStream> {
    if let Ok(ip) = host.parse::<std::net::IpAddr>() {
        return TcpStream::connect((ip, port)).await;
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host}: no such host"));
    for ip in dns::resolve(host).await? {
        match TcpStream::connect((ip, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
