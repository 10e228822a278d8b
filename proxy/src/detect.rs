//! What a connection carries, from its first bytes. Pure.
//!
//! Decides at the first byte that settles it: Redis, AMQP, Postgres and SSH are known to be opaque before their first line
//! ends, and nobody waits for a time-out.

use minimesh_identity::Alpn;

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// A first line of HTTP/1.0 or HTTP/1.1.
    Http1,
    /// The HTTP/2 preface.
    Http2,
    /// Another byte is needed.
    More,
    /// None of the others, whatever follows.
    Opaque,
    /// A TLS ClientHello.
    Tls,
}

/// What a ClientHello says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// It offers a protocol of the mesh.
    Mesh,
    /// More bytes are needed.
    More,
    /// No ClientHello that could be understood, or the application's own.
    Other,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longer than any registered method; WebDAV's longest has 16.
const MAX_METHOD: usize = 40;

/// A ClientHello with hybrid keys, a large session ticket and padding stays well below.
const MAX_HELLO: usize = 16 * 1024;

/// The records that it comes in: nobody cuts it into single bytes for an honest reason.
const MAX_RECORDS: usize = 2 * MAX_HELLO;

/// Judges the bytes that have come so far.
pub(crate) fn sniff(bytes: &[u8]) -> Sniffed {
    if bytes.is_empty() {
        return Sniffed::More;
    }
    if bytes[0] == 0x16 {
        return client_hello_frame(bytes);
    }
    if bytes.starts_with(PREFACE) {
        return Sniffed::Http2;
    }
    match first_line(bytes) {
        // "PRI * HTTP/2.0" is no line of HTTP/1: still on the way to the preface
        Sniffed::Opaque if PREFACE.starts_with(bytes) => Sniffed::More,
        sniffed => sniffed,
    }
}

/// Record type 22, version 3.x, a length, handshake type 1.
fn client_hello_frame(bytes: &[u8]) -> Sniffed {
    let expected: [fn(u8) -> bool; 6] =
        [|byte| byte == 0x16, |byte| byte == 3, |byte| byte <= 4, |byte| byte <= 0x40, |_| true, |byte| byte == 1];
    if bytes.iter().zip(expected).any(|(byte, expected)| !expected(*byte)) {
        return Sniffed::Opaque;
    }
    if bytes.len() < 6 { Sniffed::More } else { Sniffed::Tls }
}

/// `method SP target SP HTTP/1.x CR`.
fn first_line(bytes: &[u8]) -> Sniffed {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let method = bytes.iter().position(|byte| !token(byte)).unwrap_or(bytes.len());
    if method > MAX_METHOD || method == 0 {
        return Sniffed::Opaque;
    }
    let Some(target) = after_space(&bytes[method..]) else { return until(bytes.len() == method) };
    let length = target.iter().position(|byte| *byte <= b' ' || *byte == 0x7f).unwrap_or(target.len());
    if length == 0 && !target.is_empty() {
        return Sniffed::Opaque;
    }
    let Some(version) = after_space(&target[length..]) else { return until(target.len() == length) };
    let expected: [&[u8]; 9] = [b"H", b"T", b"T", b"P", b"/", b"1", b".", b"01", b"\r\n"];
    if version.iter().zip(expected).any(|(byte, expected)| !expected.contains(byte)) {
        return Sniffed::Opaque;
    }
    if version.len() < 9 { Sniffed::More } else { Sniffed::Http1 }
}

fn after_space(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b" ")
}

fn until(exhausted: bool) -> Sniffed {
    if exhausted { Sniffed::More } else { Sniffed::Opaque }
}

/// Whether a ClientHello is the mesh's: if and only if it offers an ALPN `minimesh-*/1`.
pub(crate) fn client_hello(bytes: &[u8]) -> Hello {
    let mut scratch = Vec::new();
    match whole_hello(bytes, &mut scratch) {
        Whole::More => Hello::More,
        Whole::Not => Hello::Other,
        Whole::Hello(hello) => {
            let offered = extension(hello, 16).and_then(|body| vector(body, 2));
            match offered {
                Some((protocols, _)) if Alpn::offered_by_mesh(protocols_of(protocols)) => Hello::Mesh,
                _ => Hello::Other,
            }
        }
    }
}

