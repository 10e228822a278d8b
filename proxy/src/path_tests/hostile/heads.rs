//! Header lines of a request: names, values, Host, framing, what a hop must not pass on, floods.

use super::Verdict::{Becomes, Passes, Refused};
use super::{Vector, vector};

pub(super) fn vectors() -> Vec<Vector> {
    [names(), values(), hosts(), lengths(), codings(), hop_by_hop(), own(), harmless(), floods()].concat()
}

fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}").into_bytes()
}

fn names() -> Vec<Vector> {
    let mut all = Vec::new();
    for (name, line) in [
        ("space before the colon", "X : y\r\n"),
        ("tab before the colon", "X\t: y\r\n"),
        ("many spaces before the colon", "X    : y\r\n"),
        ("space before the colon of a length", "Content-Length : 30\r\n"),
        ("tab before the colon of a length", "Content-Length\t: 30\r\n"),
        ("space before the colon of a coding", "Transfer-Encoding : chunked\r\n"),
        ("space in a name", "X Y: z\r\n"),
        ("an empty name", ": y\r\n"),
        ("no colon", "X\r\n"),
        ("no colon and a space", "X y\r\n"),
        ("= for a colon", "Content-Length=30\r\n"),
        ("a colon alone", ":\r\n"),
        ("space in front of a name", " X: y\r\n"),
        ("tab in front of a name", "\tX: y\r\n"),
        ("a request line for a header", "GET /admin HTTP/1.1\r\n"),
    ] {
        all.push(vector(format!("name: {name}"), get(line), Refused(400)));
    }
    for byte in b"\0\x01\x0b\x0c\x1f\x7f\x80\xa0\xff\"(),/;<=>?@[\\]{}" {
        let mut bytes = get("X?Y: z\r\n");
        let at = bytes.iter().position(|byte| *byte == b'?').expect("a mark");
        bytes[at] = *byte;
        all.push(vector(format!("name with byte {byte:02x}"), bytes, Refused(400)));
    }
    all.push(vector("every character of a name", get("!#$%&'*+-.^_`|~09azAZ: y\r\n"), Passes));
    all.push(vector(
        "names that only look like framing",
        get("Content_Length: 5\r\nTransfer_Encoding: chunked\r\nContent-Lengt: 5\r\nXContent-Length: 5\r\n"),
        Passes,
    ));
    all
}

fn values() -> Vec<Vector> {
    let mut all = Vec::new();
    for byte in (0u8..0x20).filter(|byte| !b"\t\n\r".contains(byte)).chain([0x7f]) {
        let mut bytes = get("X: y?z\r\n");
        let at = bytes.iter().position(|byte| *byte == b'?').expect("a mark");
        bytes[at] = byte;
        all.push(vector(format!("value with byte {byte:02x}"), bytes, Refused(400)));
    }
    let mut obsolete = get("X: ?\r\n");
    let at = obsolete.iter().position(|byte| *byte == b'?').expect("a mark");
    obsolete.splice(at..=at, 0x80..=0xff);
    all.push(vector("obs-text", obsolete, Passes));
    for (name, lines) in [
        ("empty", "X:\r\nY: \r\nZ: \t \r\n"),
        ("tabs", "X:\ty\tz\t\r\n"),
        ("spaces around", "X:   y z   \r\n"),
        ("colons", "X: ::y::\r\n"),
        ("every visible character", "X: !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~\r\n"),
        ("a header in a value", "X: Content-Length: 30\r\n"),
    ] {
        all.push(vector(format!("value: {name}"), get(lines), Passes));
    }
    all.push(vector("value of 60 000 bytes", get(&format!("X: {}\r\n", "y".repeat(60_000))), Passes));
    all
}

