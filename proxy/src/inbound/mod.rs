//! Connections of peers, on their way to the application.
//!
//! `serve` is the life of one of them: where to, what it is, who it is, whether it may, then `http` or `tcp`. Nothing reaches
//! the application without a `Permit`, which only `authorize` makes.

mod authorize;
mod first;
mod h2;
mod http;
mod peer;
mod port;
mod tcp;

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use minimesh_api::model::{Direction, EdgeProtocol, Protocol};
use minimesh_identity::{Alpn, PeerError, SpiffeId};
use rustls::server::UnbufferedServerConnection;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use crate::detect::Undecided;
use crate::error::{Error, Kind, Side};
use crate::http::h1::Conn;
use crate::io::{Buffer, HandshakeError, Session, Stream, Tls, USUAL};
use crate::metrics::{Detected, Handshake, Refusal};
use crate::net::Refused;
use crate::observe::Wire;
use crate::outbound::log;
use crate::worker::Worker;

use authorize::Permit;
use first::First;
use peer::Peer;
use port::Port;
pub(crate) use port::Ports;

/// A handshake takes milliseconds; this is for overload, and an end for those who never finish.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Servers of HTTP close a connection on which nothing is said for about as long.
const UNHEARD: Duration = Duration::from_secs(60);

/// The life of one connection of a peer.
pub(crate) async fn serve(worker: &Rc<Worker>, tcp: TcpStream, peer: SocketAddr) {
    let address = match worker.place.inbound(&tcp) {
        Ok(address) => address,
        Err(refused) => {
            worker.cells.refused(match refused {
                Refused::Loop => Refusal::Loop,
                Refused::NotOurAddress => Refusal::NotOurAddress,
            });
            return Stream::Plain(tcp).reset();
        }
    };
    let mut conn = Conn { stream: Stream::Plain(tcp), buffer: Buffer::default() };
    let Some(port) = worker.ports.get(worker, address).await else {
        worker.cells.refused(Refusal::PolicyDenied);
        return conn.stream.reset();
    };
    let plaintext = authorize::allows_plaintext(worker, &port, peer.ip());
    let (first, app) = Box::pin(first::first(worker, &port, &mut conn, plaintext)).await;
    worker.cells.detected(Direction::Inbound, detected(&first));
    match first {
        First::Mesh => Box::pin(mesh(worker, &port, conn, peer.ip(), app)).await,
        First::Silent => {}
        First::Failed(error) => {
            count(worker, &error);
            conn.stream.reset();
        }
        First::Http1 | First::Http2 | First::Other | First::Server | First::ForeignTls => {
            Box::pin(bare(worker, &port, conn, peer.ip(), &first, app)).await;
        }
    }
}

/// A connection with the mesh's TLS: handshake, identity, permit. Where it began late, the application is dialled already: that
/// connection is used or closed, since a server with few threads gives one to each connection and waits for its first byte.
async fn mesh(worker: &Rc<Worker>, port: &Rc<Port>, conn: Conn, address: IpAddr, app: Option<Conn>) {
    let (conn, identity, alpn) = match terminate(worker, conn).await {
        Ok(terminated) => terminated,
        Err(error) => {
            if error.kind != Kind::ClientClosed {
                worker.cells.refused(Refusal::Tls);
            }
            return count(worker, &error);
        }
    };
    let peer = Peer::Meshed(identity);
    let permit = match authorize::connection(worker, port, address, &peer) {
        Ok(permit) => permit,
        Err(refusal) if alpn == Alpn::Http => return http::deny(worker, port, &peer, conn, refusal).await,
        Err(refusal) if alpn == Alpn::Http2 => return Box::pin(h2::deny(worker, port, &peer, conn, refusal)).await,
        Err(refusal) => return deny_bytes(worker, port, &peer, conn, refusal),
    };
    match alpn {
        Alpn::Http => http::serve(worker, permit, conn, app).await,
        Alpn::Http2 => {
            drop(app);
            Box::pin(h2::serve(worker, permit, conn)).await;
        }
        Alpn::Raw if port.is_http_only() => unheard(worker, &permit, conn).await,
        Alpn::Raw => tcp::forward(worker, permit, conn, app, &Undecided::never()).await,
    }
}

/// Bytes for a port of HTTP: refused as soon as there is one. A proxy that dials a pod by its address alone knows nothing of the port,
/// and opens this connection while its client is silent; that client may well speak HTTP, and then on another connection.
async fn unheard(worker: &Worker, permit: &Permit, mut conn: Conn) {
    let first = poll_fn(|cx| match worker.stopped.get() || worker.closing.get() || !permit.holds(worker) {
        true => Poll::Ready(Ok(0)),
        false => conn.stream.poll_fill(cx, &mut conn.buffer, USUAL),
    });
    match timeout(UNHEARD, first).await {
        Ok(Ok(1..)) => deny_bytes(worker, permit.port(), permit.peer(), conn, Refusal::RawOnHttp),
        _ => conn.stream.close().await,
    }
}

