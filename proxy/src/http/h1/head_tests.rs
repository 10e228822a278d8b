//! Heads: what is accepted, what is refused, what is left out.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 64 * 1024;

fn request(bytes: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    parse_request(bytes, LIMIT)
}

fn good(bytes: &[u8]) -> RequestHead {
    request(bytes).expect("valid").expect("whole")
}

fn answer(bytes: &[u8], to: &[u8]) -> ResponseHead {
    parse_response(bytes, &good(to), Strip::Own, LIMIT).expect("valid").expect("whole")
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn ambiguous_requests_are_refused() {
    for bad in [
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
    ] {
        assert!(matches!(request(bad.as_bytes()), Err(HeadError::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn framing_and_keep_alive_follow_the_rfc() {
    let head = good(b"POST /p?q HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!((head.framing, head.keep_alive), (Framing::Length(5), true));
    assert!(!good(b"GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(good(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
    assert!(!good(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n").keep_alive);

    let body = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(answer(body, GET).framing, Framing::Length(3));
    assert_eq!(answer(body, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").framing, Framing::None);
    assert_eq!(answer(body, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").framing, Framing::None);
    assert_eq!(answer(b"HTTP/1.1 204 \r\n\r\n", GET).framing, Framing::None);
    assert_eq!(answer(b"HTTP/1.1 304\r\nContent-Length: 9\r\n\r\n", GET).framing, Framing::None);
    let close = answer(b"HTTP/1.1 200 OK\r\n\r\n", GET);
    assert_eq!((close.framing, close.keep_alive), (Framing::Close, false));
    assert!(!answer(body, b"GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(
        answer(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        )
        .keep_alive
    );
}

#[test]
fn ambiguous_responses_are_refused() {
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 3\n\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
    ] {
        let head = parse_response(bad.as_bytes(), &good(GET), Strip::Own, LIMIT);
        assert!(matches!(head, Err(HeadError::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn upgrades_are_kept_but_not_to_h2c() {
    let head = good(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(head.upgrade);
    let head = good(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n");
    assert!(!head.upgrade);
    assert!(!head.cuts.is_empty());
}

#[test]
fn the_path_is_found_in_every_form() {
    let path = |text: &'static [u8]| {
        let head = good(text);
        let (path, query) = head.path_and_query(text);
        (path.to_vec(), query.map(<[u8]>::to_vec))
    };
    assert_eq!(path(b"GET /a/b?c=d?e HTTP/1.1\r\nHost: a\r\n\r\n"), (b"/a/b".to_vec(), Some(b"c=d?e".to_vec())));
    assert_eq!(path(b"GET http://h:1/a HTTP/1.1\r\nHost: a\r\n\r\n"), (b"/a".to_vec(), None));
    assert_eq!(path(b"GET http://h HTTP/1.1\r\nHost: a\r\n\r\n"), (b"/".to_vec(), None));
    assert_eq!(path(b"GET http://h?x HTTP/1.1\r\nHost: a\r\n\r\n"), (b"/".to_vec(), Some(b"x".to_vec())));
    assert_eq!(path(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), (b"*".to_vec(), None));
    assert_eq!(path(b"GET /redirect?to=http://x/y HTTP/1.1\r\nHost: a\r\n\r\n").0, b"/redirect".to_vec());
}

#[test]
fn limits_hold() {
    let many = |n: usize| {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        (1..n).for_each(|_| head.extend(b"a: b\r\n"));
        head.extend(b"\r\n");
        head
    };
    assert!(request(&many(256)).is_ok());
    assert_eq!(request(&many(257)).err(), Some(HeadError::TooLarge));
    let mut long = b"GET /".to_vec();
    long.resize(LIMIT, b'x');
    assert_eq!(request(&long).err(), Some(HeadError::TooLarge));
}

/// A slow, obvious reading of the same rules: lines split at CRLF, each looked at on its own.
fn slow_verdict(head: &[u8]) -> Option<Framing> {
    let text = head.strip_suffix(b"\r\n\r\n")?;
    let (mut lengths, mut codings, mut hosts) = (Vec::new(), Vec::new(), 0);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let last = index + 1 == lines.len();
        let line = if last { *line } else { line.strip_suffix(b"\r")? };
        if index == 0 {
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = line[colon + 1..].trim_ascii();
        match line[..colon].to_ascii_lowercase().as_slice() {
            b"content-length" => lengths.push(value.to_vec()),
            b"transfer-encoding" => codings.push(value.to_ascii_lowercase()),
            b"host" => hosts += 1,
            b"" => return None,
            name if !name.iter().all(|byte| super::super::body::is_token(*byte)) => return None,
            _ => {}
        }
        if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return None;
        }
    }
    if hosts != 1 {
        return None;
    }
    lengths.dedup();
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(Framing::None),
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let length: u64 = std::str::from_utf8(length).ok()?.parse().ok()?;
            Some(if length == 0 { Framing::None } else { Framing::Length(length) })
        }
        ([], [coding]) if coding == b"chunked" => Some(Framing::Chunked),
        _ => None,
    }
}

fn some_line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just("Host"),
        Just("content-length"),
        Just("Transfer-Encoding"),
        Just("X-A"),
        Just("x b"),
        Just(""),
        Just("minimesh-z")
    ];
    let value = prop_oneof![
        Just(" a".to_owned()),
        Just("5".to_owned()),
        Just("5".to_owned()),
        Just(" chunked".to_owned()),
        Just("0".to_owned()),
        Just(" 5 ".to_owned()),
        Just("gzip".to_owned()),
        Just("\u{1}".to_owned()),
        Just("ü".to_owned())
    ];
    let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
    (name, value, end).prop_map(|(name, value, end)| format!("{name}:{value}{end}").into_bytes())
}

proptest! {
    #[test]
    fn agrees_with_a_slow_parser(lines in proptest::collection::vec(some_line(), 0..5)) {
        let mut head = b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec();
        head.extend(lines.concat());
        head.extend(b"\r\n");
        let fast = request(&head).ok().flatten().map(|head| head.framing);
        prop_assert_eq!(fast, slow_verdict(&head), "{}", head.escape_ascii());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = request(&bytes);
        let _ = parse_response(&bytes, &good(GET), Strip::Own, LIMIT);
    }

    #[test]
    fn a_prefix_is_never_taken_for_the_whole(cut in 0usize..GET.len()) {
        prop_assert!(matches!(request(&GET[..cut]), Ok(None)));
    }

    #[test]
    fn mutated_requests_never_panic(at in 0usize..80, byte: u8) {
        let mut head = b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, te\r\nUpgrade: b\r\nte: trailers\r\nContent-Length: 4\r\n\r\n".to_vec();
        head[at] = byte;
        if let Ok(Some(parsed)) = request(&head) {
            let mut out = crate::io::Buffer::default();
            crate::http::h1::write_head(&head[..parsed.len], &parsed.cuts, &Default::default(), &[], &mut out);
            let _ = parsed.path_and_query(&head);
        }
    }
}
