//! Everything that a worker needs to prove who it is and to judge a peer: own leaf, trust bundle, rustls configurations.
//! Immutable; the control thread makes a new one when the leaf is renewed or the bundle changes, and publishes it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;

use crate::provider::provider;
use crate::tickets::Tickets;
use crate::verify::{ClientVerifier, ServerVerifier, Side, Trust, require};
use crate::{Error, Leaf, PeerError, SpiffeId, TicketKeys, TrustBundle};

/// What travels inside mesh TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/1.
    Http,
    /// HTTP/2.
    Http2,
    /// Bytes.
    Raw,
}

impl Alpn {
    /// All, in the order in which a server prefers them.
    pub const ALL: [Alpn; 3] = [Alpn::Http, Alpn::Http2, Alpn::Raw];

    /// The name in a ClientHello.
    pub fn protocol(self) -> &'static [u8] {
        match self {
            Alpn::Http => b"minimesh-http/1",
            Alpn::Http2 => b"minimesh-h2/1",
            Alpn::Raw => b"minimesh-raw/1",
        }
    }

    /// The one of that name.
    pub fn from_protocol(name: &[u8]) -> Option<Alpn> {
        Alpn::ALL.into_iter().find(|alpn| alpn.protocol() == name)
    }

    /// Whether a ClientHello with these protocols is the mesh's: any `minimesh-*/1`, also one that a later version invents.
    pub fn offered_by_mesh<'a>(protocols: impl IntoIterator<Item = &'a [u8]>) -> bool {
        protocols.into_iter().any(|name| name.starts_with(b"minimesh-") && name.ends_with(b"/1"))
    }
}

/// Our identity, whom we trust, and the TLS configurations that follow from both.
pub struct Credentials {
    leaf: Leaf,
    trust: Arc<Trust>,
    resolver: Arc<SingleCertAndKey>,
    server: Arc<ServerConfig>,
    clock: Arc<dyn TimeProvider>,
    generation: u64,
}

impl Credentials {
    /// Checks that leaf and bundle are of one trust domain. A leaf that the bundle does not vouch for, or outside of its validity,
    /// is accepted: a bundle that shrinks must take effect at once, and a wrong clock must show as what it is. Ask
    /// [`check_own`](Credentials::check_own) and renew.
    pub fn new(leaf: Leaf, bundle: TrustBundle, tickets: &TicketKeys, generation: u64) -> Result<Credentials, Error> {
        Credentials::with_clock(leaf, bundle, tickets, generation, Arc::new(DefaultTimeProvider))
    }

    /// The same with a clock of the caller's, for tests.
    pub fn with_clock(
        leaf: Leaf,
        bundle: TrustBundle,
        tickets: &TicketKeys,
        generation: u64,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Credentials, Error> {
        let trust = Arc::new(Trust::new(bundle));
        if leaf.id().trust_domain() != trust.bundle().trust_domain() {
            let other = trust.bundle().trust_domain();
            return Err(Error::Certificate(format!("{} is not of the trust domain {other}", leaf.id())));
        }
        let resolver = Arc::new(SingleCertAndKey::from(leaf.certified()));
        let verifier = Arc::new(ClientVerifier { trust: Arc::clone(&trust), optional: false });
        let mut server = ServerConfig::builder_with_details(provider(), Arc::clone(&clock))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver.clone());
        server.alpn_protocols = Alpn::ALL.map(|alpn| alpn.protocol().to_vec()).to_vec();
        server.max_early_data_size = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer =
            Arc::new(Tickets::new(tickets.clone(), trust.bundle(), leaf.id(), leaf.not_after(), Arc::clone(&clock)));
        Ok(Credentials { leaf, trust, resolver, server: Arc::new(server), clock, generation })
    }

    /// Who we are.
    pub fn id(&self) -> &SpiffeId {
        self.leaf.id()
    }

    /// Whom we trust.
    pub fn bundle(&self) -> &TrustBundle {
        self.trust.bundle()
    }

    /// Our certificate.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Counts up with every change; configurations made from an older generation are to be dropped.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// For connections to endpoints that must be exactly `expected`. It owns the sessions that can be resumed: make one per
    /// identity and [`generation`](Credentials::generation), keep it, and drop it with them. Dial with
    /// `ServerName::IpAddress(endpoint)`: sessions are keyed by that address, and no name is sent.
    pub fn client_config(&self, expected: &SpiffeId, alpn: Alpn) -> Result<Arc<ClientConfig>, Error> {
        let verifier = ServerVerifier { trust: Arc::clone(&self.trust), expected: expected.clone() };
        let mut config = ClientConfig::builder_with_details(provider(), Arc::clone(&self.clock))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![alpn.protocol().to_vec()];
        config.enable_sni = false;
        config.enable_early_data = false;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Arc::new(config))
    }

    /// For connections that other proxies open to us: a client certificate is required.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// To be called on the newest credentials when a handshake that we began is complete, resumed or full: the certificate of a
    /// resumed session was judged long ago, and the bundle may have changed during the handshake.
    pub fn check_server(
        &self,
        peer: Option<&[CertificateDer<'_>]>,
        expected: &SpiffeId,
        now: SystemTime,
    ) -> Result<(), PeerError> {
        require(expected, self.check(peer, Side::Server, now)?)
    }

    /// The same for a handshake that a client began; gives its identity.
    pub fn check_client(&self, peer: Option<&[CertificateDer<'_>]>, now: SystemTime) -> Result<SpiffeId, PeerError> {
        self.check(peer, Side::Client, now)
    }

    /// Whether peers with the same bundle and clock would accept our own leaf.
    pub fn check_own(&self, now: SystemTime) -> Result<(), PeerError> {
        let (first, rest) = self.leaf.chain().split_first().ok_or(PeerError::NoCertificate)?;
        self.trust.verify(first, rest, Side::Server, now).map(drop)
    }

    fn check(&self, peer: Option<&[CertificateDer<'_>]>, side: Side, now: SystemTime) -> Result<SpiffeId, PeerError> {
        let Some((leaf, intermediates)) = peer.and_then(<[_]>::split_first) else {
            return Err(PeerError::NoCertificate);
        };
        self.trust.verify(leaf, intermediates, side, now).map_err(|error| match error {
            // The handshake accepted this chain, so it was made under another bundle.
            PeerError::UnknownIssuer => PeerError::StaleBundle,
            other => other,
        })
    }

    pub(crate) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust)
    }

    pub(crate) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::clone(&self.resolver)
    }

    pub(crate) fn clock(&self) -> Arc<dyn TimeProvider> {
        Arc::clone(&self.clock)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("generation", &self.generation)
            .field("leaf", &self.leaf)
            .field("bundle", self.trust.bundle())
            .finish()
    }
}

/// Sessions kept for one identity: rustls counts 8 per address, so 32 endpoints.
const SESSIONS: usize = 256;