/// The name that a whole ClientHello asks for (SNI, RFC 6066 section 3), in lower case; `None` where it asks for none, or for
/// something that is no host name.
pub(crate) fn server_name(bytes: &[u8]) -> Option<String> {
    let mut scratch = Vec::new();
    let Whole::Hello(hello) = whole_hello(bytes, &mut scratch) else { return None };
    let (mut list, _) = vector(extension(hello, 0)?, 2)?;
    while let [kind, rest @ ..] = list {
        let (name, rest) = vector(rest, 2)?;
        if *kind == 0 {
            let host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
            let valid = (1..=253).contains(&name.len()) && name.iter().all(host);
            return valid.then(|| String::from_utf8_lossy(name).to_ascii_lowercase());
        }
        list = rest;
    }
    None
}

/// What is known of a ClientHello so far.
enum Whole<'a> {
    /// Its body.
    Hello(&'a [u8]),
    More,
    /// Something else, or larger than anybody's.
    Not,
}

/// Takes the handshake message out of its records; `scratch` holds it where there are several.
fn whole_hello<'a>(mut bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Whole<'a> {
    if bytes.len() > MAX_RECORDS {
        return Whole::Not;
    }
    while let [0x16, 3, _, high, low, rest @ ..] = bytes {
        let length = usize::from(*high) << 8 | usize::from(*low);
        if length == 0 {
            // an endless supply of nothing (forbidden by RFC 8446 section 5.1)
            return Whole::Not;
        }
        let part = &rest[..length.min(rest.len())];
        scratch.extend_from_slice(part);
        bytes = &rest[part.len()..];
        let wanted = match scratch.get(1..4) {
            Some(length) => 4 + length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            None => 4,
        };
        if wanted > 4 + MAX_HELLO {
            return Whole::Not;
        }
        if scratch.len() >= wanted && scratch.len() >= 4 {
            // whatever follows a complete ClientHello is not ours to judge
            return Whole::Hello(&scratch[4..wanted]);
        }
        if part.len() < length {
            return Whole::More;
        }
    }
    if [0x16, 3].starts_with(&bytes[..bytes.len().min(2)]) { Whole::More } else { Whole::Not }
}

/// The body of an extension of a ClientHello.
fn extension(hello: &[u8], wanted: u16) -> Option<&[u8]> {
    // version, random, session id, cipher suites, compression methods
    let rest = hello.get(34..)?;
    let rest = skip(rest, 1)?;
    let rest = skip(rest, 2)?;
    let rest = skip(rest, 1)?;
    let (mut extensions, _) = vector(rest, 2)?;
    while !extensions.is_empty() {
        let kind = extensions.get(..2)?;
        let (body, rest) = vector(&extensions[2..], 2)?;
        if kind == wanted.to_be_bytes() {
            return Some(body);
        }
        extensions = rest;
    }
    None
}

fn protocols_of(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (name, rest) = vector(list, 1)?;
        list = rest;
        Some(name)
    })
}

fn skip(bytes: &[u8], prefix: usize) -> Option<&[u8]> {
    vector(bytes, prefix).map(|(_, rest)| rest)
}

