//! One endpoint as one worker sees it: how it is spoken to, its load, its idle connections.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use minimesh_api::model::{
    BackendKey, Direction, EdgeKey, EdgeProtocol, Endpoint as Description, EndpointState, Security, Transport,
};
use minimesh_balance::Slot;
use minimesh_identity::{Alpn, Credentials, PeerError, SpiffeId};
use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout};

use crate::error::{Error, Kind, Side};
use crate::http::h1::Conn;
use crate::http::h2::{Link, Pool, Use};
use crate::io::{Buffer, HandshakeError, Session, Stream, Tls};
use crate::metrics::{CloseReason, Connected, EdgeCells, EdgeLabels, Handshake, RetryReason};
use crate::worker::Worker;

/// What the estimate of an endpoint begins with: a typical call inside a cluster.
const DEFAULT_LATENCY: Duration = Duration::from_millis(30);

/// Idle connections to another proxy live this long: longer than the pauses of a busy client, shorter than keepalives.
const IDLE: Duration = Duration::from_secs(60);

/// An unmeshed server closes idle connections when it likes, and a FIN in flight cannot be seen.
const IDLE_PLAIN: Duration = Duration::from_secs(1);

/// Idle connections kept; a burst's leftovers beyond are closed.
const IDLE_MAX: usize = 128;

/// Both proxies are awake and a round trip is milliseconds; this is for overload.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A proxy that has heard nothing for a tenth of a second takes its peer for one without a mesh, and passes on what its application
/// says first. Where that happens to us, because we had no processor for as long, another connection is opened, so many times.
const GREETED: usize = 2;

/// Clocks of a cluster differ by less than this, or certificates have worse problems.
const CLOCKS: Duration = Duration::from_secs(60);

/// A peer's certificate is judged again on reuse after this, and whenever our credentials changed.
const JUDGED_FOR: Duration = Duration::from_secs(30);

/// What goes on the wire.
#[derive(Debug)]
enum Wire {
    Mtls(SpiffeId),
    Plaintext(&'static str),
    /// The control plane named an identity that is none: nothing goes there.
    Invalid,
}

/// One endpoint.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// As control described it; a changed description is a new endpoint.
    pub(crate) described: Description,
    pub(crate) slot: Slot,
    fresh: Cell<bool>,
    service: Option<BackendKey>,
    wire: Wire,
    idle: RefCell<Vec<Idle>>,
    links: OnceCell<Rc<Pool>>,
    configs: RefCell<Option<Configs>>,
    http: OnceCell<Arc<EdgeCells>>,
    tcp: OnceCell<Arc<EdgeCells>>,
}

/// TLS configurations of one generation of credentials, as they are needed.
struct Configs {
    generation: u64,
    by_alpn: [Option<Arc<ClientConfig>>; Alpn::ALL.len()],
}

/// A connection to an endpoint.
pub(crate) struct Upstream {
    pub(crate) conn: Conn,
    opened: Instant,
    /// The peer judges each request by our certificate as this connection presented it: none is sent so many seconds after
    /// it was opened.
    usable_for: u32,
    /// Credentials generation and time of the last judgement of the peer's certificate.
    judged: (u64, Instant),
    cells: Arc<EdgeCells>,
    reason: Cell<CloseReason>,
}

struct Idle {
    upstream: Upstream,
    since: Instant,
}

impl Endpoint {
    /// `own`: the address belongs to this very pod and is reached over loopback, past the inbound proxy.
    pub(crate) fn new(described: Description, service: Option<BackendKey>, own: bool) -> Rc<Endpoint> {
        let wire = match &described.transport {
            _ if own => Wire::Plaintext("loopback"),
            Transport::MutualTls { identity } => identity.parse().map_or(Wire::Invalid, Wire::Mtls),
            Transport::Plaintext(reason) => Wire::Plaintext(reason.label()),
        };
        Rc::new(Endpoint { wire, ..Endpoint::bare(described, service) })
    }

