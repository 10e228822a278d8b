//! Connections: accepts, shakes hands, and serves HTTP/2 until the connection's age, its end, or the process's.
//!
//! The accept loops of the control plane are here and nowhere else. What a caller may do is decided by the services, from
//! the `Peer` that is put into each request here.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use minimesh_identity::{CertificateDer, Fingerprint, SpiffeId, expiry, peer_id};
use minimesh_runtime::drain;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::codegen::http::Request;
use tonic::service::Routes;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::issuing::InForce;
use crate::ledger::Certificate;
use crate::metrics::{Metrics, Open};
use crate::peer::Peer;
use crate::places::Places;
use crate::watch::Carrier;

/// What every connection of proxies shares.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// The services.
    pub(crate) routes: Routes,
    /// The TLS configuration in force.
    pub(crate) tls: watch::Receiver<Arc<ServerConfig>>,
    /// The roots in force.
    pub(crate) in_force: InForce,
    /// Who has how many connections.
    pub(crate) places: Places,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// The process's end.
    pub(crate) drain: drain::Watch,
}

impl Server {
    /// Accepts until the drain starts.
    pub(crate) async fn accept(self, listener: TcpListener) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        let next = async || {
            // A thousand proxies that come back at once wait their turn in the kernel's queue.
            let turn = Arc::clone(&handshakes).acquire_owned().await.ok();
            (listener.accept().await, turn)
        };
        loop {
            let (accepted, turn) = tokio::select! {
                next = next() => next,
                () = self.drain.started() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    // Delays nothing if it fails.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(self.clone().connection(stream, address, turn));
                }
                Err(error) => accept_failed(&error).await,
            }
        }
    }

    /// One connection, from its first byte to its end. `turn`: among the handshakes.
    pub(crate) async fn connection(self, stream: impl Io, address: SocketAddr, turn: Option<OwnedSemaphorePermit>) {
        // Who has too many is told so by a closed connection; proxies try again with a back-off.
        let Ok(mut place) = self.places.take(address.ip()) else { return self.refuse(address, None) };
        let handshake = self.handshake(stream, address).await;
        drop(turn);
        let Some((stream, peer)) = handshake else { return };
        if let Some(id) = &peer.id
            && place.belongs_to(id).is_err()
        {
            return self.refuse(address, Some(id));
        }
        self.serve(stream, peer).await;
    }

    fn refuse(&self, address: SocketAddr, id: Option<&SpiffeId>) {
        self.metrics.connections_refused.increment();
        debug!(%address, ?id, "connection closed: too many");
    }

    async fn handshake<S: Io>(&self, stream: S, address: SocketAddr) -> Option<(TlsStream<S>, Peer)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls.borrow()));
        let shaken = timeout(HANDSHAKE, acceptor.accept(stream)).await;
        let tls = match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(tls) => tls,
            // A kubelet's probe opens the port and closes it: no handshake that failed.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
            Err(error) => {
                self.metrics.handshakes_failed.increment();
                debug!(%address, %error, "tls handshake failed");
                return None;
            }
        };
        let id = match tls.get_ref().1.peer_certificates().and_then(<[_]>::first).map(peer_id).transpose() {
            Ok(id) => id,
            Err(error) => {
                self.metrics.handshakes_failed.increment();
                warn!(%address, code = error.code(), %error, "a client's certificate names no identity of the mesh");
                return None;
            }
        };
        let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| self.certificate(chain));
        Some((tls, Peer { address, id, certificate }))
    }

    fn certificate(&self, chain: &[CertificateDer<'static>]) -> Option<Certificate> {
        let bundle = self.in_force.now().authority.bundle().ok()?;
        let not_after = expiry(chain.first()?).ok()?;
        Some(Certificate { not_after, root: bundle.root_of(chain).map(Fingerprint::of) })
    }

    /// Serves one connection. At its age it is told to go away, and Watch streams end in good order.
    async fn serve(self, stream: impl Io, peer: Peer) {
        let _open = Open::new(&self.metrics.connections);
        let (age, aged) = watch::channel(false);
        let longest = if peer.id.is_some() { connection_age() } else { STRANGER };
        let cut = Arc::new(Notify::new());
        let service = with_peer(self.routes, peer.clone(), Carrier { aged, cut: Arc::clone(&cut) });
        let connection = http().serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = cut.notified() => {
                return info!(address = %peer.address, id = ?peer.id, "connection dropped: its proxy does not read");
            }
            () = sleep(longest) => {
                connection.as_mut().graceful_shutdown();
                age.send_replace(true);
                timeout(GRACE, connection.as_mut()).await.unwrap_or(Ok(()))
            }
            () = self.drain.started() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = self.drain.forced() => Ok(()),
                }
            }
        };
        match ended {
            Ok(()) => debug!(address = %peer.address, id = ?peer.id, "connection closed"),
            Err(error) => debug!(address = %peer.address, id = ?peer.id, %error, "connection broke"),
        }
    }
}

/// Serves the operator's connections: no TLS, the peer is a process of this user. Ages and bounds are the same.
pub(crate) async fn serve_local(routes: Routes, stream: impl Io, id: Option<SpiffeId>, drain: drain::Watch) {
    let (_age, aged) = watch::channel(false);
    let peer = Peer { address: SocketAddr::from(([127, 0, 0, 1], 0)), id, certificate: None };
    let service = with_peer(routes, peer, Carrier { aged, cut: Arc::default() });
    let mut connection = pin!(http().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = drain.started() => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(GRACE, connection).await;
}

/// Descriptors or memory are short: what is open must end first. Waiting keeps the loop from spinning.
pub(crate) async fn accept_failed(error: &io::Error) {
    warn!(%error, "a connection cannot be accepted; trying again in 1 s");
    sleep(ACCEPT_AGAIN).await;
}

/// What a connection must be able to do.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

fn with_peer(
    routes: Routes,
    peer: Peer,
    carrier: Carrier,
) -> TowerToHyperService<
    impl tower::Service<
        Request<Incoming>,
        Response = tonic::codegen::http::Response<tonic::body::Body>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static,
> {
    TowerToHyperService::new(routes.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(carrier.clone());
        request
    }))
}

/// HTTP/2 with small windows: a proxy has one stream with small messages, and what it does not read must wait here.
fn http() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING))
        .keep_alive_timeout(PING_ANSWER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// 30 min ± 50 %, so that proxies spread over replicas and do not all come back at once.
fn connection_age() -> Duration {
    let mut bytes = [0; 2];
    // Without randomness every connection gets the shortest age; nothing else depends on it.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    YOUNGEST + YOUNGEST * 2 * u32::from(u16::from_be_bytes(bytes)) / u32::from(u16::MAX)
}

/// A connection without a client certificate is for one call of Certify.
const STRANGER: Duration = Duration::from_secs(30);
const YOUNGEST: Duration = Duration::from_secs(15 * 60);
/// From GOAWAY to the end: calls in flight finish, Watch streams end.
const GRACE: Duration = Duration::from_secs(10);
/// A handshake takes milliseconds; who takes longer holds one of `HANDSHAKES`.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at one time.
const HANDSHAKES: usize = 256;
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// A PING after 10 s of silence, its answer within 3 s.
const PING: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(3);
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
const STREAMS: u32 = 16;
const HEADERS: u32 = 32 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