/// A length of `prefix` bytes and as many bytes behind it.
fn vector(bytes: &[u8], prefix: usize) -> Option<(&[u8], &[u8])> {
    let length = bytes.get(..prefix)?.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
    bytes[prefix..].split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_bytes_of_common_protocols() {
        use Sniffed::*;
        for (bytes, expected) in [
            (b"GET / HTTP/1.1\r".as_slice(), Http1),
            (b"GET / HTTP/1.0\n", Http1),
            (b"GET / HTTP/1.1", More),
            (b"PROPFIND /x HTTP/1.1\r\n", Http1),
            (b"GET /", More),
            (b"GET / FTP", Opaque),
            (b"GET / HTTP/1.2", Opaque),
            (b"GET  ", Opaque),
            (PREFACE, Http2),
            (&PREFACE[..15], More),
            (&PREFACE[..23], More),
            (b"PRI * HTTP/1.1\r\n", Http1),
            (b"PRI * HTTP/3", Opaque),
            (b"*1\r", Opaque),
            (b"PING\r", Opaque),
            (b"AMQP\0", Opaque),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Opaque),
            (b"SSH-2.0-x\r", Opaque),
            (b"set k 0", Opaque),
            (b"\x16\x03\x01\x02\x00\x01", Tls),
            (b"\x16\x03", More),
            (b"\x16\x03\x01\x02\x00\x02", Opaque),
            (b"\x16\x05", Opaque),
            (b"", More),
        ] {
            assert_eq!(sniff(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    fn hello(protocols: &[&[u8]], record: usize) -> Vec<u8> {
        named(b"", protocols, record)
    }

    fn named(name: &[u8], protocols: &[&[u8]], record: usize) -> Vec<u8> {
        let mut list = Vec::new();
        for name in protocols {
            list.push(name.len() as u8);
            list.extend_from_slice(name);
        }
        let two = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let alpn = [&[0, 16][..], &two(&two(&list))].concat();
        let other = [&[0, 11][..], &two(b"\x01\x00")].concat();
        let sni = match name {
            b"" => vec![],
            name => [&[0, 0][..], &two(&two(&[&[0][..], &two(name)].concat()))].concat(),
        };
        let body =
            [&[3, 3][..], &[7; 32], &[0], &two(&[0x13, 1]), &[1, 0], &two(&[other, sni, alpn].concat())].concat();
        let length = (body.len() as u32).to_be_bytes();
        let message = [&[1][..], &length[1..], &body].concat();
        message.chunks(record).flat_map(|part| [&[0x16, 3, 1][..], &two(part)].concat()).collect()
    }

    #[test]
    fn a_client_hello_is_ours_by_its_protocols_alone() {
        assert_eq!(client_hello(&hello(&[b"minimesh-http/1"], 4000)), Hello::Mesh);
        assert_eq!(client_hello(&hello(&[b"h2", b"minimesh-raw/1"], 5)), Hello::Mesh);
        assert_eq!(client_hello(&hello(&[b"h2", b"http/1.1"], 4000)), Hello::Other);
        assert_eq!(client_hello(&hello(&[], 4000)), Hello::Other);
    }

    #[test]
    fn the_name_is_read_wherever_it_stands() {
        let name = |bytes: &[u8]| server_name(bytes);
        assert_eq!(name(&named(b"Shop.Example.com", &[b"h2"], 4000)).as_deref(), Some("shop.example.com"));
        assert_eq!(name(&named(b"a", &[], 3)).as_deref(), Some("a"));
        assert_eq!(name(&hello(&[b"h2"], 4000)), None);
        for odd in [&b"a b"[..], b"\0", b"\xff", &[b'a'; 254]] {
            assert_eq!(name(&named(odd, &[], 4000)), None, "{}", odd.escape_ascii());
        }
        let whole = named(b"a", &[], 4000);
        assert_eq!(name(&whole[..whole.len() - 1]), None);
    }

    #[test]
    fn a_client_hello_without_end_is_no_client_hello() {
        assert_eq!(client_hello(&[0x16, 3, 1, 0, 0].repeat(10)), Hello::Other);
        assert_eq!(client_hello(&[&[0x16, 3, 1, 0x40, 0, 1, 1, 0, 0][..], &[0; 9]].concat()), Hello::Other);
        assert_eq!(client_hello(&[0x16, 3, 1, 0, 1, 0].repeat(6000)), Hello::Other);
    }

    #[test]
    fn a_client_hello_in_pieces_is_waited_for() {
        let whole = hello(&[b"minimesh-http/1"], 50);
        for cut in 0..whole.len() {
            assert_eq!(client_hello(&whole[..cut]), Hello::More, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn a_verdict_never_changes_with_more_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut verdict = Sniffed::More;
            for end in 0..=bytes.len() {
                let next = sniff(&bytes[..end]);
                prop_assert!(verdict == Sniffed::More || next == verdict);
                verdict = next;
            }
        }

        #[test]
        fn every_http_request_is_known(
            method in "[A-Z]{1,12}", target in "/[!-~]{0,30}", version in "1\\.[01]", rest in proptest::collection::vec(any::<u8>(), 0..9)
        ) {
            let line = format!("{method} {target} HTTP/{version}");
            let mut bytes = line.into_bytes();
            for end in 0..=bytes.len() {
                prop_assert_eq!(sniff(&bytes[..end]), Sniffed::More);
            }
            bytes.extend(b"\r\n");
            bytes.extend(rest);
            prop_assert_eq!(sniff(&bytes), Sniffed::Http1);
        }

        #[test]
        fn arbitrary_hellos_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = client_hello(&bytes);
            let _ = server_name(&bytes);
            let _ = server_name(&[&[0x16, 3, 1, 1, 0, 1, 0, 0, 200][..], &bytes].concat());
            let _ = client_hello(&[&[0x16, 3, 1, 1, 0, 1, 0, 0, 200][..], &bytes].concat());
        }
    }
}
