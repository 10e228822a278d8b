//! What a handshake between two sidecars costs, full and resumed, and what the check after it adds: in memory, one thread, wall
//! time. Figures and what follows from them: docs/adr/005-sessions-are-checked-not-trusted.md.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use minimesh_identity::authority::Authority;
use minimesh_identity::{Alpn, Credentials, Error, SpiffeId, TicketKeys};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

const DOMAIN: &str = "cluster.local";
const TIMES: u32 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let authority = Authority::create(DOMAIN)?;
    let carts = SpiffeId::new(DOMAIN, "shop", "carts")?;
    let (client, server) = (credentials(&authority, "front-end")?, credentials(&authority, "carts")?);
    let config = client.client_config(&carts, Alpn::Http)?;
    let now = SystemTime::now();

    let (mut full, mut resumed) = (Duration::ZERO, Duration::ZERO);
    let (mut full_bytes, mut resumed_bytes) = ((0, 0), (0, 0));
    for _ in 0..TIMES {
        let fresh = client.client_config(&carts, Alpn::Http)?;
        let begin = Instant::now();
        full_bytes = shake(&fresh, &server.server_config(), HandshakeKind::Full)?;
        full += begin.elapsed();
    }
    shake(&config, &server.server_config(), HandshakeKind::Full)?;
    for _ in 0..TIMES {
        let begin = Instant::now();
        resumed_bytes = shake(&config, &server.server_config(), HandshakeKind::Resumed)?;
        resumed += begin.elapsed();
    }
    println!("full handshake, both sides    {:>8.1} us  {} + {} bytes", micros(full), full_bytes.0, full_bytes.1);
    println!(
        "resumed handshake, both sides {:>8.1} us  {} + {} bytes",
        micros(resumed),
        resumed_bytes.0,
        resumed_bytes.1
    );

    let chain = client.leaf().chain();
    let (mut first, mut again) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TIMES {
        let fresh = credentials(&authority, "carts")?;
        let begin = Instant::now();
        fresh.check_client(Some(chain), now)?;
        first += begin.elapsed();
        let begin = Instant::now();
        fresh.check_client(Some(chain), now)?;
        again += begin.elapsed();
    }
    println!("check of a new chain          {:>8.1} us", micros(first));
    println!("check of a known chain        {:>8.1} us", micros(again));
    Ok(())
}

fn micros(total: Duration) -> f64 {
    total.as_secs_f64() * 1e6 / f64::from(TIMES)
}

fn credentials(authority: &Authority, name: &str) -> Result<Credentials, Error> {
    let id = SpiffeId::new(DOMAIN, "shop", name).map_err(|error| Error::Certificate(error.to_string()))?;
    let leaf = authority.issue_leaf(&id, Duration::from_secs(86_400))?;
    Credentials::new(leaf, authority.bundle()?, &TicketKeys::new()?, 1)
}

/// Bytes from client and from server, tickets included.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    expected: HandshakeKind,
) -> Result<(usize, usize), Box<dyn std::error::Error>> {
    let mut client =
        ClientConnection::new(Arc::clone(client), ServerName::IpAddress(IpAddr::from([10, 42, 0, 5]).into()))?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    let (mut sent, mut wire) = ((0, 0), Vec::with_capacity(16_384));
    while client.wants_write() || server.wants_write() {
        while client.wants_write() {
            sent.0 += client.write_tls(&mut wire)?;
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest)?;
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            sent.1 += server.write_tls(&mut wire)?;
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest)?;
            client.process_new_packets()?;
        }
        wire.clear();
    }
    match client.handshake_kind() {
        Some(kind) if kind == expected => Ok(sent),
        other => Err(format!("{other:?} instead of {expected:?}").into()),
    }
}
