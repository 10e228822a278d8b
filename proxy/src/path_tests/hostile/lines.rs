//! The first line of a request, and what separates lines.

use super::Verdict::{Becomes, Bytes, Passes, Refused};
use super::{Vector, vector};

pub(super) fn vectors() -> Vec<Vector> {
    [methods(), spaces(), targets(), versions(), line_ends()].concat()
}

fn first_line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

fn methods() -> Vec<Vector> {
    let mut all = Vec::new();
    for method in ["GET", "get", "PROPFIND", "M-SEARCH", "A", "!#$%&'*+-.^_`|~", "VERSION-CONTROL", "POSTX"] {
        all.push(vector(format!("method {method}"), first_line(&format!("{method} / HTTP/1.1")), Passes));
    }
    let long = "M".repeat(900);
    all.push(vector("a method of 900 letters", first_line(&format!("{long} / HTTP/1.1")), Passes));
    for byte in b"(),/:;<=>?@[\\]{}\"" {
        let line = format!("G{}T / HTTP/1.1", char::from(*byte));
        // no method: whatever protocol that is, it is not HTTP's
        all.push(vector(format!("method with {:?}", char::from(*byte)), first_line(&line), Bytes));
    }
    for byte in [0u8, 1, 0x7f, 0x80, 0xff] {
        let mut bytes = first_line("G?T / HTTP/1.1");
        bytes[1] = byte;
        all.push(vector(format!("method with byte {byte:02x}"), bytes, Bytes));
    }
    all
}

fn spaces() -> Vec<Vector> {
    let mut all = Vec::new();
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET\x0b/\x0bHTTP/1.1",
        "GET\x0c/ HTTP/1.1",
        "GET /\x1cHTTP/1.1",
        "GET \t / HTTP/1.1",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / HTTP/1.1\x0b",
    ] {
        all.push(vector(format!("spaces of {line:?}"), first_line(line), Refused(400)));
    }
    all.push(vector("no space before the target", first_line("GET/ HTTP/1.1"), Bytes));
    all.push(vector("no space behind the target", first_line("GET /HTTP/1.1"), Bytes));
    all
}

fn targets() -> Vec<Vector> {
    let mut all = Vec::new();
    for target in [
        "/",
        "//",
        "/a//b/../c/./d",
        "/%2e%2e/%00%zz%",
        "/a;b=c?d=e&f;g",
        "/?",
        "/a?b?c=/d",
        "/\"<>\\^`{|}~",
        "/http://b/c",
        "*",
        "http://b/c?d",
        "https://b",
        "http://b?c",
        "http://b:81/",
        "http://[::1]:80/",
        "HTTP://B/",
        "ftp://b/c",
        "/\u{fc}\u{e0}",
    ] {
        all.push(vector(format!("target {target}"), first_line(&format!("GET {target} HTTP/1.1")), Passes));
    }
    for target in [
        "/a#b",
        "#",
        "/#",
        "http://b/#c",
        "a",
        "a/b",
        "../a",
        ".",
        "?a",
        "\\a",
        "**",
        "*?",
        "http:/b/c",
        "http:b",
        "http://",
        "http:///c",
        "http://?c",
        "://b/",
        "1http://b/",
        "ht/tp://b/",
        "http://a@b/",
        "http://b\\c/",
        "http://a,b/",
        "b:80",
        "%2f",
    ] {
        all.push(vector(format!("target {target}"), first_line(&format!("GET {target} HTTP/1.1")), Refused(400)));
    }
    for target in ["/", "b", "http://b:1/", "b:1/", "b:1?", "a@b:1", "*", "b:1#"] {
        let line = format!("CONNECT {target} HTTP/1.1");
        all.push(vector(format!("CONNECT to {target}"), first_line(&line), Refused(400)));
    }
    for byte in [0u8, 1, 8, 0x7f] {
        let mut bytes = first_line("GET /? HTTP/1.1");
        bytes[5] = byte;
        all.push(vector(format!("target with byte {byte:02x}"), bytes, Bytes));
    }
    all.push(vector("CRLF in the target", first_line("GET /a\r\nX: y HTTP/1.1"), Bytes));
    all.push(vector("LF in the target", first_line("GET /a\nX: y HTTP/1.1"), Bytes));
    all.push(vector("CR in the target", first_line("GET /a\rX HTTP/1.1"), Bytes));
    all.push(vector("no target", first_line("GET HTTP/1.1"), Bytes));
    all
}

