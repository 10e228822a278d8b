//! A client that is inside the network and means harm: speaks the mesh's TLS itself, with a certificate of its choice.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use minimesh_identity::authority::Authority;
use minimesh_identity::{Alpn, Credentials, Leaf, PrivateKey, SpiffeId, TicketKeys};
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};

use super::flags::Flags;
use crate::Failure;
use crate::http::{self, Head};

/// Who it claims to be, and to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rogue {
    /// The pod and port it connects to.
    pub address: SocketAddr,
    /// Whom it expects there: `spiffe://…`.
    pub server: String,
    /// Who it says it is.
    pub client: String,
    /// Folder of the mesh's real authority, of which it takes the roots …
    pub authority: PathBuf,
    /// … and, unless it makes its own, the signature.
    pub foreign: bool,
    /// Ended so many seconds ago; 0: valid.
    pub expired_seconds: u64,
    /// Its request's `x-id`.
    pub id: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RogueResult {
    /// The request was answered.
    Answered(u16),
    /// It never came to an answer.
    Refused(String),
}

const PATIENCE: Duration = Duration::from_secs(20);
const LIFE: Duration = Duration::from_secs(600);

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let rogue: Rogue = flags.json("rogue")?;
    let credentials = credentials(&rogue)?;
    let result = attempt(&rogue, &credentials).unwrap_or_else(|error| RogueResult::Refused(error.to_string()));
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

fn credentials(rogue: &Rogue) -> Result<Credentials, Failure> {
    let id: SpiffeId = rogue.client.parse()?;
    let mesh = Authority::load(&rogue.authority, id.trust_domain())?;
    let own = if rogue.foreign { Some(Authority::create(id.trust_domain())?) } else { None };
    let signer = own.as_ref().unwrap_or(&mesh);
    let key = PrivateKey::generate()?;
    let issued = match rogue.expired_seconds {
        0 => SystemTime::now(),
        seconds => SystemTime::now() - LIFE - Duration::from_secs(seconds),
    };
    let chain = signer.issue_at(&key.csr(None)?, &id, LIFE, issued)?;
    Ok(Credentials::new(Leaf::new(chain, key)?, mesh.bundle()?, &TicketKeys::new()?, 1)?)
}

fn attempt(rogue: &Rogue, credentials: &Credentials) -> Result<RogueResult, Failure> {
    let stream = TcpStream::connect_timeout(&rogue.address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let config = credentials.client_config(&rogue.server.parse()?, Alpn::Http)?;
    let session = rustls::ClientConnection::new(config, ServerName::IpAddress(rogue.address.ip().into()))?;
    let mut tls = rustls::StreamOwned::new(session, stream);
    write!(tls, "GET /rogue HTTP/1.1\r\nHost: rogue\r\nX-Id: {}\r\nConnection: close\r\n\r\n", rogue.id)?;
    tls.flush()?;
    let mut reader = BufReader::new(tls);
    let head = Head::read(&mut reader)?.ok_or("closed without an answer")?;
    http::read_body(&mut reader, head.response_framing(), |_| {})?;
    Ok(RogueResult::Answered(head.status().unwrap_or_default()))
}
