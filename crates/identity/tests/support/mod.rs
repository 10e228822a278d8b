//! A small world for handshake tests: a clock that the test moves, authorities, parties with credentials, and handshakes between
//! two of them in memory, by rustls' buffered and unbuffered API.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use minimesh_identity::authority::Authority;
use minimesh_identity::{Alpn, CertificateDer, Credentials, Leaf, PrivateKey, SpiffeId, TicketKeys, TrustBundle};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, HandshakeKind, ServerConfig};

pub(crate) const DOMAIN: &str = "cluster.local";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn new() -> Arc<Clock> {
        Arc::new(Clock(AtomicU64::new(1_800_000_000)))
    }

    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn back(&self, by: Duration) {
        self.0.fetch_sub(by.as_secs(), Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}

pub(crate) fn id(service_account: &str) -> SpiffeId {
    SpiffeId::new(DOMAIN, "shop", service_account).unwrap()
}

/// Someone with credentials, to be renewed and changed during a test.
pub(crate) struct Party {
    pub(crate) clock: Arc<Clock>,
    pub(crate) tickets: TicketKeys,
    generation: u64,
}

impl Party {
    pub(crate) fn new(clock: &Arc<Clock>) -> Party {
        Party { clock: Arc::clone(clock), tickets: TicketKeys::new().unwrap(), generation: 0 }
    }

    pub(crate) fn credentials(
        &mut self,
        authority: &Authority,
        name: &str,
        life: Duration,
        bundle: TrustBundle,
    ) -> Credentials {
        self.generation += 1;
        let key = PrivateKey::generate().unwrap();
        let chain = authority.issue_at(&key.csr(None).unwrap(), &id(name), life, self.clock.now()).unwrap();
        let leaf = Leaf::new(chain, key).unwrap();
        Credentials::with_clock(leaf, bundle, &self.tickets, self.generation, self.clock.clone()).unwrap()
    }
}

/// One authority, two parties, credentials of a day.
pub(crate) struct World {
    pub(crate) clock: Arc<Clock>,
    pub(crate) authority: Authority,
    pub(crate) client: Party,
    pub(crate) server: Party,
}

impl World {
    pub(crate) fn new() -> World {
        let clock = Clock::new();
        let authority = Authority::create_at(DOMAIN, clock.now()).unwrap();
        World { client: Party::new(&clock), server: Party::new(&clock), clock, authority }
    }

    pub(crate) fn client(&mut self, name: &str) -> Credentials {
        self.client.credentials(&self.authority, name, 24 * HOUR, self.authority.bundle().unwrap())
    }

    pub(crate) fn server(&mut self, name: &str) -> Credentials {
        self.server.credentials(&self.authority, name, 24 * HOUR, self.authority.bundle().unwrap())
    }
}

/// What one side saw when all was quiet.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) kind: HandshakeKind,
    pub(crate) alpn: Option<Alpn>,
    pub(crate) peer: Option<Vec<CertificateDer<'static>>>,
}

pub(crate) type Outcome = Result<Seen, rustls::Error>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Buffered,
    Unbuffered,
}

/// Shakes hands and lets everything flow that either side has to say: tickets, alerts.
pub(crate) fn shake(api: Api, client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (Outcome, Outcome) {
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::new(10, 42, 0, 5)).into());
    match api {
        Api::Buffered => buffered(client, server, name),
        Api::Unbuffered => unbuffered(client, server, name),
    }
}

macro_rules! seen {
    ($connection:expr) => {
        Seen {
            kind: $connection.handshake_kind().unwrap(),
            alpn: $connection.alpn_protocol().and_then(Alpn::from_protocol),
            peer: $connection.peer_certificates().map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect()),
        }
    };
}

fn buffered(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: ServerName<'static>) -> (Outcome, Outcome) {
    let mut client = rustls::ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::clone(server)).unwrap();
    let (mut client_error, mut server_error) = (None, None);
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() && server_error.is_none() {
            server.read_tls(&mut rest).unwrap();
            server_error = server.process_new_packets().err();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() && client_error.is_none() {
            client.read_tls(&mut rest).unwrap();
            client_error = client.process_new_packets().err();
        }
    }
    let outcome_of_client = client_error.map_or_else(|| Ok(seen!(client)), Err);
    (outcome_of_client, server_error.map_or_else(|| Ok(seen!(server)), Err))
}

/// Takes one step with a connection: what it says goes to `$to`, what it heard is in `$from`. True if anything happened.
macro_rules! step {
    ($connection:expr, $from:expr, $to:expr, $error:expr) => {{
        let status = $connection.process_tls_records(&mut $from);
        let discard = status.discard;
        let moved = match status.state {
            Ok(rustls::unbuffered::ConnectionState::EncodeTlsData(mut encode)) => {
                let mut record = vec![0; 20_000];
                let length = encode.encode(&mut record).unwrap();
                $to.extend_from_slice(&record[..length]);
                true
            }
            Ok(rustls::unbuffered::ConnectionState::TransmitTlsData(transmit)) => {
                transmit.done();
                true
            }
            Ok(_) => false,
            // Once more: the alert is still to be sent.
            Err(error) => $error.replace(error).is_none(),
        };
        $from.drain(..discard);
        moved || discard > 0
    }};
}

fn unbuffered(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: ServerName<'static>) -> (Outcome, Outcome) {
    let mut client = rustls::client::UnbufferedClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = rustls::server::UnbufferedServerConnection::new(Arc::clone(server)).unwrap();
    let (mut client_error, mut server_error) = (None, None);
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    loop {
        let client_moved = step!(client, to_client, to_server, client_error);
        let server_moved = step!(server, to_server, to_client, server_error);
        if !client_moved && !server_moved {
            break;
        }
    }
    let outcome_of_client = client_error.map_or_else(|| Ok(seen!(client)), Err);
    (outcome_of_client, server_error.map_or_else(|| Ok(seen!(server)), Err))
}
