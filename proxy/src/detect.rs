//! What a connection carries, from its first bytes. Pure.
//!
//! Decides at the first byte that settles it: Redis, AMQP, Postgres and SSH are known to be opaque before their first line
//! ends, and nobody waits for a time-out.

use std::cell::RefCell;

use minimesh_identity::Alpn;

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// A first line of HTTP/1.0 or HTTP/1.1, or one that only means to be: HTTP/1's to refuse.
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

/// Beyond what any server takes for a method; WebDAV's longest has 16.
const MAX_METHOD: usize = 1024;

/// Read on of a first word, at most: longer than any server takes a first line for.
const MAX_WORD: usize = 64 * 1024;

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
    // "PRI * HTTP/2.0" is no line of HTTP/1: still on the way to the preface
    if PREFACE.starts_with(bytes) { Sniffed::More } else { first_line(bytes) }
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

/// `method SP target SP HTTP/`, and everything that some server might take for it: empty lines before it, other or more space,
/// another version or case. Such a line is no way round what is said of HTTP (identity headers, for one): it is HTTP/1's to
/// refuse. That its third word begins with `HTTP/` tells it from Redis, memcached, NATS and RTSP.
fn first_line(bytes: &[u8]) -> Sniffed {
    let line = &bytes[run(bytes, |byte| b"\r\n \t".contains(&byte))..];
    let method = run(line, |byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if method > MAX_METHOD {
        return Sniffed::Opaque;
    }
    let mut rest = line;
    let visible = |byte: u8| byte > b' ' && byte != 0x7f;
    for word in [method, usize::MAX] {
        let word = word.min(run(rest, visible));
        let space = run(&rest[word..], is_space);
        match rest.len() {
            length if length == word => return Sniffed::More,
            _ if word == 0 || space == 0 => return Sniffed::Opaque,
            _ => rest = &rest[word + space..],
        }
    }
    match rest.iter().zip(b"HTTP/").all(|(byte, expected)| byte.eq_ignore_ascii_case(expected)) {
        false => Sniffed::Opaque,
        true if rest.len() < 5 => Sniffed::More,
        true => Sniffed::Http1,
    }
}

/// What half a word is taken for when nothing has followed for a while: a method and the beginning of a path are HTTP, whose
/// patience is its own.
pub(crate) fn lean(bytes: &[u8]) -> Sniffed {
    let method = run(bytes, |byte| byte.is_ascii_uppercase());
    let path = [&b" /"[..], b" http://", b" https://"].iter().any(|path| bytes[method..].starts_with(path));
    if method > 0 && path && sniff(bytes) == Sniffed::More { Sniffed::Http1 } else { Sniffed::Opaque }
}

/// The first word of a connection that is carried as bytes because its end did not come in time. It is read on: who cuts a
/// request in two with a pause has not found a way round what is said of HTTP.
pub(crate) struct Undecided(RefCell<Option<Vec<u8>>>);

impl Undecided {
    /// Of a connection that was sniffed, and of which these bytes have come.
    pub(crate) fn of(bytes: &[u8]) -> Undecided {
        let open = !bytes.is_empty() && sniff(bytes) == Sniffed::More;
        Undecided(RefCell::new(open.then(Vec::new)))
    }

    /// Of one that is bytes whatever it says.
    pub(crate) fn never() -> Undecided {
        Undecided(RefCell::new(None))
    }

    /// Whether the next bytes may pass: not if they make it HTTP.
    pub(crate) fn passes(&self, bytes: &[u8]) -> bool {
        let mut word = self.0.borrow_mut();
        let Some(so_far) = &mut *word else { return true };
        so_far.extend_from_slice(&bytes[..bytes.len().min(MAX_WORD)]);
        match sniff(so_far) {
            Sniffed::Http1 | Sniffed::Http2 => false,
            Sniffed::More if so_far.len() < MAX_WORD => true,
            Sniffed::More | Sniffed::Opaque | Sniffed::Tls => {
                *word = None;
                true
            }
        }
    }
}

/// What splits a line into words for one server or another.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0x1c..=0x1f)
}

/// How many bytes at the front are of a kind.
fn run(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is(*byte)).unwrap_or(bytes.len())
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

