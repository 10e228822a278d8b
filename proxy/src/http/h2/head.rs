//! Heads of HTTP/2: judged, matched, edited. Pseudo headers stay as they were received.
//!
//! h2 has refused already what RFC 9113 section 8 calls malformed: connection-specific fields, upper case, pseudo headers out of
//! place, differing lengths.

use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use minimesh_route::{HeaderEdits, Headers, RequestView, Rewrite};

use crate::error::{Error, Kind, Side};
use crate::http::own::is_own;
use crate::http::{KEY, is_idempotent};

/// As for HTTP/1.
const MAX_HEADERS: usize = 256;

/// What HTTP/1 spends on a line besides name and value, so that the limit means the same for both.
const LINE: usize = 4;

/// gRPC's status codes go from 0 to 16.
const GRPC_STATUSES: u8 = 17;

/// A request as routes, policies and records see it.
pub(crate) fn view<'a>(head: &'a Parts, fields: &'a Fields<'a>) -> RequestView<'a> {
    RequestView {
        method: head.method.as_str(),
        path: head.uri.path().as_bytes(),
        query: head.uri.query().map(str::as_bytes),
        headers: fields,
    }
}

/// A request's fields, for matching.
pub(crate) struct Fields<'a>(pub(crate) &'a Parts);

impl Headers for Fields<'_> {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        let Fields(parts) = self;
        let mut values = parts.headers.get_all(name).iter().peekable();
        if let (None, "host", Some(authority)) = (values.peek(), name, parts.uri.authority()) {
            return each(authority.as_str().as_bytes());
        }
        values.for_each(|value| each(value.as_bytes().trim_ascii()));
    }
}

/// A request as it is sent on, as often as there are attempts.
pub(crate) struct Outgoing {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    protocol: Option<h2::ext::Protocol>,
}

impl Outgoing {
    /// Without what only the mesh says, with a route's edits and the name of the verified client.
    pub(crate) fn new(parts: Parts, edits: &HeaderEdits, client_id: Option<&HeaderValue>) -> Outgoing {
        let mut outgoing = Outgoing {
            // h2 wants a scheme and an authority, or a request that was HTTP/1 before
            version: if parts.uri.authority().is_some() { Version::HTTP_2 } else { Version::HTTP_11 },
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            protocol: parts.extensions.get::<h2::ext::Protocol>().cloned(),
        };
        strip_own(&mut outgoing.headers);
        edit(&mut outgoing.headers, edits);
        if let Some(client_id) = client_id {
            outgoing.headers.append(CLIENT_ID, client_id.clone());
        }
        outgoing
    }

    /// Whether it opens a tunnel of another protocol (RFC 8441).
    pub(crate) fn is_extended_connect(&self) -> bool {
        self.protocol.is_some()
    }

    /// Whether it may happen twice; a tunnel may not.
    pub(crate) fn may_happen_twice(&self) -> bool {
        self.protocol.is_none() && is_idempotent(self.method.as_str(), self.headers.contains_key(KEY))
    }

    pub(super) fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        if let Some(protocol) = &self.protocol {
            request.extensions_mut().insert(protocol.clone());
        }
        request
    }

    /// The URL as a route rewrites it. `prefix`: as [`minimesh_route::PathEdit::apply`] wants.
    pub(crate) fn rewrite(&mut self, rewrite: &Rewrite, prefix: usize) -> Result<(), Error> {
        let failed = || Error::new(Kind::Internal, Side::Internal).because("a rewritten request is malformed");
        let mut parts = self.uri.clone().into_parts();
        if let Some(authority) = &rewrite.authority {
            // a client that sends Host alone gets Host alone rewritten
            if parts.authority.is_some() {
                parts.authority = Some(Authority::try_from(&**authority).map_err(|_| failed())?);
            }
            if self.headers.contains_key(HOST) || parts.authority.is_none() {
                self.headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| failed())?);
            }
        }
        if rewrite.path.is_some() && self.method != Method::CONNECT {
            let mut path = rewrite.path(self.uri.path().as_bytes(), prefix).concat();
            if let Some(query) = self.uri.query() {
                path.push(b'?');
                path.extend_from_slice(query.as_bytes());
            }
            parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| failed())?);
        }
        self.uri = Uri::from_parts(parts).map_err(|_| failed())?;
        Ok(())
    }
}

/// Whether a head is one that we take.
pub(crate) fn check(parts: &Parts, limit: usize) -> Result<(), Kind> {
    let uri = &parts.uri;
    let first = parts.method.as_str().len()
        + uri.path().len()
        + uri.query().map_or(0, str::len)
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    fits(first, &parts.headers, limit).then_some(()).ok_or(Kind::HeadTooLarge)
}