    /// An address that is passed through unchanged.
    pub(crate) fn passthrough(address: SocketAddr, reason: &'static str) -> Rc<Endpoint> {
        let described = Description {
            address,
            transport: Transport::Plaintext(minimesh_api::model::PlaintextReason::NotMeshed),
            state: EndpointState::Serving,
            workload: None,
            zone: None,
        };
        Rc::new(Endpoint { wire: Wire::Plaintext(reason), ..Endpoint::bare(described, None) })
    }

    fn bare(described: Description, service: Option<BackendKey>) -> Endpoint {
        Endpoint {
            address: described.address,
            described,
            slot: Slot::new(DEFAULT_LATENCY),
            fresh: Cell::new(true),
            service,
            wire: Wire::Invalid,
            idle: RefCell::default(),
            links: OnceCell::new(),
            configs: RefCell::default(),
            http: OnceCell::new(),
            tcp: OnceCell::new(),
        }
    }

    /// Whether it was never picked; says so once.
    pub(crate) fn take_fresh(&self) -> bool {
        self.fresh.replace(false)
    }

    /// Who it must prove to be.
    pub(crate) fn identity(&self) -> Option<&SpiffeId> {
        match &self.wire {
            Wire::Mtls(identity) => Some(identity),
            Wire::Plaintext(_) | Wire::Invalid => None,
        }
    }

    pub(crate) fn is_mesh(&self) -> bool {
        matches!(self.wire, Wire::Mtls(_))
    }

    /// Where requests to it are counted.
    pub(crate) fn http_cells(&self, worker: &Worker) -> &Arc<EdgeCells> {
        self.http.get_or_init(|| self.cells(worker, EdgeProtocol::Http))
    }

    /// Where opaque connections to it are counted.
    pub(crate) fn tcp_cells(&self, worker: &Worker) -> &Arc<EdgeCells> {
        self.tcp.get_or_init(|| self.cells(worker, EdgeProtocol::Tcp))
    }

