//! Everything that can go wrong on the data path, in one table, and what the client is told.
//!
//! A kind's word is the same in the `minimesh-error` header, the metric label, the log and the documentation. There is no
//! other mapping to a status.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use minimesh_api::model::Direction;
use minimesh_identity::PeerError;
use tracing::Level;

use crate::http::h1::Lines;
use crate::io::Buffer;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $word:literal $status:literal $title:literal $grpc:literal $level:ident $retry:ident;)*) => {
        /// What went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        /// One row per kind, in the order of the kinds.
        pub const TABLE: &[Row] = &[$(Row {
            kind: Kind::$kind, code: $word, status: $status, title: $title, grpc: $grpc, level: Level::$level, retry: Retry::$retry,
        },)*];

        /// The words alone, for metrics.
        pub const CODES: &[&str] = &[$($word,)*];
    };
}

/// What a kind means everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The kind.
    pub kind: Kind,
    /// Its word.
    pub code: &'static str,
    /// HTTP status of the answer.
    pub status: u16,
    /// Title of the problem (RFC 9457).
    pub title: &'static str,
    /// gRPC status code of the answer.
    pub grpc: u8,
    /// How loudly it is logged.
    pub level: Level,
    /// Whether the request provably did not reach the application.
    pub retry: Retry,
}

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may have been delivered, or would fail again.
    Never,
    /// It was provably not delivered: every method, on another endpoint.
    OtherEndpoint,
}

// kind  word  status  title  gRPC  level  retry
kinds! {
    /// The request cannot be understood, or could be understood in two ways.
    BadRequest "bad_request" 400 "Bad Request" 13 DEBUG Never;
    /// The client went away before it was answered.
    ClientClosed "client_closed" 499 "Client Closed Request" 1 DEBUG Never;
    /// An extended CONNECT (RFC 8441) to a server that takes none.
    ConnectProtocolUnsupported "connect_protocol_unsupported" 501 "Not Implemented" 12 INFO Never;
    /// Nobody listens there, or who does turns connections away at once.
    ConnectRefused "connect_refused" 502 "Bad Gateway" 14 INFO OtherEndpoint;
    /// No answer to a connection attempt, or no way there.
    ConnectTimeout "connect_timeout" 504 "Gateway Timeout" 14 INFO OtherEndpoint;
    /// An address of the cluster, and the control plane has not said what it is.
    DiscoveryUnavailable "discovery_unavailable" 503 "Service Unavailable" 14 WARN Never;
    /// The drain's deadline passed.
    DrainForced "drain_forced" 503 "Service Unavailable" 14 INFO Never;
    /// A request's head that did not come to its end in time (`--head-timeout`).
    HeadTimeout "head_timeout" 408 "Request Timeout" 4 INFO Never;
    /// Head larger than the limit, or too many headers.
    HeadTooLarge "head_too_large" 431 "Request Header Fields Too Large" 8 INFO Never;
    /// A fault of the proxy itself.
    Internal "internal" 500 "Internal Server Error" 13 ERROR Never;
    /// The connection would come back to this proxy.
    Loop "loop" 508 "Loop Detected" 13 WARN Never;
    /// A rule without backends, or all with weight 0.
    NoBackend "no_backend" 500 "Internal Server Error" 14 INFO Never;
    /// This proxy has no certificate yet.
    NoCredentials "no_credentials" 503 "Service Unavailable" 14 WARN Never;
    /// The Service has no endpoints that serve.
    NoEndpoints "no_endpoints" 503 "Service Unavailable" 14 INFO Never;
    /// No rule of the attached routes matches.
    NoRoute "no_route" 404 "Not Found" 12 DEBUG Never;
    /// The far proxy did not pass the request on.
    NotDelivered "not_delivered" 503 "Service Unavailable" 14 INFO OtherEndpoint;
    /// Not HTTP, where a route or policy of HTTP is attached.
    NotHttp "not_http" 400 "Bad Request" 13 INFO Never;
    /// The port's policy does not let this client in.
    PolicyDenied "policy_denied" 403 "Forbidden" 7 INFO Never;
    /// An HTTP/2 connection that broke the protocol, or flooded us with frames that cost its sender little; ended by GOAWAY.
    ProtocolViolation "protocol_violation" 400 "Bad Request" 13 INFO Never;
    /// The route's deadline passed.
    RequestTimeout "request_timeout" 504 "Gateway Timeout" 4 DEBUG Never;
    /// See `PeerError`, as all that follow with this prefix.
    TlsExpired "tls_expired" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsForeignTrustDomain "tls_foreign_trust_domain" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsHandshakeFailed "tls_handshake_failed" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsIdentityMismatch "tls_identity_mismatch" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsMalformedCertificate "tls_malformed_certificate" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsMalformedIdentity "tls_malformed_identity" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsNoCertificate "tls_no_certificate" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsNoProtocol "tls_no_protocol" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsNotYetValid "tls_not_yet_valid" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsRefused "tls_refused" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsRefusedExpired "tls_refused_expired" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsRefusedIdentity "tls_refused_identity" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsRefusedNoCertificate "tls_refused_no_certificate" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsRefusedUnknownIssuer "tls_refused_unknown_issuer" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsStaleBundle "tls_stale_bundle" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    #[allow(missing_docs)]
    TlsUnknownIssuer "tls_unknown_issuer" 502 "Bad Gateway" 14 WARN OtherEndpoint;
    /// A stream of HTTP/2 that was refused (REFUSED_STREAM), because its connection has its share of the many that a worker holds.
    TooManyStreams "too_many_streams" 503 "Service Unavailable" 8 INFO Never;
    /// A backend reference that could not be resolved.
    UnresolvedBackend "unresolved_backend" 500 "Internal Server Error" 14 INFO Never;
    /// The configuration says something that this version does not understand.
    UnsupportedByProxy "unsupported_by_proxy" 500 "Internal Server Error" 12 WARN Never;
    /// The server's connection ended or failed before the response did.
    UpstreamClosed "upstream_closed" 502 "Bad Gateway" 14 INFO Never;
    /// What the server sent is no HTTP/1.x response.
    UpstreamMalformed "upstream_malformed" 502 "Bad Gateway" 13 INFO Never;
    /// The server's connection ended before any byte of a response: asked once more where the method may be repeated.
    UpstreamUnanswered "upstream_unanswered" 502 "Bad Gateway" 14 INFO Never;
}

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// This proxy's, or its configuration's.
    Internal,
    /// A policy's.
    Policy,
    /// The server's, or the way to it.
    Upstream,
}