/// A connection without it: as the policy says.
async fn bare(worker: &Rc<Worker>, port: &Rc<Port>, conn: Conn, address: IpAddr, first: &First, app: Option<Conn>) {
    let may = matches!(port.protocol(), Protocol::Detect | Protocol::Http1 | Protocol::Http2);
    let http1 = may && matches!(first, First::Http1);
    let http2 = may && matches!(first, First::Http2);
    match admit(worker, port, address, http1 || http2) {
        Ok(permit) if http1 => http::serve(worker, permit, conn, app).await,
        Ok(permit) if http2 => {
            drop(app);
            Box::pin(h2::serve(worker, permit, conn)).await;
        }
        Ok(permit) if port.is_http_only() => deny_bytes(worker, port, permit.peer(), conn, Refusal::RawOnHttp),
        Ok(permit) => {
            let sniffed = port.protocol() == Protocol::Detect;
            let word = if sniffed { Undecided::of(conn.buffer.bytes()) } else { Undecided::never() };
            Box::pin(tcp::forward(worker, permit, conn, app, &word)).await;
        }
        Err((peer, refusal)) if matches!(first, First::Http1) => {
            Box::pin(http::deny(worker, port, &peer, conn, refusal)).await;
        }
        Err((peer, refusal)) if matches!(first, First::Http2) => {
            Box::pin(h2::deny(worker, port, &peer, conn, refusal)).await;
        }
        Err((peer, Refusal::Plaintext)) if matches!(first, First::ForeignTls) => {
            deny_bytes(worker, port, &peer, conn, Refusal::ForeignTls);
        }
        Err((peer, refusal)) => deny_bytes(worker, port, &peer, conn, refusal),
    }
}

/// Whether somebody without identity may go on; the node may always ask what the pod's spec has it ask.
fn admit(worker: &Worker, port: &Rc<Port>, address: IpAddr, http: bool) -> Result<Permit, (Peer, Refusal)> {
    let peer = Peer::without_identity(worker, address);
    authorize::connection(worker, port, address, &peer).or_else(|refusal| {
        let probes = authorize::probes(worker, port, address, &peer).filter(|_| http);
        probes.ok_or((peer, refusal))
    })
}

/// The handshake, and who the peer is by the newest credentials.
async fn terminate(worker: &Worker, conn: Conn) -> Result<(Conn, SpiffeId, Alpn), Error> {
    let Stream::Plain(tcp) = conn.stream else {
        return Err(Error::new(Kind::Internal, Side::Internal));
    };
    let config = worker.credentials()?.server_config();
    let session = UnbufferedServerConnection::new(config)
        .map_err(|error| Error::new(Kind::Internal, Side::Internal).because(error))?;
    let handshake = Tls::handshake(tcp, Session::Server(session), conn.buffer);
    let tls = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(HandshakeError::Tls(error))) => {
            let kind = PeerError::from_rustls(&error).map_or(Kind::Internal, |error| Kind::of_peer(&error));
            return Err(Error::new(kind, Side::Downstream).because(error));
        }
        // a proxy leaves so whose silent client turned out to speak HTTP
        Ok(Err(error)) => return Err(Error::new(Kind::ClientClosed, Side::Downstream).because(error)),
        Err(elapsed) => return Err(Error::new(Kind::TlsHandshakeFailed, Side::Downstream).because(elapsed)),
    };
    let judged = worker.credentials()?.check_client(tls.peer_certificates(), SystemTime::now());
    let identity = judged.map_err(|error| Error::new(Kind::of_peer(&error), Side::Downstream).because(error))?;
    let alpn = tls.alpn().and_then(Alpn::from_protocol).ok_or(Error::new(Kind::TlsNoProtocol, Side::Downstream))?;
    worker.cells.handshake(Direction::Inbound, if tls.is_resumed() { Handshake::Resumed } else { Handshake::Full });
    Ok((Conn { stream: Stream::Tls(tls), buffer: Buffer::default() }, identity, alpn))
}

/// Refuses what cannot be told why.
fn deny_bytes(worker: &Worker, port: &Port, peer: &Peer, conn: Conn, refusal: Refusal) {
    worker.cells.refused(refusal);
    worker.cells.error(Direction::Inbound, Kind::PolicyDenied as usize);
    port.cells(worker, EdgeProtocol::Tcp, peer).denied();
    debug!(reason = refusal.word(), port = port.address.port(), "refused");
    if let Some(mut record) = worker.observer.connection(Direction::Inbound, Wire::Tcp, &conn.stream) {
        record.endpoint = Some(port.address);
        record.client_identity = peer.identity().map(SpiffeId::to_shared);
        record.failed(Kind::PolicyDenied, None);
        worker.observer.finish(record);
    }
    conn.stream.reset();
}

fn count(worker: &Worker, error: &Error) {
    worker.cells.error(Direction::Inbound, error.kind as usize);
    log(error, Direction::Inbound);
}

fn detected(first: &First) -> Detected {
    match first {
        First::Failed(_) | First::Silent => Detected::Silent,
        First::ForeignTls => Detected::Tls,
        First::Http1 => Detected::Http1,
        First::Http2 => Detected::Http2,
        First::Mesh => Detected::Mesh,
        First::Other => Detected::Opaque,
        First::Server => Detected::ServerFirst,
    }
}

/// Bytes of the futures of inbound connections and requests that are boxed, or tasks of their own.
#[cfg(test)]
pub(crate) fn future_sizes() -> [(&'static str, usize); 4] {
    use crate::path_tests::sizes::returned;
    type Of = (&'static Rc<Worker>, &'static Rc<Port>, Conn, IpAddr, Option<Conn>);
    let mesh = |(worker, port, conn, address, app): Of| mesh(worker, port, conn, address, app);
    type Bare = (Of, &'static First);
    let bare = |((worker, port, conn, address, app), first): Bare| bare(worker, port, conn, address, first, app);
    let http2 = |(worker, permit, conn): (&'static Rc<Worker>, Permit, Conn)| h2::serve(worker, permit, conn);
    [
        ("connection inbound-mesh", returned(mesh)),
        ("connection inbound-plaintext", returned(bare)),
        ("connection inbound-http2", returned(http2)),
        ("request inbound-http2", h2::stream_size()),
    ]
}