    /// The idle connection used last, if it can still be used. To be polled without tokio's budget: a poll that is put off
    /// would take a closed connection for an idle one.
    pub(crate) fn reuse(&self, worker: &Worker, cx: &mut Context<'_>) -> Option<Upstream> {
        let now = Instant::now();
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            let mut upstream = idle.upstream;
            if now - idle.since < self.idle_limit()
                && (now - upstream.opened).as_secs() < upstream.usable_for.into()
                && upstream.conn.stream.poll_usable(cx)
                && self.is_still_trusted(worker, &mut upstream, now)
            {
                return Some(upstream);
            }
            upstream.close();
        }
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, mut upstream: Upstream) {
        upstream.conn.buffer.release();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { upstream, since: Instant::now() });
        }
    }

    /// Closes what has been idle too long, or was closed by the peer.
    pub(crate) fn sweep(&self) {
        let mut cx = Context::from_waker(Waker::noop());
        let now = Instant::now();
        let limit = self.idle_limit();
        let mut idle = self.idle.borrow_mut();
        let mut at = 0;
        while at < idle.len() {
            let Idle { upstream, since } = &mut idle[at];
            if now - *since < limit && upstream.conn.stream.poll_usable(&mut cx) {
                at += 1;
            } else {
                idle.remove(at).upstream.close();
            }
        }
    }

    /// Opens a connection: TCP, and mutual TLS where the endpoint is meshed. Never anything less than what is described.
    pub(crate) async fn connect(&self, worker: &Worker, alpn: Alpn) -> Result<Upstream, Error> {
        let began = Instant::now();
        let usable_for = if self.is_mesh() { worker.credentials().map_or(0, |own| usable_for(&own)) } else { u32::MAX };
        let mut greeted = 0;
        let result = loop {
            let result = self.connect_inner(worker, alpn).await;
            match &result {
                Err(error) if greeted < GREETED && is_greeting(error) => {
                    greeted += 1;
                    worker.cells.retry(RetryReason::NotDelivered);
                }
                _ => break result,
            }
        };
        let outcome = match &result {
            Ok(_) => Connected::Ok,
            Err(error) if error.kind == Kind::ConnectRefused => Connected::Refused,
            Err(error) if error.kind == Kind::ConnectTimeout => Connected::Unreachable,
            Err(_) => Connected::Tls,
        };
        worker.cells.connect(Direction::Outbound, outcome, began.elapsed());
        let stream = result.map_err(|error| error.at(self.address))?;
        let cells = match alpn {
            Alpn::Http | Alpn::Http2 => self.http_cells(worker),
            Alpn::Raw => self.tcp_cells(worker),
        };
        cells.opened();
        Ok(Upstream {
            conn: Conn { stream, buffer: Buffer::default() },
            opened: began,
            usable_for,
            judged: (worker.generation(), began),
            cells: Arc::clone(cells),
            reason: Cell::new(CloseReason::Clean),
        })
    }

    async fn connect_inner(&self, worker: &Worker, alpn: Alpn) -> Result<Stream, Error> {
        if matches!(self.wire, Wire::Invalid) {
            return Err(
                Error::new(Kind::UnsupportedByProxy, Side::Internal).because("the endpoint's identity is malformed")
            );
        }
        let tcp = worker.dialer.connect(self.address).await.map_err(connect_error)?;
        worker.dialled.note(&tcp);
        let Wire::Mtls(expected) = &self.wire else { return Ok(Stream::Plain(tcp)) };
        let credentials = worker.credentials()?;
        let config = self.config(&credentials, expected, alpn)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let session = UnbufferedClientConnection::new(config, name)
            .map_err(|error| Error::new(Kind::Internal, Side::Internal).because(error))?;
        let handshake = Tls::handshake(tcp, Session::Client(session), Buffer::default());
        let tls = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return Err(handshake_error(error)),
            Err(_) => return Err(handshake_error(HandshakeError::Io(io::ErrorKind::TimedOut.into()))),
        };
        // the newest credentials: they may have changed meanwhile
        let check = worker.credentials()?.check_server(tls.peer_certificates(), expected, SystemTime::now());
        check.map_err(|error| Error::new(Kind::of_peer(&error), Side::Upstream).because(error))?;
        if tls.alpn() != Some(alpn.protocol()) {
            return Err(Error::new(Kind::TlsNoProtocol, Side::Upstream));
        }
        worker
            .cells
            .handshake(Direction::Outbound, if tls.is_resumed() { Handshake::Resumed } else { Handshake::Full });
        Ok(Stream::Tls(tls))
    }

    fn config(&self, credentials: &Credentials, expected: &SpiffeId, alpn: Alpn) -> Result<Arc<ClientConfig>, Error> {
        let generation = credentials.generation();
        let mut configs = self.configs.borrow_mut();
        if configs.as_ref().is_none_or(|configs| configs.generation != generation) {
            *configs = None;
        }
        let configs = configs.get_or_insert_with(|| Configs { generation, by_alpn: Default::default() });
        let place = &mut configs.by_alpn[alpn as usize];
        if let Some(config) = place {
            return Ok(Arc::clone(config));
        }
        let made = credentials.client_config(expected, alpn);
        let made = made.map_err(|error| Error::new(Kind::Internal, Side::Internal).because(error))?;
        Ok(Arc::clone(place.insert(made)))
    }

    /// HTTP/2 connections to it.
    pub(super) fn links(&self) -> &Rc<Pool> {
        self.links.get_or_init(Rc::default)
    }

    /// Whether new streams may be opened on a link. With new credentials comes a new link, because who we are is said in the
    /// handshake; until it is there the old one serves, as long as either side would still be accepted.
    pub(super) fn may_use(&self, worker: &Worker, link: &Link) -> Use {
        let Wire::Mtls(expected) = &self.wire else { return Use::Yes };
        let (now, generation) = (Instant::now(), worker.generation());
        if link.until.is_some_and(|until| until <= now) {
            return Use::No;
        }
        let (judged_by, when) = link.judged.get();
        if judged_by != generation || now - when >= JUDGED_FOR {
            link.judged.set((generation, now));
            let Ok(credentials) = worker.credentials() else { return Use::No };
            let judged = link.socket().with_tls(|tls| {
                let peer = tls.and_then(Tls::peer_certificates);
                credentials.check_server(peer, expected, SystemTime::now())
            });
            if judged.is_err() {
                return Use::No;
            }
        }
        if link.generation == generation { Use::Yes } else { Use::Old }
    }

    /// An old connection outlives a change of credentials only while its peer would still be accepted.
    fn is_still_trusted(&self, worker: &Worker, upstream: &mut Upstream, now: Instant) -> bool {
        let Wire::Mtls(expected) = &self.wire else { return true };
        let (generation, when) = upstream.judged;
        if generation == worker.generation() && now - when < JUDGED_FOR {
            return true;
        }
        let peer = upstream.conn.stream.tls().and_then(Tls::peer_certificates);
        let judged: Result<(), PeerError> = match worker.credentials() {
            Ok(credentials) => credentials.check_server(peer, expected, SystemTime::now()),
            Err(_) => return false,
        };
        upstream.judged = (worker.generation(), now);
        judged.is_ok()
    }

    pub(super) fn idle_limit(&self) -> Duration {
        if self.is_mesh() { IDLE } else { IDLE_PLAIN }
    }

    fn cells(&self, worker: &Worker, protocol: EdgeProtocol) -> Arc<EdgeCells> {
        let security = match &self.wire {
            Wire::Mtls(identity) => Security::Verified(identity.to_shared()),
            Wire::Plaintext(reason) => Security::None((*reason).into()),
            Wire::Invalid => Security::None("invalid_identity".into()),
        };
        let key = EdgeKey {
            direction: Direction::Outbound,
            protocol,
            service: self.service.clone(),
            peer: self.described.workload.clone(),
            port: self.address.port(),
            security,
        };
        let labels = EdgeLabels { target: Some(self.address), zone: self.described.zone.clone(), policy: None };
        worker.control.metrics().edge(key, labels)
    }
}

