//! Requests and answers as the shop's services see them, and what goes wrong between them.
//!
//! Owns no connection: `serve.rs` makes a [`Request`] and writes an [`Answer`], `client.rs` the other way round.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A request, read whole.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query as they came.
    pub(crate) target: String,
    /// The path's segments, percent-decoded; `/` has none.
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trail: Trail,
}

impl Request {
    /// Method and path, to be matched.
    pub(crate) fn route(&self) -> (&str, Vec<&str>) {
        (self.method.as_str(), self.segments.iter().map(String::as_str).collect())
    }

    /// First value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, parsed.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| Failure::bad_request(format!("the body: {error}")))
    }
}

/// What travels with a request through the shop: tracing headers onwards, names of the pods that served it back.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) passed: HeaderMap,
    served_by: RefCell<Vec<String>>,
}

impl Trail {
    /// Takes the headers that every service passes on (B3 and W3C trace context) from a request.
    pub(crate) fn of(headers: &HeaderMap) -> Trail {
        let mut passed = HeaderMap::new();
        for (name, value) in headers {
            let text = name.as_str();
            if text.starts_with("x-b3-") || PASSED.contains(&text) {
                passed.append(name.clone(), value.clone());
            }
        }
        Trail { passed, served_by: RefCell::default() }
    }

    /// Notes who served, in order and once; `list` is one name or several with commas.
    pub(crate) fn note(&self, list: &str) {
        let mut names = self.served_by.borrow_mut();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if names.len() < MOST_NAMES && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }

    /// Everybody noted so far.
    pub(crate) fn names(&self) -> Vec<String> {
        self.served_by.borrow().clone()
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, HeaderValue)>,
    pub(crate) payload: Payload,
}

impl Answer {
    pub(crate) fn json(value: &Value) -> Answer {
        Answer::new("application/json; charset=utf-8", value.to_string())
    }

    pub(crate) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
        Answer { status: StatusCode::OK, content_type, headers: Vec::new(), payload: Payload::exact(body.into()) }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Answer {
        self.status = status;
        self
    }

    /// Adds a header; the value is the shop's own, so it is always one.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl AsRef<str>) -> Answer {
        self.headers.extend(HeaderValue::from_str(value.as_ref()).ok().map(|value| (name, value)));
        self
    }

    /// Writes the body chunked, without announcing its length.
    pub(crate) fn chunked(mut self) -> Answer {
        self.payload.exact = false;
        self
    }
}

/// A body in pieces, with or without a length announced.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) pieces: VecDeque<Bytes>,
    pub(crate) exact: bool,
}

impl Payload {
    pub(crate) fn exact(body: Bytes) -> Payload {
        Payload { pieces: if body.is_empty() { VecDeque::new() } else { [body].into() }, exact: true }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.exact
    }

    fn size_hint(&self) -> SizeHint {
        match self.exact {
            true => SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum()),
            false => SizeHint::default(),
        }
    }
}

/// Why a request was not served, as RFC 9457 says it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    /// For programs; where a proxy or a peer gave a code, that one.
    pub(crate) code: String,
    /// For people.
    pub(crate) detail: String,
    /// Who said so, when it was not this service.
    pub(crate) from: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Failure {
        Failure { status, code: code.to_owned(), detail: detail.into(), from: None }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(crate) fn not_found(what: &str) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    pub(crate) fn unauthorized(detail: &str) -> Failure {
        Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// A peer could not be asked, or its answer could not be read.
    pub(crate) fn unreachable(peer: &str, reason: impl std::fmt::Display) -> Failure {
        let detail = format!("{peer} did not answer: {reason}");
        Failure { from: Some(peer.to_owned()), ..Failure::new(StatusCode::BAD_GATEWAY, "upstream_failed", detail) }
    }

    pub(crate) fn answer(&self) -> Answer {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "from": self.from,
        });
        Answer::new("application/problem+json", body.to_string()).with_status(self.status)
    }
}

/// A query string or form, decoded.
pub(crate) fn decode_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

/// Percent-decoding; what is no escape stays as it is, what is no UTF-8 becomes U+FFFD.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let value = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Base64 (RFC 4648), for Basic authentication; `None` for what is none.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = BASE64.iter().position(|letter| *letter == byte)? as u32;
        bits = bits << 6 | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// The other way round.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = BASE64[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { letter as char } else { '=' });
        }
    }
    out
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Besides `x-b3-*`.
const PASSED: [&str; 4] = ["b3", "traceparent", "tracestate", "x-request-id"];
/// An order passes about ten; a header must not grow without end.
const MOST_NAMES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes_and_leaves_the_rest() {
        assert_eq!(decode("a%20b%2Fc%"), "a b/c%");
        assert_eq!(decode("%zz%C3%A9"), "%zzé");
        assert_eq!(
            decode_query("tags=blue%2Cred&size=5&x"),
            [("tags".into(), "blue,red".into()), ("size".into(), "5".into()), ("x".into(), "".into())]
        );
    }

    #[test]
    fn base64_goes_both_ways() {
        for text in ["", "u", "us", "use", "user:password", "é:€"] {
            assert_eq!(decode_base64(&encode_base64(text.as_bytes())).unwrap(), text.as_bytes());
        }
        assert_eq!(encode_base64(b"user:password"), "dXNlcjpwYXNzd29yZA==");
        assert_eq!(decode_base64("a b"), None);
    }

    #[test]
    fn a_trail_names_each_pod_once_and_in_order() {
        let trail = Trail::default();
        trail.note("orders-1, user-1");
        trail.note("user-1,carts-2");
        assert_eq!(trail.names(), ["orders-1", "user-1", "carts-2"]);
    }
}
