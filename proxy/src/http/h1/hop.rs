//! What the header lines of a head say about this hop, and which of them are not passed on. One pass, strict.
//!
//! A pair of proxies is to look like no proxy at all: `Connection` lines that say no more than close, keep-alive and upgrade
//! pass as they are, and what client and application say to each other there holds between them. What two proxies of ours
//! have to say to each other about the connection between them stands in `minimesh-hop`, which never leaves them.

use super::edit::Cuts;
use super::head::Strip;
use super::{Framing, HeadError};
use crate::http::own::is_own;

/// Header lines in one head. hyper's 100 has been an outage elsewhere.
pub(super) const MAX_HEADERS: usize = 256;

/// Room for the lines that a proxy of ours adds to them.
pub(super) const OWN_HEADERS: usize = 8;

/// Options in `Connection` lines of one head: each is compared with every header.
const MAX_OPTIONS: usize = 32;

/// Nobody has more, and in a signed number it is still what it was.
const MAX_LENGTH: u64 = i64::MAX as u64;

/// What the header lines say about this hop.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// The lines that say so and are passed on.
    pub(super) close_line: Option<usize>,
    pub(super) keep_line: Option<usize>,
    pub(super) upgrade_option: Option<usize>,
    pub(super) hop: Hop,
    pub(super) chunked: bool,
    pub(super) coding_line: Option<usize>,
    pub(super) length: Option<u64>,
    pub(super) hosts: usize,
    pub(super) upgrade_line: Option<usize>,
    pub(super) h2c: bool,
    pub(super) mesh_error: Option<usize>,
}

/// `minimesh-hop`: what one proxy of ours says to another of the connection between them, whatever client and application
/// say to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hop {
    Close,
    Keep,
    #[default]
    Unsaid,
}

impl Connection {
    /// A `Connection` line is not passed on after all.
    pub(super) fn unsay(&mut self, line: usize) {
        for kept in [&mut self.close_line, &mut self.keep_line, &mut self.upgrade_option] {
            kept.take_if(|kept| *kept == line);
        }
    }

    /// By its version and options alone, does a message end its connection?
    pub(super) fn ends(minor: u8, close: bool, keep_alive: bool) -> bool {
        close || (minor == 0 && !keep_alive)
    }
}

/// One pass over the lines: what they say about this hop, and what is not passed on.
pub(super) fn read_lines(
    head: &[u8],
    headers: &[httparse::Header<'_>],
    cuts: &mut Cuts,
    strip: Strip,
) -> Result<Connection, HeadError> {
    let mut connection = Connection::default();
    let (mut options, mut own) = (0, 0);
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
                let plain = read_options(header.value, &mut options, index, &mut connection)?;
                if !plain {
                    cut_nominated(head, headers, header.value, cuts)?;
                }
                !plain
            }
            12 if is("minimesh-hop") => {
                connection.hop = match header.value {
                    b"close" => Hop::Close,
                    b"keep" => Hop::Keep,
                    _ => Hop::Unsaid,
                };
                true
            }
            14 if is("content-length") => {
                let length = parse_length(header.value)?;
                match connection.length.replace(length) {
                    Some(before) if before != length => return Err(HeadError::Malformed("differing content-lengths")),
                    before => before.is_some(),
                }
            }
            14 if is("minimesh-error") => {
                connection.mesh_error = Some(index);
                false
            }
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
        let ours = is_own(name);
        own += usize::from(ours);
        if cut || (strip == Strip::Own && ours) {
            cuts.add_line(head, headers, index)?;
        }
    }
    if headers.len() > MAX_HEADERS + own { Err(HeadError::TooLarge) } else { Ok(connection) }
}

/// The options of one `Connection` line. Answers whether the line can be passed on as it is: it says no more than close,
/// keep-alive and upgrade, which mean the same to whoever reads it next, and no line before it has said the same.
fn read_options(
    value: &[u8],
    options: &mut usize,
    index: usize,
    connection: &mut Connection,
) -> Result<bool, HeadError> {
    let mut plain = true;
    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        *options += 1;
        if *options > MAX_OPTIONS {
            return Err(HeadError::Malformed("too many connection options"));
        }
        let (said, line) = if option.eq_ignore_ascii_case(b"close") {
            (&mut connection.close, &mut connection.close_line)
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            (&mut connection.keep_alive, &mut connection.keep_line)
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            (&mut connection.upgrade, &mut connection.upgrade_option)
        } else {
            plain = false;
            continue;
        };
        plain &= !std::mem::replace(said, true);
        line.get_or_insert(index);
    }
    if !plain {
        connection.unsay(index);
    }
    Ok(plain)
}

/// `Connection: x-nominated`: what the options nominate is not passed on.
fn cut_nominated(
    head: &[u8],
    headers: &[httparse::Header<'_>],
    value: &[u8],
    cuts: &mut Cuts,
) -> Result<(), HeadError> {
    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let own = ["close", "keep-alive", "upgrade"].iter().any(|own| option.eq_ignore_ascii_case(own.as_bytes()));
        if own || option.is_empty() || is_end_to_end(option) {
            continue;
        }
        for (nominated, header) in headers.iter().enumerate() {
            if header.name.as_bytes().eq_ignore_ascii_case(option) {
                cuts.add_line(head, headers, nominated)?;
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

pub(super) fn framing(connection: &Connection) -> Result<Option<Framing>, HeadError> {
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
    number.filter(|length| *length <= MAX_LENGTH).ok_or(HeadError::Malformed("content-length"))
}

fn check_host(value: &[u8]) -> Result<(), HeadError> {
    match value.trim_ascii().iter().all(|byte| byte.is_ascii_graphic() && !b",/?#@\\\"<>^`{|}".contains(byte)) {
        true => Ok(()),
        false => Err(HeadError::Malformed("host")),
    }
}
