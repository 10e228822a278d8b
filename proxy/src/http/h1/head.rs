//! Heads, parsed once and judged strictly; what a hop must not pass on is noted as ranges to leave out.
//!
//! Refused: Content-Length with Transfer-Encoding, any coding but chunked, differing lengths, bare LF, obs-fold, space before
//! the colon, control characters, a missing or doubled Host, a target in none of the four forms or with a fragment. A lenient
//! proxy before a lenient server is how requests are smuggled (RFC 9112 section 11.2).

use std::mem::MaybeUninit;

use super::Framing;
use super::edit::Cuts;
use super::hop::{Connection, Hop, MAX_HEADERS, OWN_HEADERS, framing, read_lines};

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// Not HTTP/1.x, or ambiguous; the text says what.
    Malformed(&'static str),
    /// Larger than the limit, or more than 256 headers.
    TooLarge,
}

/// Methods that change what a message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Connect,
    Head,
    Other,
}

/// Which of the mesh's own headers a hop leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strip {
    /// `minimesh-*`, `l5d-client-id`, `x-forwarded-client-cert`: the sender is no proxy of ours.
    Own,
    /// None: the sender is a proxy of ours, known by its certificate.
    Nothing,
}

/// A request's head: offsets into the buffer that it was read into.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    /// With the empty line.
    pub(crate) len: usize,
    pub(crate) method: Method,
    /// Of HTTP/1.x.
    pub(crate) minor: u8,
    pub(crate) framing: Framing,
    /// The client allows another request on this connection.
    pub(crate) keep_alive: bool,
    /// `minimesh-hop: keep`: believed of a proxy of ours only, it means this connection, and everything else the client's.
    pub(crate) hop_keep: bool,
    /// Who reads this head as it is passed on takes it for the last one on its connection.
    pub(crate) ends: bool,
    /// It asks for an upgrade (never to h2c).
    pub(crate) upgrade: bool,
    /// The `Connection` line that says so is not passed on.
    pub(crate) upgrade_unsaid: bool,
    pub(crate) cuts: Cuts,
    method_end: u32,
    target: (u32, u32),
}

/// A response's head: offsets into the buffer that it was read into.
#[derive(Clone, Debug)]
pub(crate) struct ResponseHead {
    /// With the empty line.
    pub(crate) len: usize,
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// The server takes another request on this connection.
    pub(crate) keep_alive: bool,
    /// The application ends its client's connection, or would.
    pub(crate) closes: bool,
    /// Who reads this head as it is passed on takes it for the last one on its connection.
    pub(crate) ends: bool,
    /// The `Connection` line that says upgrade is not passed on.
    pub(crate) upgrade_unsaid: bool,
    pub(crate) cuts: Cuts,
    /// The line that says keep-alive.
    keep_line: Option<(u32, u32)>,
    /// Value of `minimesh-error`, as the peer sent it.
    mesh_error: Option<(u32, u32)>,
}

/// Parses a request's head at the front of `bytes`; `None`: more bytes are needed.
pub(crate) fn parse_request(bytes: &[u8], limit: usize) -> Result<Option<RequestHead>, HeadError> {
    let mut headers = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS + OWN_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let Some(len) = complete(request.parse_with_uninit_headers(bytes, &mut headers), bytes, limit)? else {
        return Ok(None);
    };
    let head = &bytes[..len];
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed("request line"));
    };
    let mut cuts = Cuts::default();
    strict_line_ends(head, request.headers)?;
    let mut connection = read_lines(head, request.headers, &mut cuts, Strip::Own)?;
    if connection.hosts > 1 || (minor == 1 && connection.hosts == 0) {
        return Err(HeadError::Malformed("host header missing or doubled"));
    }
    if connection.chunked && minor == 0 {
        return Err(HeadError::Malformed("transfer-encoding in HTTP/1.0"));
    }
    let method_kind = match method {
        "CONNECT" => Method::Connect,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let framing = match (method_kind, framing(&connection)?) {
        (_, Some(framing)) => framing,
        (_, None) => Framing::None,
    };
    if !is_target(method_kind, target.as_bytes()) {
        return Err(HeadError::Malformed("target"));
    }
    if method_kind == Method::Connect && framing != Framing::None {
        return Err(HeadError::Malformed("body in CONNECT"));
    }
    let may_upgrade = minor == 1 && !connection.h2c && method_kind != Method::Connect;
    let upgrade = may_upgrade && connection.upgrade && connection.upgrade_line.is_some();
    if !upgrade {
        for line in [connection.upgrade_line, connection.upgrade_option].into_iter().flatten() {
            cuts.add_line(head, request.headers, line)?;
            connection.unsay(line);
        }
    }
    let start = offset(head, target.as_bytes());
    Ok(Some(RequestHead {
        len,
        method: method_kind,
        minor,
        framing,
        keep_alive: !Connection::ends(minor, connection.close, connection.keep_alive),
        hop_keep: connection.hop == Hop::Keep,
        ends: Connection::ends(minor, connection.close_line.is_some(), connection.keep_line.is_some()),
        upgrade,
        upgrade_unsaid: upgrade && connection.upgrade_option.is_none(),
        cuts,
        method_end: method.len() as u32,
        target: (start as u32, (start + target.len()) as u32),
    }))
}