fn versions() -> Vec<Vector> {
    let mut all = Vec::new();
    for version in [
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3",
        "HTTP/0.9",
        "HTTP/1.10",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/1.1x",
        "http/1.1",
        "Http/1.1",
        "HTTP/1,1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/+1.1",
        "HTTP/-1.1",
        "HTTP/ 1.1",
        "HTTP/1 .1",
        "HTTP//1.1",
        "HTTP/1.1.1",
        "HTTP/9999999999.1",
        "HTTP/",
        "HTTP/x.y",
        "HTTP/1.1\0",
    ] {
        all.push(vector(format!("version {version:?}"), first_line(&format!("GET / {version}")), Refused(400)));
    }
    for version in ["HTTPS/1.1", "HTTP", "HTTP-1.1", "ICY/1.0", "RTSP/1.0", "SIP/2.0", "1.1", "\u{ff28}TTP/1.1"] {
        all.push(vector(format!("version {version:?}"), first_line(&format!("GET / {version}")), Bytes));
    }
    all.push(vector("HTTP/0.9", *b"GET /\r\n", Bytes));
    all.push(vector("HTTP/0.9 with a query", *b"GET /a?b=c\r\n", Bytes));
    all.push(vector("HTTP/0.9 before a smuggled head", *b"GET /a\r\nHost: a\r\nContent-Length: 30\r\n\r\n", Bytes));
    all.push(vector("HTTP/1.0 without Host", *b"GET / HTTP/1.0\r\n\r\n", Passes));
    all
}

fn line_ends() -> Vec<Vector> {
    let mut all = Vec::new();
    for (name, bytes) in [
        ("everywhere", &b"GET / HTTP/1.1\nHost: a\n\n"[..]),
        ("of the first line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        ("of a header", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
        ("of the last header", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
        ("of the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
        ("before the empty line", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n"),
        ("before a length", b"POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 30\r\n\r\n"),
        ("before a coding", b"POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n"),
        ("in front, one", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("in front, after CRLF", b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        all.push(vector(format!("bare LF {name}"), bytes, Refused(400)));
    }
    for (name, bytes) in [
        ("of the first line", &b"GET / HTTP/1.1\rHost: a\r\n\r\n"[..]),
        ("in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n"),
        ("before a length", b"POST / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 30\r\n\r\n"),
        ("twice before LF", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        ("twice behind a value", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
        ("behind LF", b"GET / HTTP/1.1\n\rHost: a\n\r\n\r"),
        ("in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\rY: z\r\n\r\n"),
        ("instead of the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n"),
        ("in front", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        all.push(vector(format!("bare CR {name}"), bytes, Refused(400)));
    }
    for (name, bytes) in [
        ("of a value", &b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"[..]),
        ("of a value by tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n"),
        ("of nothing", b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n y\r\n\r\n"),
        ("of a length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 30\r\n\r\n"),
        ("of a coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n"),
        ("that hides a length", b"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 30\r\n\r\n"),
        ("of the first line", b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"),
        ("of the Host", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"),
        ("that is empty", b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n"),
    ] {
        all.push(vector(format!("folding {name}"), bytes, Refused(400)));
    }
    let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for count in [1, 2, 5] {
        // left over from an old client's POST (RFC 9112 section 2.2)
        let bytes = [b"\r\n".repeat(count), whole.to_vec()].concat();
        all.push(vector(format!("{count} empty lines in front"), bytes, Becomes(whole.to_vec())));
    }
    all
}
