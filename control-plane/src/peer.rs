//! Who is at the other end of a connection. Made by `serve` after the handshake, read by every service.

use std::net::SocketAddr;

use minimesh_identity::SpiffeId;
use tonic::{Extensions, Status};

use crate::ledger::Certificate;
use crate::publish::Subscriber;

/// The other end of a TLS connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// From its certificate, if it presented one.
    pub(crate) id: Option<SpiffeId>,
    /// The certificate itself, for people.
    pub(crate) certificate: Option<Certificate>,
}

impl Peer {
    /// The proxy that makes this call; refuses whoever presented no certificate.
    pub(crate) fn authenticated(extensions: &Extensions) -> Result<Subscriber, Status> {
        let peer = extensions.get::<Peer>();
        let Some(Peer { address, id: Some(id), .. }) = peer else {
            return Err(Status::unauthenticated("a client certificate is required; Certify gives one for a token"));
        };
        Ok(Subscriber { ip: address.ip().to_canonical(), id: id.clone() })
    }
}