/// Parses a response's head at the front of `bytes`; `None`: more bytes are needed.
pub(crate) fn parse_response(
    bytes: &[u8],
    request: &RequestHead,
    strip: Strip,
    limit: usize,
) -> Result<Option<ResponseHead>, HeadError> {
    let mut headers = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS + OWN_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let Some(len) = complete(parsed, bytes, limit)? else { return Ok(None) };
    let head = &bytes[..len];
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(HeadError::Malformed("status line"));
    };
    if !(100..=999).contains(&status) {
        return Err(HeadError::Malformed("status"));
    }
    let mut cuts = Cuts::default();
    strict_line_ends(head, response.headers)?;
    let connection = read_lines(head, response.headers, &mut cuts, strip)?;
    if connection.chunked && minor == 0 {
        return Err(HeadError::Malformed("transfer-encoding in HTTP/1.0"));
    }
    if let (Some(line), true) = (connection.upgrade_line, connection.h2c) {
        cuts.add_line(head, response.headers, line)?;
    }
    if let (Some(line), 0) = (connection.coding_line, request.minor) {
        // HTTP/1.0 does not know chunks: it gets the payload
        cuts.add_line(head, response.headers, line)?;
    }
    let declared = framing(&connection)?;
    let tunnel = request.method == Method::Connect && (200..300).contains(&status);
    let framing = match declared {
        _ if request.method == Method::Head || status < 200 || status == 204 || status == 304 || tunnel => {
            Framing::None
        }
        Some(framing) => framing,
        None => Framing::Close,
    };
    // To a request in HTTP/1.0, whatever version the answer has, only an explicit keep-alive keeps the connection.
    let minor = minor.min(request.minor);
    let delimited = framing == Framing::Close;
    let closes = delimited || Connection::ends(minor, connection.close, connection.keep_alive);
    let range = |line: usize| line_range(head, response.headers, line);
    Ok(Some(ResponseHead {
        len,
        status,
        framing,
        keep_alive: match (strip, connection.hop) {
            (Strip::Nothing, Hop::Keep) => !delimited,
            (Strip::Nothing, Hop::Close) => false,
            _ => !closes && !request.ends,
        },
        closes,
        ends: delimited || Connection::ends(minor, connection.close_line.is_some(), connection.keep_line.is_some()),
        upgrade_unsaid: connection.upgrade_option.is_none(),
        keep_line: connection.keep_line.map(range),
        cuts,
        mesh_error: connection.mesh_error.map(|line| {
            let value = response.headers[line].value;
            let start = offset(head, value);
            (start as u32, (start + value.len()) as u32)
        }),
    }))
}

