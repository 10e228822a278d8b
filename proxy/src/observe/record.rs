//! What is known of one request, or of one opaque connection, when it is over.
//!
//! Made when a request begins and somebody wants to know; whoever carries the request fills in what it learns. Owned copies
//! throughout, each cut to a bound: the buffers they come from are gone by the end.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use minimesh_api::model::{BackendKey, Direction, ObjectRef};
use minimesh_route::{RequestView, Rule};
use tokio::time::Instant;

use super::context::TraceContext;
use crate::error::Kind;
use crate::http::Forwarded;
use crate::metrics::CloseReason;

/// A request or connection.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) direction: Direction,
    pub(crate) wire: Wire,
    pub(crate) time: SystemTime,
    pub(crate) began: Instant,
    /// Set at the end.
    pub(crate) duration: Duration,
    /// Who connected to this proxy.
    pub(crate) client: Option<SocketAddr>,
    /// `None`: an opaque connection, or a request that could not be read.
    pub(crate) request: Option<Request>,
    /// `None`: nothing was answered.
    pub(crate) status: Option<u16>,
    /// Where the message was gRPC's.
    pub(crate) grpc: Option<u8>,
    /// As sent on; of HTTP/1, heads included.
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Time that the proxy itself took.
    pub(crate) added: Duration,
    /// Time spent waiting for a connection, and on attempts that failed.
    pub(crate) waited: Duration,
    pub(crate) trace: Option<TraceContext>,
    /// `tracestate`, where there is to be a span.
    pub(crate) trace_state: String,
    pub(crate) route: Option<Route>,
    pub(crate) backend: Option<BackendKey>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) client_identity: Option<Arc<str>>,
    pub(crate) server_identity: Option<Arc<str>>,
    /// Attempts after the first.
    pub(crate) retries: u32,
    pub(crate) error: Option<Kind>,
    /// Name that an application's own TLS asks for (SNI), where the proxy looked.
    pub(crate) tls_server_name: Option<String>,
    /// How an opaque connection ended.
    pub(crate) close: Option<CloseReason>,
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Http10,
    Http11,
    Http2,
    Tcp,
}

/// What a request asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Vec<u8>,
    pub(crate) path: Vec<u8>,
    /// Only where it was asked for.
    pub(crate) query: Option<Vec<u8>>,
    pub(crate) host: Vec<u8>,
    /// Those asked for by name.
    pub(crate) headers: Vec<(Arc<str>, Vec<u8>)>,
}

/// What an opaque connection carried, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    sent: Cell<u64>,
    received: Cell<u64>,
    reason: Option<CloseReason>,
}

/// A rule of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) object: ObjectRef,
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
}

/// What of a request is only recorded where somebody asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) query: bool,
    /// Lower-case names.
    pub(crate) headers: Vec<Arc<str>>,
}

impl Record {
    /// Something that begins now.
    pub(crate) fn new(direction: Direction, wire: Wire, client: Option<SocketAddr>) -> Record {
        Record {
            direction,
            wire,
            time: SystemTime::now(),
            began: Instant::now(),
            duration: Duration::ZERO,
            client,
            request: None,
            status: None,
            grpc: None,
            request_bytes: 0,
            response_bytes: 0,
            added: Duration::ZERO,
            waited: Duration::ZERO,
            trace: None,
            trace_state: String::new(),
            route: None,
            backend: None,
            endpoint: None,
            client_identity: None,
            server_identity: None,
            retries: 0,
            error: None,
            tls_server_name: None,
            close: None,
        }
    }

    /// The server's answer was passed on whole.
    pub(crate) fn answered(&mut self, forwarded: &Forwarded) {
        self.status = Some(forwarded.status);
        self.request_bytes = forwarded.sent;
        self.response_bytes = forwarded.received;
        self.added = forwarded.added;
    }

    /// It was not: `answered` is the status that had gone out by then, else the proxy's own answer has the error's. An opaque
    /// connection has none.
    pub(crate) fn failed(&mut self, kind: Kind, answered: Option<u16>) {
        self.error = Some(kind);
        let own = (self.wire != Wire::Tcp).then_some(kind.row().status);
        self.status = answered.or(own);
    }

    /// What had been passed on by then.
    pub(crate) fn broke_off(&mut self, sent: u64, received: u64) {
        self.request_bytes = sent;
        self.response_bytes = received;
    }

    /// A gRPC client hears of the proxy's own errors by a status of its own, in an answer 200.
    pub(crate) fn told_grpc(&mut self, status: Option<u8>) {
        self.grpc = status;
        if status.is_some() && self.error != Some(Kind::ClientClosed) {
            self.status = Some(200);
        }
    }

    /// An opaque connection ended.
    pub(crate) fn closed(&mut self, moved: &Moved) {
        self.request_bytes = moved.sent.get();
        self.response_bytes = moved.received.get();
        self.close = moved.reason;
    }

    /// What is left of the duration: the server and the network.
    pub(super) fn upstream(&self) -> Duration {
        self.duration.saturating_sub(self.added).saturating_sub(self.waited)
    }

    /// The word of `minimesh-error`.
    pub(super) fn code(&self) -> Option<&'static str> {
        self.error.map(|kind| kind.row().code)
    }
}

impl Moved {
    /// Bytes that went from the client to the server.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }

    /// Bytes that went from the server to the client.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
    }

    /// The end.
    pub(crate) fn by(self, reason: CloseReason) -> Moved {
        Moved { reason: Some(reason), ..self }
    }
}

impl Route {
    pub(crate) fn of(rule: &Rule) -> Route {
        Route { object: rule.object.clone(), index: rule.index, name: Arc::clone(&rule.name) }
    }
}

impl Wire {
    /// HTTP/1, by its minor version.
    pub(crate) fn of_minor(minor: u8) -> Wire {
        if minor == 0 { Wire::Http10 } else { Wire::Http11 }
    }

    /// As the access log names it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Wire::Http10 => "HTTP/1.0",
            Wire::Http11 => "HTTP/1.1",
            Wire::Http2 => "HTTP/2.0",
            Wire::Tcp => "TCP",
        }
    }

    /// OpenTelemetry's `network.protocol.version`.
    pub(super) fn version(self) -> Option<&'static str> {
        match self {
            Wire::Http10 => Some("1.0"),
            Wire::Http11 => Some("1.1"),
            Wire::Http2 => Some("2"),
            Wire::Tcp => None,
        }
    }
}

impl Request {
    pub(super) fn of(view: &RequestView<'_>, details: &Details) -> Request {
        let value = |name: &str, most| {
            let mut found = None;
            view.headers.get_all(name, &mut |value| {
                found.get_or_insert_with(|| cut(value, most));
            });
            found
        };
        let header = |name: &Arc<str>| Some((Arc::clone(name), value(name, LONGEST_HEADER)?));
        Request {
            method: cut(view.method.as_bytes(), LONGEST_METHOD),
            path: cut(view.path, LONGEST_PATH),
            query: view.query.filter(|_| details.query).map(|query| cut(query, LONGEST_PATH)),
            host: value("host", LONGEST_HEADER).unwrap_or_default(),
            headers: details.headers.iter().filter_map(header).collect(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(candidate, _)| **candidate == *name).map(|(_, value)| value.as_slice())
    }
}

fn cut(value: &[u8], most: usize) -> Vec<u8> {
    value[..value.len().min(most)].to_vec()
}

/// A head may be 64 KiB; a line that long helps nobody and costs its writer.
const LONGEST_PATH: usize = 4096;
const LONGEST_HEADER: usize = 1024;
const LONGEST_METHOD: usize = 64;