/// A failure on the data path.
#[derive(Debug)]
pub struct Error {
    /// What.
    pub kind: Kind,
    /// Whose doing.
    pub side: Side,
    /// Whether the request may be sent again.
    pub retry: Retry,
    /// Why.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
    /// Which address.
    pub place: Option<SocketAddr>,
}

impl Kind {
    /// Its row.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The kind that a word names.
    pub fn from_code(code: &[u8]) -> Option<Kind> {
        TABLE.iter().find(|row| row.code.as_bytes() == code).map(|row| row.kind)
    }

    /// The kind of a dial's failure. A connection that is reset as soon as it is there was turned away, however far it came.
    pub fn of_connect(error: &io::Error) -> Kind {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Kind::ConnectRefused,
            _ => Kind::ConnectTimeout,
        }
    }

    /// The kind of a TLS peer's failure.
    pub fn of_peer(error: &PeerError) -> Kind {
        Kind::from_code(error.code().as_bytes()).unwrap_or(Kind::TlsHandshakeFailed)
    }
}

impl Error {
    /// A failure with the table's answer to whether it may be sent again.
    pub fn new(kind: Kind, side: Side) -> Error {
        Error { kind, side, retry: kind.row().retry, source: None, place: None }
    }

    /// With its cause.
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// The same for another who waited for the same thing.
    pub(crate) fn echo(&self) -> Error {
        let source = self.source.as_ref().map(|source| source.to_string().into());
        Error { kind: self.kind, side: self.side, retry: self.retry, source, place: self.place }
    }

    /// With the address that it happened at.
    pub fn at(mut self, place: SocketAddr) -> Error {
        self.place = Some(place);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.row().code)?;
        if let Some(place) = self.place {
            write!(f, " at {place}")?;
        }
        self.source.as_ref().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// How an answer made by the proxy is to look.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)] // its user follows
pub(crate) struct Answer<'a> {
    /// The request's head, where there was one: its `Accept` chooses the body.
    pub(crate) head: &'a [u8],
    /// HEAD gets no body.
    pub(crate) head_only: bool,
    /// The connection is closed afterwards.
    pub(crate) close: bool,
    /// Which proxy speaks.
    pub(crate) hop: Direction,
    /// To a proxy of ours: the request went nowhere, send it elsewhere. The kind goes along as the cause.
    pub(crate) not_delivered: bool,
}