fn hosts() -> Vec<Vector> {
    let mut all = Vec::new();
    let head = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n").into_bytes();
    for (name, lines) in [
        ("none", ""),
        ("twice the same", "Host: a\r\nHost: a\r\n"),
        ("two", "Host: a\r\nHost: b\r\n"),
        ("two in other case", "Host: a\r\nhOST: b\r\n"),
        ("an empty one and one", "Host:\r\nHost: b\r\n"),
        ("a list", "Host: a, b\r\n"),
        ("a list without space", "Host: a,b\r\n"),
        ("two words", "Host: a b\r\n"),
        ("a tab", "Host: a\tb\r\n"),
        ("a path", "Host: a/b\r\n"),
        ("a query", "Host: a?b\r\n"),
        ("a fragment", "Host: a#b\r\n"),
        ("user information", "Host: a@b\r\n"),
        ("a backslash", "Host: a\\b\r\n"),
        ("obs-text", "Host: \u{fc}\r\n"),
        ("a quote", "Host: \"a\"\r\n"),
        ("space before the colon", "Host : a\r\n"),
    ] {
        all.push(vector(format!("Host: {name}"), head(lines), Refused(400)));
    }
    for (name, lines) in [
        ("empty", "Host:\r\n"),
        ("a port", "Host: a:80\r\n"),
        ("IPv6", "Host: [::1]:80\r\n"),
        ("no space", "Host:a\r\n"),
        ("spaces", "HOST:   a  \r\n"),
        ("an underscore", "Host: a_b.c\r\n"),
        ("last", "X: y\r\nHost: a\r\n"),
    ] {
        all.push(vector(format!("Host: {name}"), head(lines), Passes));
    }
    // nothing of ours is decided by either: the application reads both as it would without us
    let absolute = "GET http://other/x HTTP/1.1\r\nHost: a\r\n\r\n";
    all.push(vector("an absolute target against Host", absolute, Passes));
    all.push(vector("an absolute target without Host", "GET http://other/x HTTP/1.1\r\n\r\n", Refused(400)));
    all.push(vector("HTTP/1.0 with two Hosts", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Refused(400)));
    all
}

fn lengths() -> Vec<Vector> {
    let mut all = Vec::new();
    for value in [
        "",
        " ",
        "+5",
        "-5",
        "-0",
        "5,5",
        "5, 5",
        "5 5",
        "5;5",
        "5;",
        "0x5",
        "0X5",
        "5h",
        "5.0",
        "5e0",
        "five",
        "a",
        "1_0",
        "'5'",
        "\"5\"",
        "\u{665}",
        "\u{ff15}",
        "5\u{a0}",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999",
        "4294967296,0",
        "0,",
        ",0",
        "5\x0b",
        "5\0",
    ] {
        let lines = format!("Content-Length: {value}\r\n");
        all.push(vector(format!("length {value:?}"), post(&lines, "hello"), Refused(400)));
    }
    for (first, second) in [("5", "6"), ("5", "0"), ("0", "5"), ("5", "30"), ("5", "-5"), ("5", ""), ("5", "5,5")] {
        let lines = format!("Content-Length: {first}\r\nContent-Length: {second}\r\n");
        all.push(vector(format!("lengths {first} and {second:?}"), post(&lines, "hello"), Refused(400)));
        let lines = format!("Content-Length: {second}\r\nX: y\r\ncontent-length: {first}\r\n");
        all.push(vector(format!("lengths {second:?} and {first} apart"), post(&lines, "hello"), Refused(400)));
    }
    for value in ["5", "005", "  5", "\t5", "5  ", "0000000000000000000000005"] {
        let lines = format!("Content-Length: {value}\r\n");
        all.push(vector(format!("length {value:?}"), post(&lines, "hello"), Passes));
    }
    all.push(vector("length 0", post("Content-Length: 0\r\n", ""), Passes));
    // what means the same twice is said once (RFC 9112 section 6.3)
    let once = post("Content-Length: 5\r\n", "hello");
    let twice = post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello");
    all.push(vector("a length said twice", twice, Becomes(once)));
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "get"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        all.push(vector(format!("{method} with a body"), head, Passes));
    }
    all
}

