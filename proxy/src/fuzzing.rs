//! What must hold for any bytes that a peer sends: one function for each parser, which panics where it does not.
//!
//! Called by the fuzz targets, and on their corpus by an ordinary test. Each compares the parser with itself (more bytes,
//! other cuts, its own output read again) and, where there is one, with a slow reading of the same rules or with another
//! library's. Compiled with the feature `fuzzing` alone.

use minimesh_identity::Alpn;
use minimesh_route::HeaderEdits;
use rustls::server::Acceptor;

use crate::detect::{Hello, Sniffed, client_hello as judge, server_name, sniff};
use crate::http::h1::{Body, Framing, Lines, RequestHead, Strip, parse_request, parse_response, write_head};
use crate::io::Buffer;

/// As in production.
const HEAD_LIMIT: usize = 64 * 1024;
/// Detection takes nothing with a longer method for HTTP.
const LONGEST_METHOD: usize = 40;

/// Chunked bodies: however the bytes are cut (by the first of them), the same is read; and what is read is what a slow reader
/// of RFC 9112 section 7.1 reads.
pub fn chunked(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let whole = read_chunks(bytes, bytes.len().max(1));
    let pieces = read_chunks(bytes, usize::from(*cut).max(1));
    assert_eq!(whole, pieces, "cut every {cut} bytes");
    if let Read::Done(length, payload) = &whole {
        assert_eq!(slowly(&bytes[..*length]).as_ref(), Some(payload));
        let (_, more) = bytes.split_at(*length);
        let without = &bytes[..bytes.len() - more.len()];
        assert_eq!(read_chunks(without, without.len()), whole, "what follows a body is no part of it");
    }
}

/// What a scanner made of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Broken,
    Done(usize, Vec<u8>),
    Unfinished(Vec<u8>),
}

fn read_chunks(bytes: &[u8], cut: usize) -> Read {
    let mut body = Body::new(Framing::Chunked);
    let mut payload = Vec::new();
    let mut taken = 0;
    for piece in bytes.chunks(cut) {
        match body.take_payload(piece, &mut |part| payload.extend_from_slice(part)) {
            Ok(count) => taken += count,
            Err(_) => return Read::Broken,
        }
        if body.is_done() {
            return Read::Done(taken, payload);
        }
        assert_eq!(taken % cut, piece.len() % cut, "all bytes of an unfinished body belong to it");
    }
    Read::Unfinished(payload)
}

/// The payload of a whole chunked body, by its lines.
fn slowly(mut bytes: &[u8]) -> Option<Vec<u8>> {
    fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let (line, rest) = bytes.split_at(end);
        *bytes = &rest[2..];
        (!line.contains(&b'\n') && !line.contains(&b'\r')).then_some(line)
    }
    let mut payload = Vec::new();
    loop {
        let size = line(&mut bytes)?;
        let digits = size.split(|byte| b"; \t".contains(byte)).next()?;
        let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let (chunk, rest) = bytes.split_at_checked(usize::try_from(size).ok()?)?;
        payload.extend_from_slice(chunk);
        bytes = rest.strip_prefix(b"\r\n")?;
    }
    while !line(&mut bytes)?.is_empty() {}
    bytes.is_empty().then_some(payload)
}

/// ClientHellos: a verdict never changes with more bytes, and what rustls takes for one is read as rustls reads it.
pub fn client_hello(bytes: &[u8]) {
    let verdict = judge(bytes);
    let mut sooner = Hello::More;
    // all beginnings of small ones, some of large ones
    for end in (0..=bytes.len()).step_by(1 + bytes.len() / 64) {
        let next = judge(&bytes[..end]);
        assert!(sooner == Hello::More || sooner == next, "{sooner:?} became {next:?} at {end}");
        sooner = next;
    }
    assert!(sooner == Hello::More || sooner == verdict, "{sooner:?} became {verdict:?}");
    let name = server_name(bytes);
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    let Ok(1..) = acceptor.read_tls(&mut rest) else { return };
    let Ok(Some(accepted)) = acceptor.accept() else { return };
    let hello = accepted.client_hello();
    if !matches!(sniff(bytes), Sniffed::Tls) {
        return;
    }
    let ours = hello.alpn().is_some_and(|mut protocols| Alpn::offered_by_mesh(&mut protocols));
    assert_eq!(verdict == Hello::Mesh, ours, "{verdict:?}");
    if let Some(known) = hello.server_name() {
        assert_eq!(name.as_deref(), Some(known.to_ascii_lowercase().as_str()));
    }
}