/// Writes the answer to a failed request.
pub(crate) fn render(kind: Kind, answer: Answer<'_>, out: &mut Buffer) {
    let row = kind.row();
    let (media, body) = describe(kind, answer.hop, Lines::new(answer.head).first("accept"));
    let error = match answer.not_delivered {
        true => format!("{}\r\nminimesh-cause: {}", Kind::NotDelivered.row().code, row.code),
        false => row.code.to_owned(),
    };
    let connection = if answer.close { "connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {} {}\r\nminimesh-error: {error}\r\ncontent-type: {media}\r\ncontent-length: {}\r\n{connection}\r\n",
        row.status,
        row.title,
        body.len(),
    );
    out.put(head.as_bytes());
    if !answer.head_only {
        out.put(body.as_bytes());
    }
}

/// The body of an answer and its media type, as the client's `Accept` prefers it.
pub(crate) fn describe(kind: Kind, hop: Direction, accept: Option<&[u8]>) -> (&'static str, String) {
    let row = kind.row();
    let hop = match hop {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    };
    match Taste::of(accept) {
        Taste::Json => (
            "application/problem+json",
            format!(
                r#"{{"type":"urn:minimesh:error:{code}","title":"{}","status":{},"code":"{code}","hop":"{hop}"}}"#,
                row.title,
                row.status,
                code = row.code,
            ),
        ),
        Taste::Html => (
            "text/html",
            format!(
                "<!doctype html><title>{status} {title}</title><h1>{title}</h1><p>minimesh ({hop} proxy): <code>{}</code></p>\n",
                row.code,
                status = row.status,
                title = row.title,
            ),
        ),
        Taste::Text => ("text/plain", format!("{} {} ({}, {hop} proxy)\n", row.status, row.title, row.code)),
    }
}

/// What kind of body the client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taste {
    Html,
    Json,
    Text,
}

impl Taste {
    /// The best of what `Accept` names; JSON where nothing is preferred: clients that parse error bodies expect it.
    fn of(accept: Option<&[u8]>) -> Taste {
        let Some(accept) = accept else { return Taste::Json };
        let (mut best, mut weight) = (Taste::Json, 0.0);
        for range in accept.split(|byte| *byte == b',') {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let taste = match parts.next().unwrap_or_default().to_ascii_lowercase().as_slice() {
                b"text/html" | b"application/xhtml+xml" => Taste::Html,
                b"text/plain" | b"text/*" => Taste::Text,
                b"*/*" | b"application/*" => Taste::Json,
                media if media.ends_with(b"json") => Taste::Json,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix(b"q=")).and_then(|q| std::str::from_utf8(q).ok());
            let quality = quality.and_then(|q| q.parse().ok()).unwrap_or(1.0_f32);
            if quality > weight {
                (best, weight) = (taste, quality);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_turns_a_connection_away_refuses_it_and_who_is_silent_does_not() {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, TimedOut};
        let kinds =
            [ConnectionRefused, ConnectionReset, HostUnreachable, TimedOut].map(|kind| Kind::of_connect(&kind.into()));
        assert_eq!(kinds, [Kind::ConnectRefused, Kind::ConnectRefused, Kind::ConnectTimeout, Kind::ConnectTimeout]);
    }

    #[test]
    fn the_table_is_in_the_order_of_its_kinds() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, index);
            assert_eq!(CODES[index], row.code);
            assert_eq!(Kind::from_code(row.code.as_bytes()), Some(row.kind));
        }
    }

    #[test]
    fn every_failure_of_a_peer_has_a_kind() {
        for code in PeerError::CODES {
            assert!(Kind::from_code(code.as_bytes()).is_some(), "{code}");
        }
    }

    #[test]
    fn the_body_is_what_the_client_reads() {
        let taste = |accept: &str| Taste::of(Some(accept.as_bytes()));
        assert_eq!(taste("text/html,application/xhtml+xml,*/*;q=0.8"), Taste::Html);
        assert_eq!(taste("*/*"), Taste::Json);
        assert_eq!(taste("application/json, text/plain, */*"), Taste::Json);
        assert_eq!(taste("text/plain"), Taste::Text);
        assert_eq!(taste("image/png"), Taste::Json);
    }

    #[test]
    fn an_answer_is_a_whole_response() {
        let mut out = Buffer::default();
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = Answer { head, head_only: false, close: true, hop: Direction::Outbound, not_delivered: false };
        render(Kind::NoEndpoints, answer, &mut out);
        let text = String::from_utf8(out.bytes().to_vec()).expect("ascii");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\nminimesh-error: no_endpoints\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\nconnection: close", body.len())));
        assert_eq!(
            body,
            r#"{"type":"urn:minimesh:error:no_endpoints","title":"Service Unavailable","status":503,"code":"no_endpoints","hop":"outbound"}"#
        );
    }
}