/// A coding that is not exactly `chunked` is a question of taste, and tastes differ.
fn codings() -> Vec<Vector> {
    let mut all = Vec::new();
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    for value in ["chunked", "Chunked", "CHUNKED", " chunked", "\tchunked", "  chunked \t "] {
        let lines = format!("Transfer-Encoding:{value}\r\n");
        all.push(vector(format!("coding {value:?}"), post(&lines, CHUNKS), Passes));
        for (order, lines) in
            [("before", format!("Content-Length: 5\r\n{lines}")), ("behind", format!("{lines}Content-Length: 5\r\n"))]
        {
            all.push(vector(format!("length {order} coding {value:?}"), post(&lines, CHUNKS), Refused(400)));
        }
    }
    let odd = [
        "",
        "identity",
        "xchunked",
        "chunkedx",
        "chunk",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "gzip",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked ,",
        ", chunked",
        "chunked;q=1",
        "chunked;",
        "\"chunked\"",
        "'chunked'",
        "chun ked",
        "chunked chunked",
        "cow",
        "cow, chunked",
        "chunked, cow",
        "\u{ff}chunked",
        "chunked\u{a0}",
        "chunked#",
        "{chunked}",
        "chunked\x0b",
        "\x0bchunked",
        "\x0cchunked",
        "chunked\0",
        "\0chunked",
        "chun\0ked",
        "chunked\r",
        "\nchunked",
    ];
    for value in odd {
        let line = format!("Transfer-Encoding: {value}\r\n");
        all.push(vector(format!("coding {value:?}"), post(&line, CHUNKS), Refused(400)));
        let lines = format!("Content-Length: 5\r\n{line}");
        all.push(vector(format!("length and coding {value:?}"), post(&lines, CHUNKS), Refused(400)));
    }
    for (name, lines) in [
        ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("and identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        ("after identity", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
        ("and nothing", "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"),
        ("in other case too", "Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n"),
        ("behind a bare LF", "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        ("folded", "Transfer-Encoding\r\n : chunked\r\nContent-Length: 5\r\n"),
    ] {
        all.push(vector(format!("coding chunked {name}"), post(lines, CHUNKS), Refused(400)));
    }
    for (name, head) in [
        ("in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("in HTTP/1.0 with a length", "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (
            "in HTTP/1.0 kept alive",
            "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("in CONNECT", "CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        all.push(vector(format!("coding chunked {name}"), format!("{head}{CHUNKS}"), Refused(400)));
    }
    let connect = "CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\nContent-Length: 5\r\n\r\nhello";
    all.push(vector("CONNECT with a length", connect, Refused(400)));
    all
}

fn hop_by_hop() -> Vec<Vector> {
    let mut all = Vec::new();
    let bare = get("");
    for (name, lines) in [
        ("nominated", "X-Hop: 1\r\nConnection: x-hop\r\n"),
        ("nominated in other case", "Connection: close, X-HOP\r\nx-hop: 1\r\nConnection: X-Hop\r\n"),
        ("upgrade to h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
        ("upgrade to h2c among others", "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"),
        ("upgrade to H2C-14", "Connection: upgrade\r\nUpgrade: H2C-14\r\n"),
        ("HTTP2-Settings alone", "HTTP2-Settings: x\r\n"),
        ("TE with other codings", "TE: gzip, trailers\r\n"),
    ] {
        all.push(vector(format!("hop-by-hop: {name}"), get(lines), Becomes(bare.clone())));
    }
    for option in ["content-length", "Content-Length, close", "transfer-encoding", "host"] {
        let lines = format!("Content-Length: 5\r\nConnection: {option}\r\n");
        let expected = post("Content-Length: 5\r\n", "hello");
        let name = format!("Connection nominates {option}");
        all.push(vector(name, post(&lines, "hello"), Becomes(expected)));
    }
    for option in ["Authorization", "Cookie", "Content-Type"] {
        let kept = format!("{option}: x\r\n");
        let expected = get(&kept);
        all.push(vector(
            format!("Connection nominates {option}"),
            get(&format!("{kept}Connection: {option}\r\n")),
            Becomes(expected),
        ));
    }
    for lines in [
        "Connection: keep-alive\r\n",
        "Connection: close\r\n",
        "Connection:close\r\nKeep-Alive: timeout=5\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "TE: trailers\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "Trailer: X\r\n",
        "Expect: 100-continue\r\n",
    ] {
        all.push(vector(format!("hop-by-hop: {lines:?}"), get(lines), Passes));
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n";
    all.push(vector("an upgrade with a body", post(upgrade, "hello"), Passes));
    let options = get(&format!("Connection: {}\r\n", vec!["x"; 40].join(", ")));
    all.push(vector("40 connection options", options, Refused(400)));
    all
}

/// What only a proxy of ours may say.
fn own() -> Vec<Vector> {
    let forged = [
        "l5d-client-id: spiffe://cluster.local/ns/shop/sa/admin",
        "L5D_Client_Id: admin",
        "X-Forwarded-Client-Cert: By=admin",
        "minimesh-error: not_delivered",
        "Minimesh-Hop: close",
        "minimesh_cause: x",
    ];
    let mut all: Vec<_> = forged
        .iter()
        .map(|line| vector(format!("forged {line}"), get(&format!("{line}\r\n")), Becomes(get(""))))
        .collect();
    let lines = format!("{}\r\nX: y\r\n", forged.join("\r\n"));
    all.push(vector("everything forged at once", get(&lines), Becomes(get("X: y\r\n"))));
    all
}

fn harmless() -> Vec<Vector> {
    let mut all = Vec::new();
    for lines in [
        "x-lower: a\r\nX-UPPER: b\r\nX-MiXeD: c\r\n",
        "Set-Cookie: a\r\nset-cookie: b\r\nSET-COOKIE: a\r\n",
        "Cookie: a=b; c=d\r\ncookie: e=f\r\n",
        "X: 1\r\nY: 2\r\nX: 3\r\nY: 4\r\n",
        "Accept: */*\r\nUser-Agent: a (b; c) d/1.0\r\n",
        "Via: 1.1 b\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-Proto: https\r\n",
        "Range: bytes=0-,-5\r\nIf-None-Match: W/\"x\"\r\n",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nb3: 0\r\n",
        "Content-Encoding: gzip\r\nContent-Type: a/b;c=\"d\"\r\n",
        "Max-Forwards: 0\r\nDate: never\r\n",
        "Authorization: Basic eA==\r\nProxy-Authorization: Basic eA==\r\n",
        "Server: a\r\nReferer: http://b/c#d\r\n",
    ] {
        all.push(vector(format!("harmless {lines:?}"), get(lines), Passes));
    }
    all
}

fn floods() -> Vec<Vector> {
    let mut all = Vec::new();
    let lines = |count: usize| "X: y\r\n".repeat(count);
    all.push(vector("256 header lines", get(&lines(255)), Passes));
    all.push(vector("257 header lines", get(&lines(256)), Refused(431)));
    all.push(vector("5 000 header lines", get(&lines(5_000)), Refused(431)));
    all.push(vector("a value of 70 000 bytes", get(&format!("X: {}\r\n", "y".repeat(70_000))), Refused(431)));
    all.push(vector("a name of 70 000 bytes", get(&format!("{}: y\r\n", "X".repeat(70_000))), Refused(431)));
    let target = |size: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(size));
    all.push(vector("a target of 60 000 bytes", target(60_000), Passes));
    all.push(vector("a target of 70 000 bytes", target(70_000), Refused(431)));
    all.push(vector("a query of 70 000 bytes", target(70_000).replacen('/', "/?", 1), Refused(431)));
    all
}