/// The name that a whole ClientHello asks for (SNI, RFC 6066 section 3), in lower case and without the dot that some clients
/// send after it; `None` where it asks for none, or for something that is no host name.
pub(crate) fn server_name(bytes: &[u8]) -> Option<String> {
    let mut scratch = Vec::new();
    let Whole::Hello(hello) = whole_hello(bytes, &mut scratch) else { return None };
    let (mut list, _) = vector(extension(hello, 0)?, 2)?;
    while let [kind, rest @ ..] = list {
        let (name, rest) = vector(rest, 2)?;
        if *kind == 0 {
            let name = name.strip_suffix(b".").unwrap_or(name);
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
    // the version tells TLS from other protocols in the first record; in later ones it means nothing (RFC 8446 section 5.1)
    while let [0x16, major, _, high, low, rest @ ..] = bytes {
        if *major != 3 && scratch.is_empty() {
            return Whole::Not;
        }
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
    let begun = if scratch.is_empty() { &[0x16, 3][..] } else { &[0x16] };
    if begun.starts_with(&bytes[..bytes.len().min(begun.len())]) { Whole::More } else { Whole::Not }
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
            (b"GET / HTTP", More),
            (b"PROPFIND /x HTTP/1.1\r\n", Http1),
            (b"GET /", More),
            (b"GET /\r\n", Opaque),
            (b"GET / FTP", Opaque),
            (PREFACE, Http2),
            (&PREFACE[..15], More),
            (&PREFACE[..23], More),
            (b"PRI * HTTP/1.1\r\n", Http1),
            (b"PRI * HTTP/3", Http1),
            (b"*1\r", Opaque),
            (b"PING\r", Opaque),
            (b"AMQP\0", Opaque),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Opaque),
            (b"SSH-2.0-x\r", Opaque),
            (b"set k 0", Opaque),
            (b"get a h\r", Opaque),
            (b"SET key http\r", Opaque),
            (b"CONNECT {\"verbose\":false}\r\n", Opaque),
            (b"OPTIONS rtsp://a RTSP/1.0\r\n", Opaque),
            (b"\x30\x0c\x02\x01\x01", Opaque),
            (b"[{\"a\": 1}", Opaque),
            (b"10.0.0.1 - - \"GET / HTTP/1.1\" 200\n", Opaque),
            (b"\x16\x03\x01\x02\x00\x01", Tls),
            (b"\x16\x03", More),
            (b"\x16\x03\x01\x02\x00\x02", Opaque),
            (b"\x16\x05", Opaque),
            (b"", More),
        ] {
            assert_eq!(sniff(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_means_to_be_http_is_http_s_to_refuse() {
        for line in [
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET\x0b/\x0cHTTP/1.1",
            "GET / HTTP/1.2",
            "GET / HTTP/0.9",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "GET / HTTP/11",
            "\r\nGET / HTTP/1.1",
            "\n\n GET / HTTP/1.1",
            "get /\u{fc} HTTP/1.1",
            "A-METHOD-OF-WHICH-NOBODY-HAS-EVER-HEARD-ANYTHING / HTTP/1.1",
        ] {
            assert_eq!(sniff(line.as_bytes()), Sniffed::Http1, "{line:?}");
            let word = line.find("TP/").or(line.find("tp/")).expect("HTTP/");
            for end in 0..word {
                assert_eq!(sniff(&line.as_bytes()[..end]), Sniffed::More, "{line:?} {end}");
            }
        }
    }

    #[test]
    fn half_a_request_line_is_http_and_half_a_word_is_not_yet() {
        for (bytes, expected) in [
            ("GET /a", Sniffed::Http1),
            ("GET / HT", Sniffed::Http1),
            ("GET http://a", Sniffed::Http1),
            ("GE", Sniffed::Opaque),
            ("ruok", Sniffed::Opaque),
            ("get key", Sniffed::Opaque),
        ] {
            assert_eq!(lean(bytes.as_bytes()), expected, "{bytes}");
        }
    }

    #[test]
    fn a_request_cut_in_two_does_not_pass_and_other_bytes_do() {
        let passes = |parts: &[&str]| {
            let undecided = Undecided::of(parts[0].as_bytes());
            parts.iter().all(|part| undecided.passes(part.as_bytes()))
        };
        assert!(!passes(&["GE", "T / HT", "TP/1.1\r\n"]));
        assert!(!passes(&["\r\n", "GET  / HTTP/1.1\r\n"]));
        assert!(!passes(&["PRI *", " HTTP/2.0\r\n\r\nSM\r\n\r\n"]));
        assert!(passes(&["ruok", "\r\n", "GET / HTTP/1.1"]));
        assert!(passes(&["HELO a\r\n", "GET / HTTP/1.1\r\n"]), "it was decided");
        assert!(Undecided::never().passes(b"GET / HTTP/1.1\r\n"));
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
        assert_eq!(name(&named(b"a.b.", &[], 4000)).as_deref(), Some("a.b"));
        assert_eq!(name(&hello(&[b"h2"], 4000)), None);
        for odd in [&b"a b"[..], b"\0", b".", b"\xff", &[b'a'; 254]] {
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
            let mut bytes = format!("{method} {target} HTTP").into_bytes();
            for end in 0..=bytes.len() {
                prop_assert_eq!(sniff(&bytes[..end]), Sniffed::More);
            }
            bytes.extend(format!("/{version}\r\n").bytes());
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