pub(super) fn fits(first: usize, headers: &HeaderMap, limit: usize) -> bool {
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE).sum();
    headers.len() <= MAX_HEADERS && first + lines <= limit
}

/// Whether a message is gRPC's.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// `grpc-status`; a number that is none of gRPC's is UNKNOWN (2).
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    let value = headers.get("grpc-status")?;
    let status = value.to_str().ok().and_then(|text| text.trim().parse::<u8>().ok());
    Some(status.filter(|status| *status < GRPC_STATUSES).unwrap_or(2))
}

/// Removes what only the mesh may say.
pub(super) fn strip_own(headers: &mut HeaderMap) {
    let is_own = |name: &&HeaderName| is_own(name.as_str().as_bytes());
    if !headers.keys().any(|name| is_own(&name)) {
        return;
    }
    let own: Vec<HeaderName> = headers.keys().filter(is_own).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

/// Applies a route's edits.
pub(super) fn edit(headers: &mut HeaderMap, edits: &HeaderEdits) {
    if edits.is_empty() {
        return;
    }
    for name in edits.set.iter().map(|line| &*line.name).chain(edits.remove.iter().map(|name| &**name)) {
        headers.remove(name);
    }
    for line in edits.set.iter().chain(&edits.add) {
        // both were judged when the route was compiled
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(line.name.as_bytes()), HeaderValue::from_bytes(value_of(&line.line)))
        {
            headers.append(name, value);
        }
    }
}

/// The value in `Name: value\r\n`.
fn value_of(line: &[u8]) -> &[u8] {
    let colon = line.iter().position(|byte| *byte == b':').map_or(0, |at| at + 1);
    line[colon..].trim_ascii()
}

const CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");

#[cfg(test)]
mod tests {
    use minimesh_route::{HeaderLine, PathEdit};

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("valid").into_parts().0
    }

    fn line(name: &str, line: &str) -> HeaderLine {
        HeaderLine { name: name.into(), line: line.as_bytes().into() }
    }

    #[test]
    fn what_only_the_mesh_says_goes_and_duplicates_keep_their_order() {
        let parts = parts("http://a/b", &[("minimesh-error", "x"), ("b", "1"), ("l5d-client-id", "me"), ("b", "2")]);
        let id = HeaderValue::from_static("spiffe://x");
        let outgoing = Outgoing::new(parts, &HeaderEdits::default(), Some(&id)).request();
        let all: Vec<_> = outgoing.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(all, [("b", &b"1"[..]), ("b", b"2"), ("l5d-client-id", b"spiffe://x")]);
    }

    #[test]
    fn edits_and_rewrites_reach_the_pseudo_headers() {
        let edits = HeaderEdits { set: vec![line("x", "X: 1\r\n")], ..HeaderEdits::NONE };
        let rewrite = Rewrite { authority: Some("y:1".into()), path: Some(PathEdit::Prefix("/new".into())) };
        let mut outgoing = Outgoing::new(parts("http://a/old/b?c", &[("x", "0")]), &edits, None);
        outgoing.rewrite(&rewrite, "/old".len()).expect("valid");
        assert_eq!(outgoing.request().uri(), "http://y:1/new/b?c");
        assert_eq!(outgoing.request().headers().get_all("x").iter().collect::<Vec<_>>(), ["1"]);

        // a client that came from HTTP/1 has Host alone
        let mut outgoing = Outgoing::new(parts("/old", &[("host", "a")]), &HeaderEdits::NONE, None);
        outgoing.rewrite(&rewrite, "/old".len()).expect("valid");
        assert_eq!(
            (outgoing.request().uri().path(), &outgoing.request().headers()["host"]),
            ("/new", &HeaderValue::from_static("y:1"))
        );
    }

    #[test]
    fn the_limit_counts_as_for_http_1() {
        let value = "x".repeat(90);
        let parts = parts("http://a/", &[("b", &value)]);
        // "GET", "/", "a" and one line of 1 + 90 + 4
        assert_eq!(check(&parts, 100), Ok(()));
        assert_eq!(check(&parts, 99), Err(Kind::HeadTooLarge));
    }

    #[test]
    fn a_status_that_is_none_is_unknown() {
        let status = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_str(text).expect("valid"));
            grpc_status(&headers)
        };
        assert_eq!([status("0"), status("16"), status("17"), status("x")], [Some(0), Some(16), Some(2), Some(2)]);
        assert_eq!(grpc_status(&HeaderMap::new()), None);
    }
}
