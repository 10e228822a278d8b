//! Heads, parsed once and judged strictly; what a hop must not pass on is noted as ranges to leave out.
//!
//! Refused: Content-Length with Transfer-Encoding, any coding but chunked, differing lengths, bare LF, obs-fold, space before
//! the colon, control characters, a missing or doubled Host. A lenient proxy before a lenient server is how requests are
//! smuggled (RFC 9112 section 11.2).

use std::mem::MaybeUninit;

use super::Framing;
use super::edit::Cuts;

/// Header lines in one head. hyper's 100 has been an outage elsewhere.
const MAX_HEADERS: usize = 256;

/// Options in `Connection` lines of one head: each is compared with every header.
const MAX_OPTIONS: usize = 32;

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
    /// It asks for an upgrade (never to h2c).
    pub(crate) upgrade: bool,
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
    pub(crate) cuts: Cuts,
    /// Value of `minimesh-error`, as the peer sent it.
    mesh_error: Option<(u32, u32)>,
}

/// What the header lines say about this hop.
#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    chunked: bool,
    coding_line: Option<usize>,
    length: Option<u64>,
    hosts: usize,
    upgrade_line: Option<usize>,
    h2c: bool,
    mesh_error: Option<usize>,
}

/// Parses a request's head at the front of `bytes`; `None`: more bytes are needed.
pub(crate) fn parse_request(bytes: &[u8], limit: usize) -> Result<Option<RequestHead>, HeadError> {
    let mut headers = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let Some(len) = complete(request.parse_with_uninit_headers(bytes, &mut headers), bytes, limit)? else {
        return Ok(None);
    };
    let head = &bytes[..len];
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed("request line"));
    };
    let mut cuts = Cuts::default();
    let connection = read_lines(head, request.headers, &mut cuts, Strip::Own)?;
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
    if method_kind == Method::Connect && framing != Framing::None {
        return Err(HeadError::Malformed("body in CONNECT"));
    }
    let upgrade = minor == 1 && connection.upgrade && !connection.h2c && method_kind != Method::Connect;
    if let (Some(line), false) = (connection.upgrade_line, upgrade) {
        cuts.add_line(head, request.headers, line)?;
    }
    let start = offset(head, target.as_bytes());
    Ok(Some(RequestHead {
        len,
        method: method_kind,
        minor,
        framing,
        keep_alive: if minor == 1 { !connection.close } else { connection.keep_alive && !connection.close },
        upgrade: upgrade && connection.upgrade_line.is_some(),
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
    let mut headers = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
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
    let connection = read_lines(head, response.headers, &mut cuts, strip)?;
    if connection.chunked && minor == 0 {
        return Err(HeadError::Malformed("transfer-encoding in HTTP/1.0"));
    }
    if let (Some(line), true) = (connection.upgrade_line, status != 101) {
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
    let keep_alive = if minor == 1 && request.minor == 1 { !connection.close } else { connection.keep_alive };
    Ok(Some(ResponseHead {
        len,
        status,
        framing,
        keep_alive: keep_alive && !connection.close && framing != Framing::Close,
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

    /// Path and query, without scheme, authority and fragment.
    pub(crate) fn path_and_query<'a>(&self, head: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let mut target = &head[self.target.0 as usize..self.target.1 as usize];
        if !target.starts_with(b"/")
            && let Some(scheme) = target.windows(3).position(|three| three == b"://")
        {
            let authority = &target[scheme + 3..];
            let path = authority.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            target = path.map_or(b"/".as_slice(), |path| &authority[path..]);
        }
        let target = target.split(|byte| *byte == b'#').next().unwrap_or_default();
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

    /// The word in `minimesh-error`.
    pub(crate) fn mesh_error<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        self.mesh_error.map(|(start, end)| &head[start as usize..end as usize])
    }
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

/// One pass over the lines: what they say about this hop, and what is not passed on.
fn read_lines(
    head: &[u8],
    headers: &[httparse::Header<'_>],
    cuts: &mut Cuts,
    strip: Strip,
) -> Result<Connection, HeadError> {
    strict_line_ends(head, headers)?;
    let mut connection = Connection::default();
    let mut options = 0;
    for (index, header) in headers.iter().enumerate() {
        let name = header.name.as_bytes();
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let cut = match name.len() {
            2 => is("te") && !header.value.trim_ascii().eq_ignore_ascii_case(b"trailers"),
            4 if is("host") => {
                connection.hosts += 1;
                check_host(header.value)?;
                false
            }
            7 if is("upgrade") => {
                let h2c = |token: &[u8]| token.trim_ascii().to_ascii_lowercase().starts_with(b"h2c");
                connection.h2c |= header.value.split(|byte| *byte == b',').any(h2c);
                // a second line is cut: one is all that is kept
                connection.upgrade_line.replace(index).is_some()
            }
            10 if is("connection") => {
                read_options(head, headers, index, &mut connection, &mut options, cuts)?;
                true
            }
            10 => is("keep-alive"),
            14 if is("content-length") => {
                let length = parse_length(header.value)?;
                match connection.length.replace(length) {
                    Some(before) if before != length => return Err(HeadError::Malformed("differing content-lengths")),
                    before => before.is_some(),
                }
            }
            14 => strip == Strip::Own && is("minimesh-error"),
            16 => is("proxy-connection"),
            17 if is("transfer-encoding") => {
                if connection.chunked || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::Malformed("transfer-encoding other than chunked"));
                }
                connection.chunked = true;
                connection.coding_line = Some(index);
                false
            }
            _ => is("http2-settings"),
        };
        if is("minimesh-error") {
            connection.mesh_error = Some(index);
        }
        if cut || (strip == Strip::Own && is_own(name)) {
            cuts.add_line(head, headers, index)?;
        }
    }
    Ok(connection)
}

/// `Connection: close, x-nominated`: notes the options and cuts what they nominate.
fn read_options(
    head: &[u8],
    headers: &[httparse::Header<'_>],
    index: usize,
    connection: &mut Connection,
    options: &mut usize,
    cuts: &mut Cuts,
) -> Result<(), HeadError> {
    for option in headers[index].value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        *options += 1;
        if *options > MAX_OPTIONS {
            return Err(HeadError::Malformed("too many connection options"));
        }
        if option.eq_ignore_ascii_case(b"close") {
            connection.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            connection.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            connection.upgrade = true;
        } else if !option.is_empty() && !is_end_to_end(option) {
            for (nominated, header) in headers.iter().enumerate() {
                if header.name.as_bytes().eq_ignore_ascii_case(option) {
                    cuts.add_line(head, headers, nominated)?;
                }
            }
        }
    }
    Ok(())
}

/// What must not be taken out of a message by nominating it in `Connection`: framing, routing, and `TE: trailers`.
fn is_end_to_end(option: &[u8]) -> bool {
    ["content-length", "host", "te", "transfer-encoding", "authorization", "cookie", "content-type"]
        .iter()
        .any(|name| option.eq_ignore_ascii_case(name.as_bytes()))
}

fn is_own(name: &[u8]) -> bool {
    let mesh = name.len() > 9 && name[..9].eq_ignore_ascii_case(b"minimesh-");
    mesh || name.eq_ignore_ascii_case(b"l5d-client-id") || name.eq_ignore_ascii_case(b"x-forwarded-client-cert")
}

fn framing(connection: &Connection) -> Result<Option<Framing>, HeadError> {
    match (connection.chunked, connection.length) {
        (true, Some(_)) => Err(HeadError::Malformed("content-length with transfer-encoding")),
        (true, None) => Ok(Some(Framing::Chunked)),
        (false, Some(0)) => Ok(Some(Framing::None)),
        (false, Some(length)) => Ok(Some(Framing::Length(length))),
        (false, None) => Ok(None),
    }
}

fn parse_length(value: &[u8]) -> Result<u64, HeadError> {
    let value = value.trim_ascii();
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten();
    number.ok_or(HeadError::Malformed("content-length"))
}

fn check_host(value: &[u8]) -> Result<(), HeadError> {
    match value.trim_ascii().iter().any(|byte| b" \t,/?#@\\".contains(byte)) {
        true => Err(HeadError::Malformed("host")),
        false => Ok(()),
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

/// Where a slice of `head` begins in it.
pub(super) fn offset(head: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - head.as_ptr() as usize
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
