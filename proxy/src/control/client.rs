//! Connections to the control plane: TCP to a replica picked at random, TLS to its SPIFFE ID, gRPC on top.
//!
//! Each [`Client::connect`] is one connection that is never silently replaced: whoever holds the channel sees it fail and
//! decides. Nothing here retries.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use minimesh_balance::Rng;
use minimesh_identity::{Credentials, SpiffeId, TrustBundle, control};
use rustls::pki_types::ServerName;
use tokio::io::AsyncBufReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::clock::Clock;
use super::failure::Failure;
use crate::metrics::ControlFailure;
use crate::net::names;

/// Where the control plane is, and who it must be.
pub(super) struct Client {
    dialer: Dialer,
    expected: SpiffeId,
    clock: Clock,
    rng: RefCell<Rng>,
}

/// The connection that the Watch stream is open on, numbered: a new one may lead to another replica.
#[derive(Default)]
pub(super) struct Current {
    channel: RefCell<Option<Channel>>,
    number: Cell<u64>,
}

impl Current {
    /// The stream is open.
    pub(super) fn open(&self, channel: Channel) {
        self.number.set(self.number.get() + 1);
        self.channel.replace(Some(channel));
    }

    /// It has ended.
    pub(super) fn close(&self) {
        self.channel.take();
    }

    /// The connection and its number, from 1.
    pub(super) fn get(&self) -> Option<(u64, Channel)> {
        self.channel.borrow().clone().map(|channel| (self.number.get(), channel))
    }
}

/// How a byte stream to a replica comes about.
pub(crate) enum Dialer {
    /// In process.
    #[cfg(test)]
    Memory(tokio::sync::mpsc::Sender<tokio::io::DuplexStream>),
    /// By TCP.
    Tcp {
        /// `HOST:PORT`, each perhaps of several replicas.
        replicas: Vec<String>,
        /// Exempts the connection from interception where every process has one user.
        mark: Option<u32>,
    },
}

impl Client {
    pub(super) fn new(dialer: Dialer, expected: SpiffeId, clock: Clock, seed: u64) -> Client {
        Client { dialer, expected, clock, rng: RefCell::new(Rng::new(seed)) }
    }

    /// One connection to one replica. Without credentials only `Certify` is served on it.
    pub(super) async fn connect(
        &self,
        bundle: &TrustBundle,
        credentials: Option<&Credentials>,
    ) -> Result<Channel, Failure> {
        match timeout(CONNECT, self.connect_unbounded(bundle, credentials)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(ControlFailure::Unreachable, "no answer within 10 s")),
        }
    }

    async fn connect_unbounded(
        &self,
        bundle: &TrustBundle,
        credentials: Option<&Credentials>,
    ) -> Result<Channel, Failure> {
        let config = control::client_config_with_clock(bundle, &self.expected, credentials, self.clock.provider())?;
        let tls = TlsConnector::from(config);
        match &self.dialer {
            #[cfg(test)]
            Dialer::Memory(server) => {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let refused = |_| Failure::new(ControlFailure::Unreachable, "refused");
                server.send(far).await.map_err(refused)?;
                let name = ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into());
                grpc(secure(&tls, name, near).await?).await
            }
            Dialer::Tcp { replicas, mark } => {
                let (stream, address) = self.dial(replicas, *mark).await?;
                let name = ServerName::IpAddress(address.ip().into());
                let secured = secure(&tls, name, stream).await.map_err(|failure| failure.at(address))?;
                grpc(secured).await.map_err(|failure| failure.at(address))
            }
        }
    }

    /// TCP to any replica: in random order until one answers.
    async fn dial(&self, replicas: &[String], mark: Option<u32>) -> Result<(TcpStream, SocketAddr), Failure> {
        let mut addresses = Vec::new();
        let mut failure = None;
        for replica in replicas {
            match names::resolve(replica).await {
                Ok(found) => addresses.extend(found),
                Err(error) => failure = Some(Failure::new(ControlFailure::Unreachable, format!("{replica}: {error}"))),
            }
        }
        while !addresses.is_empty() {
            let pick = self.rng.borrow_mut().below(addresses.len());
            let address = addresses.swap_remove(pick);
            match timeout(DIAL, dial(address, mark)).await {
                Ok(Ok(stream)) => return Ok((stream, address)),
                Ok(Err(error)) => {
                    failure = Some(Failure::new(ControlFailure::Unreachable, format!("{address}: {error}")));
                }
                Err(_) => failure = Some(Failure::new(ControlFailure::Unreachable, format!("{address}: no answer"))),
            }
        }
        Err(failure.unwrap_or_else(|| Failure::new(ControlFailure::Unreachable, "no address of a control plane")))
    }
}

async fn dial(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(mark) = mark {
        socket2::SockRef::from(&socket).set_mark(mark)?;
    }
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// TLS, until the first byte of the control plane. In TLS 1.3 our side of the handshake is complete before the other has judged
/// our certificate; its verdict comes in place of HTTP/2's settings, which a server sends unasked. Later h2 would hide the cause.
async fn secure<S>(tls: &TlsConnector, name: ServerName<'static>, stream: S) -> Result<TlsStream<S>, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let failed = |error: io::Error| Failure::of_connection(&error);
    let mut stream = tls.connect(name, stream).await.map_err(failed)?;
    if stream.fill_buf().await.map_err(failed)?.is_empty() {
        return Err(Failure::new(ControlFailure::Unreachable, "the control plane closed the connection"));
    }
    Ok(stream)
}

/// HTTP/2 over one stream. The connector gives it out once: a channel whose connection broke stays broken.
async fn grpc<S>(stream: S) -> Result<Channel, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: http::Uri| {
        let taken = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { taken }
    });
    Endpoint::from_static("http://control-plane")
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .buffer_size(CONCURRENT)
        .connect_with_connector(connector)
        .await
        .map_err(|error| Failure::of_connection(&error))
}

/// A whole attempt, all replicas and handshakes included.
const CONNECT: Duration = Duration::from_secs(10);
/// One replica.
const DIAL: Duration = Duration::from_secs(3);
/// A dead replica is noticed within 13 s.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(3);
/// A chunk of endpoints is at most 256 KiB; a small window is the bound on what is in flight.
const WINDOW: u32 = 256 * 1024;
/// Calls at once: the Watch stream and a report.
const CONCURRENT: usize = 8;
