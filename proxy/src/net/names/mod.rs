//! Names of what the proxy itself dials (control plane, trace collector) to addresses: `/etc/hosts`, then the DNS servers of
//! `/etc/resolv.conf`.
//!
//! Called on the control thread, for every connection: both files are read each time, and nothing is kept. A static program must
//! not call getaddrinfo, which loads libraries of the system's (docs/adr/011).

mod config;
mod exchange;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use tokio::time::timeout;

use config::Config;
use exchange::Found;

/// Addresses of `HOST:PORT`; an IPv6 address stands in brackets. Never none.
pub(crate) async fn resolve(authority: &str) -> io::Result<Vec<SocketAddr>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{authority:?} is not HOST:PORT"));
    let (host, port) = authority.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let addresses = addresses(host, &read("/etc/hosts"), &read("/etc/resolv.conf")).await?;
    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

async fn addresses(host: &str, hosts: &str, resolv_conf: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let listed = config::listed(hosts, host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    // RFC 6761 section 6.3: never asked of a server
    if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    lookup(&Config::parse(resolv_conf), host).await
}

/// Asks for a name along the search list, until there are addresses.
async fn lookup(config: &Config, host: &str) -> io::Result<Vec<IpAddr>> {
    let mut servers = VecDeque::from(config.servers.clone());
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for name in config.candidates(host) {
        match ask_any(config, &mut servers, &name).await? {
            Found::Addresses(addresses) => return Ok(addresses),
            Found::Nothing => {}
            // another name may do; if none does, this is why
            Found::Refused(code) => failure = io::Error::other(format!("the DNS server answers {code} to {name}")),
        }
    }
    Err(failure)
}

/// Asks one server after the other. One that fails goes to the end of the queue, so that it delays a lookup once and not each of its
/// names. An error: none of them answers, and would not for another name.
async fn ask_any(config: &Config, servers: &mut VecDeque<SocketAddr>, name: &str) -> io::Result<Found> {
    let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "no DNS server"));
    for _ in 0..config.attempts * servers.len() {
        let Some(server) = servers.front().copied() else { break };
        match timeout(config.timeout, exchange::ask(server, name)).await {
            Ok(Ok(Found::Refused(code))) => outcome = Ok(Found::Refused(code)),
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) if outcome.is_err() => {
                outcome = Err(io::Error::new(error.kind(), format!("DNS server {server}: {error}")));
            }
            Err(_) if outcome.is_err() => {
                let why = format!("DNS server {server}: no answer in {:?}", config.timeout);
                outcome = Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            Ok(Err(_)) | Err(_) => {}
        }
        servers.rotate_left(1);
    }
    outcome
}

/// A file that is not there says nothing, as for the system's own resolver.
fn read(path: impl AsRef<Path>) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests;