impl RequestHead {
    pub(crate) fn method_name<'a>(&self, head: &'a [u8]) -> &'a str {
        std::str::from_utf8(&head[..self.method_end as usize]).unwrap_or_default()
    }

    /// Path and query, without scheme and authority.
    pub(crate) fn path_and_query<'a>(&self, head: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let mut target = &head[self.target.0 as usize..self.target.1 as usize];
        if !target.starts_with(b"/")
            && let Some(scheme) = target.windows(3).position(|three| three == b"://")
        {
            let authority = &target[scheme + 3..];
            let path = authority.iter().position(|byte| matches!(byte, b'/' | b'?'));
            target = path.map_or(b"/".as_slice(), |path| &authority[path..]);
        }
        match target.iter().position(|byte| *byte == b'?') {
            // absolute form without a path
            Some(0) => (b"/", Some(&target[1..])),
            Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
            None => (target, None),
        }
    }
}

impl ResponseHead {
    /// Whether another head follows: 1xx but 101.
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// This response does end its connection, whatever it says: it must not say keep-alive.
    pub(crate) fn drop_keep_alive(&mut self) -> Result<(), HeadError> {
        self.keep_line.take().map_or(Ok(()), |(start, end)| self.cuts.add(start, end))
    }

    /// The word in `minimesh-error`.
    pub(crate) fn mesh_error<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        self.mesh_error.map(|(start, end)| &head[start as usize..end as usize])
    }
}

/// The four forms of RFC 9112 section 3.2, without a fragment: of anything else two readers may see different paths, or hosts.
fn is_target(method: Method, target: &[u8]) -> bool {
    match target {
        _ if target.contains(&b'#') => false,
        _ if method == Method::Connect => target.contains(&b':') && is_authority(target),
        [b'/', ..] | b"*" => true,
        _ => {
            let Some(scheme) = target.windows(3).position(|three| three == b"://") else { return false };
            let rest = &target[scheme + 3..];
            let authority = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
            target[0].is_ascii_alphabetic() && target[..scheme].iter().all(letter) && is_authority(&rest[..authority])
        }
    }
}

/// A host and a port; user information has no place in HTTP (RFC 9110 section 4.2.4).
fn is_authority(authority: &[u8]) -> bool {
    !authority.is_empty() && authority.iter().all(|byte| byte.is_ascii_graphic() && !b"/?@\\,\"<>^`{|}".contains(byte))
}

fn complete(parsed: httparse::Result<usize>, bytes: &[u8], limit: usize) -> Result<Option<usize>, HeadError> {
    match parsed {
        Ok(httparse::Status::Complete(len)) if len <= limit => Ok(Some(len)),
        Ok(httparse::Status::Partial) if bytes.len() < limit => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooLarge),
        Err(httparse::Error::Version) => Err(HeadError::Malformed("version")),
        Err(httparse::Error::NewLine) => Err(HeadError::Malformed("line end")),
        Err(httparse::Error::Status) => Err(HeadError::Malformed("status line")),
        Err(httparse::Error::Token) => Err(HeadError::Malformed("first line")),
        Err(httparse::Error::HeaderName) => Err(HeadError::Malformed("header name")),
        Err(httparse::Error::HeaderValue) => Err(HeadError::Malformed("header value")),
    }
}

/// httparse takes a bare LF for a line end; two parsers that disagree about that disagree about headers.
fn strict_line_ends(head: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), HeadError> {
    let first = headers.first().map_or(head.len().saturating_sub(2), |header| offset(head, header.name.as_bytes()));
    let starts = headers.iter().skip(1).map(|header| offset(head, header.name.as_bytes()));
    let last = (!headers.is_empty()).then(|| head.len() - 2);
    let ends = std::iter::once(first).chain(starts).chain(last);
    let crlf = |end: usize| end >= 2 && head[end - 2..end] == *b"\r\n";
    // the first byte is the first line's: httparse skips empty lines before it, the caller has done that
    if head.ends_with(b"\r\n") && head[0].is_ascii_graphic() && ends.into_iter().all(crlf) {
        return Ok(());
    }
    Err(HeadError::Malformed("line end"))
}

/// A whole line, with its CRLF.
pub(super) fn line_range(head: &[u8], headers: &[httparse::Header<'_>], index: usize) -> (u32, u32) {
    let start = offset(head, headers[index].name.as_bytes());
    let end = headers.get(index + 1).map_or(head.len() - 2, |next| offset(head, next.name.as_bytes()));
    (start as u32, end as u32)
}

/// Where a slice of `head` begins in it.
pub(super) fn offset(head: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - head.as_ptr() as usize
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
