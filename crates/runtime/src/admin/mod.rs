//! A small HTTP/1 server for people, kubelets and scrapers, in two kinds.
//!
//! ```text
//! Audience::Network   any address    GET and HEAD, nothing that changes anything or shows traffic
//! Audience::Machine   loopback only  GET, HEAD and POST; Host must name the loopback (a page in a browser that rebinds its name to
//!                                    127.0.0.1 cannot), POST needs `minimesh-admin: 1` (a form cannot send it)
//! ```
//!
//! Limits: 64 connections, heads of 16 KiB, bodies of 64 KiB, 10 s to send a head or a body, 5 min per connection. It is not
//! the data path and may allocate.

mod serve;

use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::metrics;

/// Who may talk to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Processes of this machine (of this pod, or through a port-forward).
    Machine,
    /// Anyone who reaches the port.
    Network,
}

/// A bound listener with its routes.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    audience: Audience,
    routes: Vec<Route>,
}

/// What a handler is given.
#[derive(Clone, Debug)]
pub struct Call {
    /// The path as sent.
    pub path: String,
    /// What follows a route's prefix; empty for an exact route.
    pub rest: String,
    /// The query, without `?`.
    pub query: Option<String>,
    /// The body of a POST.
    pub body: Bytes,
    /// Who calls.
    pub peer: SocketAddr,
    /// The address of this machine that was called.
    pub local: SocketAddr,
}

/// What a handler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Content type.
    pub content_type: Cow<'static, str>,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// 200 with a body of some type.
    pub fn ok(content_type: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Reply {
        Reply { status: StatusCode::OK, content_type: content_type.into(), body: body.into() }
    }

    /// Any status with a line of text, to which the line's end is added.
    pub fn text(status: StatusCode, line: impl std::fmt::Display) -> Reply {
        Reply { status, content_type: TEXT.into(), body: format!("{line}\n").into() }
    }
}

/// Why a server could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or the address not ours.
    #[error("admin port {address}: {error}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A server for this machine alone was to be bound elsewhere.
    #[error("admin port {0}: must be on the loopback, because it can change this process")]
    NotLoopback(SocketAddr),
}

type Handler = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

#[derive(Clone)]
struct Route {
    method: http::Method,
    path: &'static str,
    handler: Handler,
}

impl Server {
    /// Binds a listener; requests are answered from [`serve`](Server::serve) on.
    pub async fn bind(address: SocketAddr, audience: Audience) -> Result<Server, Error> {
        if audience == Audience::Machine && !address.ip().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Server { listener, audience, routes: Vec::new() }),
            Err(error) => Err(Error::Bind { address, error }),
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers GET and HEAD of `path`; a path that ends in `/` answers for all below it ([`Call::rest`]).
    #[must_use]
    pub fn get<F, R>(self, path: &'static str, handler: F) -> Server
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        self.route(http::Method::GET, path, handler)
    }

    /// Answers POST of `path`, on a server for this machine alone; on one for the network the route does not exist.
    #[must_use]
    pub fn post<F, R>(self, path: &'static str, handler: F) -> Server
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        if self.audience == Audience::Network {
            return self;
        }
        self.route(http::Method::POST, path, handler)
    }

    /// Answers what every part answers: `/live`, `/metrics` and, as long as nothing is missing, `/ready`.
    #[must_use]
    pub fn health(self, registry: Registry, missing: impl Fn() -> Option<String> + Send + Sync + 'static) -> Server {
        let registry = Arc::new(registry);
        self.get("/live", |_| async { Reply::text(StatusCode::OK, "live") })
            .get("/metrics", move |_| {
                let registry = Arc::clone(&registry);
                async move {
                    match metrics::encode(&registry) {
                        Ok(text) => Reply::ok(metrics::CONTENT_TYPE, text),
                        Err(error) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, error),
                    }
                }
            })
            .get("/ready", move |_| {
                let missing = missing();
                async move {
                    match missing {
                        None => Reply::text(StatusCode::OK, "ready"),
                        Some(missing) => Reply::text(StatusCode::SERVICE_UNAVAILABLE, missing),
                    }
                }
            })
    }

    /// Serves until `until` resolves; connections that are in the middle of an answer get a second to finish.
    pub async fn serve(self, until: impl Future<Output = ()>) {
        serve::run(self, until).await;
    }

    fn route<F, R>(mut self, method: http::Method, path: &'static str, handler: F) -> Server
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        self.routes.push(Route { method, path, handler });
        self
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
