//! Chunked bodies and trailers of requests.

use super::Verdict::{Passes, Refused};
use super::{Vector, vector};

pub(super) fn vectors() -> Vec<Vector> {
    [sizes(), extensions(), ends(), trailers()].concat()
}

fn chunked(body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes()
}

fn sizes() -> Vec<Vector> {
    let mut all = Vec::new();
    for size in [
        "",
        " 5",
        "\t5",
        "+5",
        "-5",
        "0x5",
        "0X5",
        "x5",
        "5h",
        "5g",
        "g",
        "5_0",
        "5.0",
        "5,",
        "\"5\"",
        "5 5",
        "5 0",
        "5\t5",
        "\u{ff15}",
        "\x005",
        "5\0",
        "10000000000000000",
        "fffffffffffffffff",
        "ffffffffffffffff",
        "8000000000000000",
        "100000000000000000000005",
        "00000000000000005",
        "5\x0b",
        "5\x0c",
        "5#",
        "5=a",
        "5:",
    ] {
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n");
        all.push(vector(format!("chunk size {size:?}"), chunked(&body), Refused(400)));
    }
    for size in ["5", "05", "0000000000000005", "5 ", "5\t ", "5  \t"] {
        all.push(vector(format!("chunk size {size:?}"), chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")), Passes));
    }
    all.push(vector(
        "sizes in upper and lower case",
        chunked("A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n"),
        Passes,
    ));
    all.push(vector("many small chunks", chunked(&("1\r\nx\r\n".repeat(500) + "0\r\n\r\n")), Passes));
    all.push(vector("a last chunk alone", chunked("0\r\n\r\n"), Passes));
    let inner = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n";
    let sized = |size: usize| chunked(&format!("{size:x}\r\n{inner}\r\n0\r\n\r\n"));
    all.push(vector("a chunk that is a request", sized(inner.len()), Passes));
    all.push(vector("a chunk that ends before its request does", sized(inner.len() - 4), Refused(400)));
    all
}

fn extensions() -> Vec<Vector> {
    let mut all = Vec::new();
    for extension in [";a", ";a=b", ";a=\"b\"", ";a=b;c", " ;a=b", "; a = b", ";", ";;", ";a=\"b;c\"", ";a=\u{fc}"] {
        let body = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        all.push(vector(format!("chunk extension {extension:?}"), chunked(&body), Passes));
    }
    for extension in [
        ";a\n",
        "\n",
        ";a\r",
        "\r",
        "\r\r",
        ";a=\"\r\n\"",
        ";\n\r",
        ";a\0",
        ";\x01",
        ";\x7f",
        " a",
        " 5;b",
        "a;b\r",
        ";a\nb",
        "\n;a",
    ] {
        let body = format!("5{extension}\r\nhello\r\n0\r\n\r\n");
        all.push(vector(format!("chunk extension {extension:?}"), chunked(&body), Refused(400)));
    }
    let flood = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(2_000));
    all.push(vector("a chunk extension of 2 000 bytes", chunked(&flood), Refused(400)));
    let padding = format!("5{}\r\nhello\r\n0\r\n\r\n", " ".repeat(2_000));
    all.push(vector("2 000 spaces behind a size", chunked(&padding), Refused(400)));
    all
}

/// Where a chunk's data, and the message, end.
fn ends() -> Vec<Vector> {
    let mut all = Vec::new();
    for (name, body) in [
        ("data longer than its size", "5\r\nhello!\r\n0\r\n\r\n"),
        ("data shorter than its size", "6\r\nhello\r\n0\r\n\r\n"),
        ("LF behind data", "5\r\nhello\n0\r\n\r\n"),
        ("CR behind data", "5\r\nhello\r0\r\n\r\n"),
        ("nothing behind data", "5\r\nhello0\r\n\r\n"),
        ("CRCRLF behind data", "5\r\nhello\r\r\n0\r\n\r\n"),
        ("LFCR behind data", "5\r\nhello\n\r0\r\n\r\n"),
        ("an empty line between chunks", "5\r\nhello\r\n\r\n0\r\n\r\n"),
        ("LF behind the last size", "5\r\nhello\r\n0\n\r\n"),
        ("LF at the end", "5\r\nhello\r\n0\r\n\n"),
        ("LF at both ends", "5\r\nhello\r\n0\n\n"),
        ("CR alone at the end", "5\r\nhello\r\n0\r\n\rX"),
        ("no empty line at the end", "5\r\nhello\r\n0\r\n5\r\nhello\r\n\r\n"),
        ("LF behind a size", "5\nhello\r\n0\r\n\r\n"),
        ("an empty first line", "\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "hello\r\n0\r\n\r\n"),
        ("NUL for an end", "5\r\nhello\0\r\n0\r\n\r\n"),
    ] {
        all.push(vector(format!("chunk end: {name}"), chunked(body), Refused(400)));
    }
    all
}

fn trailers() -> Vec<Vector> {
    let mut all = Vec::new();
    let with = |trailers: &str| chunked(&format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
    for trailers in [
        "X: y\r\n",
        "X: 1\r\nx: 2\r\n",
        "X:\r\n",
        "X-\u{fc}: y\r\n",
        "X: \u{fc}\r\n",
        "Date: x\r\nETag: \"y\"\r\n",
        "X: a:b\r\n",
    ] {
        let verdict = if trailers.starts_with("X-") { Refused(400) } else { Passes };
        all.push(vector(format!("trailer {trailers:?}"), with(trailers), verdict));
    }
    for trailers in [
        "Content-Length: 30\r\n",
        "content_length: 30\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: b\r\n",
        "X: y\r\nHOST: b\r\n",
        "l5d-client-id: admin\r\n",
        "minimesh-error: x\r\n",
        "X : y\r\n",
        "X\t: y\r\n",
        " X: y\r\n",
        "X: y\r\n z\r\n",
        ": y\r\n",
        "X\r\n",
        "X y\r\n",
        "GET /smuggled HTTP/1.1\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n",
        "X: \0\r\n",
        "X: \x01\r\n",
        "X: y\n",
        "X: y\nZ: z\r\n",
        "X: y\rZ: z\r\n",
        "X\0: y\r\n",
        "X(: y\r\n",
    ] {
        all.push(vector(format!("trailer {trailers:?}"), with(trailers), Refused(400)));
    }
    all.push(vector("200 trailers", with(&"X: y\r\n".repeat(200)), Passes));
    all.push(vector("3 000 trailers", with(&"X: y\r\n".repeat(3_000)), Refused(400)));
    all.push(vector("a trailer of 9 000 bytes", with(&format!("X: {}\r\n", "y".repeat(9_000))), Refused(400)));
    all
}