/// Detection: a verdict never changes with more bytes, and is HTTP for every head that the codec takes.
pub fn detect(bytes: &[u8]) {
    let mut verdict = Sniffed::More;
    for end in 0..=bytes.len().min(512) {
        let next = sniff(&bytes[..end]);
        assert!(verdict == Sniffed::More || verdict == next, "{verdict:?} became {next:?} at {end}");
        verdict = next;
    }
    if let Ok(Some(head)) = parse_request(bytes, HEAD_LIMIT)
        && head.method_name(bytes).len() <= LONGEST_METHOD
    {
        assert_eq!(sniff(bytes), Sniffed::Http1);
    }
}

/// Heads: what is taken is whole and clean, and what is passed on is read by the next hop as it was read here.
pub fn head(bytes: &[u8]) {
    if let Ok(Some(head)) = parse_request(bytes, HEAD_LIMIT) {
        let whole = &bytes[..head.len];
        clean(whole);
        let shorter = parse_request(&whole[..whole.len() - 1], HEAD_LIMIT);
        assert!(!matches!(shorter, Ok(Some(_))), "a beginning of a head is no head");
        let passed = passed_on(whole, &head);
        let again = match parse_request(&passed, HEAD_LIMIT) {
            Ok(Some(again)) => again,
            other => panic!("passed on: {} is {other:?}", passed.escape_ascii()),
        };
        assert_eq!((again.len, again.framing, again.minor), (passed.len(), head.framing, head.minor));
        assert_eq!(again.method_name(&passed), head.method_name(whole));
        assert_eq!(again.path_and_query(&passed), head.path_and_query(whole));
        assert_eq!(framing_by_lines(&passed), head.framing);
        let own = |name: &[u8]| name.len() > 9 && name[..9].eq_ignore_ascii_case(b"minimesh-");
        assert!(!Lines::new(&passed).iter().any(|line| own(line.name)), "{}", passed.escape_ascii());
    }
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let Ok(Some(request)) = parse_request(request, HEAD_LIMIT) else { panic!("a plain request") };
    for strip in [Strip::Own, Strip::Nothing] {
        if let Ok(Some(head)) = parse_response(bytes, &request, strip, HEAD_LIMIT) {
            let whole = &bytes[..head.len];
            clean(whole);
            let mut out = Buffer::default();
            write_head(whole, &head.cuts, &HeaderEdits::default(), &[], &mut out);
            let Ok(Some(again)) = parse_response(out.bytes(), &request, Strip::Nothing, HEAD_LIMIT) else {
                panic!("passed on: {}", out.bytes().escape_ascii())
            };
            assert_eq!((again.len, again.status, again.framing), (out.len(), head.status, head.framing));
        }
    }
}

/// Lines end in CRLF, and there is nothing that another reader could take for an end.
fn clean(head: &[u8]) {
    assert!(head.ends_with(b"\r\n\r\n"));
    let count = |wanted: u8| head.iter().filter(|byte| **byte == wanted).count();
    let ends = head.windows(2).filter(|two| two == b"\r\n").count();
    assert_eq!((count(b'\n'), count(b'\r'), count(0)), (ends, ends, 0), "{}", head.escape_ascii());
    assert_eq!(head.windows(4).filter(|four| four == b"\r\n\r\n").count(), 1);
}

fn passed_on(whole: &[u8], head: &RequestHead) -> Vec<u8> {
    let mut out = Buffer::default();
    write_head(whole, &head.cuts, &HeaderEdits::default(), &[], &mut out);
    out.bytes().to_vec()
}

/// RFC 9112 section 6.3 for a request, of a head that has at most one of each line.
fn framing_by_lines(head: &[u8]) -> Framing {
    let text = head.split(|byte| *byte == b'\n').map(<[u8]>::to_ascii_lowercase);
    let value = |name: &[u8], line: &[u8]| line.strip_prefix(name).map(|value| value.trim_ascii().to_vec());
    let mut framing = Framing::None;
    for line in text {
        if value(b"transfer-encoding:", &line).is_some_and(|coding| coding == b"chunked") {
            assert_eq!(std::mem::replace(&mut framing, Framing::Chunked), Framing::None);
        }
        let length = value(b"content-length:", &line).and_then(|length| String::from_utf8(length).ok()?.parse().ok());
        if let Some(length @ 1..) = length {
            assert_eq!(std::mem::replace(&mut framing, Framing::Length(length)), Framing::None);
        }
    }
    framing
}