/// How many seconds a connection that presents our present certificate takes requests: the rest of its life, less a tenth
/// for requests on their way and for the peer's clock.
fn usable_for(own: &Credentials) -> u32 {
    let rest = own.leaf().not_after().duration_since(SystemTime::now()).unwrap_or_default();
    u32::try_from((rest - (rest / 10).min(CLOCKS)).as_secs()).unwrap_or(u32::MAX)
}

impl Upstream {
    /// Where this connection is counted.
    pub(crate) fn cells(&self) -> &Arc<EdgeCells> {
        &self.cells
    }

    /// When it takes no more requests, whatever else happens.
    pub(super) fn usable_until(&self) -> Option<Instant> {
        self.opened.checked_add(Duration::from_secs(self.usable_for.into()))
    }

    /// What ended it, where that was not a clean close.
    pub(crate) fn ended_by(&self, reason: CloseReason) {
        self.reason.set(reason);
    }

    /// Takes the connection out; the counting stays until `self` is dropped.
    pub(crate) fn take(&mut self) -> Conn {
        let stream = std::mem::replace(&mut self.conn.stream, Stream::Closed);
        Conn { stream, buffer: std::mem::take(&mut self.conn.buffer) }
    }

    /// Ends the connection cleanly, as far as that goes without waiting.
    pub(crate) fn close(mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _: Poll<io::Result<()>> = self.conn.stream.poll_finish(&mut cx);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.cells.closed(self.reason.get(), self.opened.elapsed());
    }
}

/// What came in the place of a handshake is no TLS: words of the application. Nothing of ours went to it.
fn is_greeting(error: &Error) -> bool {
    let cause = error.source.as_ref().and_then(|source| source.downcast_ref::<HandshakeError>());
    matches!(cause, Some(HandshakeError::Tls(rustls::Error::InvalidMessage(_))))
}

fn connect_error(error: io::Error) -> Error {
    Error::new(Kind::of_connect(&error), Side::Upstream).because(error)
}

fn handshake_error(error: HandshakeError) -> Error {
    let kind = match &error {
        HandshakeError::Tls(tls) => PeerError::from_rustls(tls).map_or(Kind::Internal, |error| Kind::of_peer(&error)),
        HandshakeError::Closed | HandshakeError::Io(_) => Kind::TlsHandshakeFailed,
    };
    Error::new(kind, Side::Upstream).because(error)
}
