//! Hostile bytes of an application: what a client gets is one whole response as it was sent, or 502.

use super::*;

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// All of it, byte for byte.
    Passes,
    /// 502, and not one byte of it.
    Refused,
}

/// What an application answers, to which request, and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    request: &'static [u8],
    bytes: Vec<u8>,
    fate: Fate,
    /// The application ends its connection behind it.
    ends: bool,
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";

pub(super) fn vectors() -> Vec<Answer> {
    [status_lines(), framings(), lines(), interim(), chunks()].concat()
}

fn answer(bytes: impl Into<Vec<u8>>, fate: Fate) -> Answer {
    Answer { request: GET, bytes: bytes.into(), fate, ends: false }
}

fn status_lines() -> Vec<Answer> {
    let mut all = Vec::new();
    let head = |line: &str| format!("{line}\r\nContent-Length: 2\r\n\r\nok");
    for line in [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 ",
        "HTTP/1.1 200",
        "HTTP/1.1 200 a\tb",
        "HTTP/1.1 200 \u{fc}ber",
        "HTTP/1.1 299 x",
        "HTTP/1.1 418 I'm a teapot",
        "HTTP/1.1 599 x",
        "HTTP/1.1 600 x",
        "HTTP/1.1 999 x",
        "HTTP/1.1 200 HTTP/1.1 200 OK",
        "HTTP/1.1 226 IM Used",
        "HTTP/1.1 451 Unavailable",
        "HTTP/1.1 205 Reset Content",
        "HTTP/1.1 206 Partial Content",
        "HTTP/1.1 407 x",
        "HTTP/1.1 426 x",
        "HTTP/1.1 511 x",
    ] {
        all.push(answer(head(line), Fate::Passes));
    }
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1 099 x",
        "HTTP/1.1 000 x",
        "HTTP/1.1 2.0 OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.2 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200",
        "HTTP/0.9 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.10 200 OK",
        "HTTP/11 200 OK",
        "ICY 200 OK",
        "RTSP/1.0 200 OK",
        " HTTP/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK",
        "\nHTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\x01K",
        "HTTP/1.1 200 O\x7fK",
        "HTTP/1.1 200 O\rK",
        "<html>",
        "GET / HTTP/1.1",
        "HTTP/1.1 \u{ff12}00 OK",
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        all.push(answer(head(line), Fate::Refused));
    }
    // nobody asked for it
    all.push(answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", Fate::Refused));
    all
}

fn framings() -> Vec<Answer> {
    let mut all = Vec::new();
    let head = |lines: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}");
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\x0b\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nX: y\r\ncontent-length: 15\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: five\r\n",
        "Content-Length:\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 5\r\n",
    ] {
        all.push(answer(head(lines, CHUNKS), Fate::Refused));
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    all.push(answer(old, Fate::Refused));
    for lines in [
        "Content-Length: 5\r\n",
        "content-length:5\r\n",
        "CONTENT-LENGTH:  005 \r\n",
        "X: y\r\nContent-Length: 5\r\nZ:\r\n",
    ] {
        all.push(answer(head(lines, "hello"), Fate::Passes));
    }
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:Chunked\r\n",
        "Transfer-Encoding: chunked\r\nTrailer: X\r\n",
    ] {
        all.push(answer(head(lines, CHUNKS), Fate::Passes));
    }
    for lines in ["", "Content-Length: 2000\r\n", "Transfer-Encoding: chunked\r\n"] {
        all.push(Answer { request: HEAD, ..answer(head(lines, ""), Fate::Passes) });
        let bytes = format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n");
        all.push(answer(bytes, Fate::Passes));
    }
    all.push(answer("HTTP/1.1 204 No Content\r\n\r\n", Fate::Passes));
    all.push(Answer { ends: true, ..answer(head("", "until the end"), Fate::Passes) });
    all.push(Answer { ends: true, ..answer("HTTP/1.0 200 OK\r\n\r\nuntil the end", Fate::Passes) });
    all.push(Answer {
        ends: true,
        ..answer(head("Connection: close\r\nContent-Length: 5\r\n", "hello"), Fate::Passes)
    });
    all
}

fn lines() -> Vec<Answer> {
    let mut all = Vec::new();
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
    for lines in [
        "X : y\r\n",
        "X\t: y\r\n",
        " X: y\r\n",
        ": y\r\n",
        "X\r\n",
        "X y: z\r\n",
        "X(: y\r\n",
        "X\0: y\r\n",
        "X: \0\r\n",
        "X: y\x01\r\n",
        "X: \x7f\r\n",
        "X: y\r\n z\r\n",
        "X: y\r\n\tz\r\n",
        "X: y\n",
        "X: y\rz\r\n",
        "X: y\r\r\n",
        "X\u{fc}: y\r\n",
        "Content-Length: 3\n",
    ] {
        all.push(answer(head(lines), Fate::Refused));
    }
    for bytes in [
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok",
        "HTTP/1.1 200 OK\r\r\nContent-Length: 2\r\n\r\nok",
    ] {
        all.push(answer(bytes, Fate::Refused));
    }
    for lines in [
        "Set-Cookie: a\r\nset-cookie: b\r\nSET-COOKIE: a\r\n",
        "X:\r\nY: \t\r\n",
        "X: \u{fc}\u{20ac}\r\n",
        "Server: a\r\nVia: 1.1 b\r\nDate: never\r\n",
        "Keep-Alive: timeout=5, max=9\r\nConnection: keep-alive\r\n",
        "x-LOWER: a\r\nX-lower: b\r\n",
        "Location: http://b/c#d\r\nAlt-Svc: h2=\":443\"\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Proxy-Authenticate: x\r\nWWW-Authenticate: Basic, Digest\r\n",
    ] {
        all.push(answer(head(lines), Fate::Passes));
    }
    all.push(answer(head(&"X: y\r\n".repeat(255)), Fate::Passes));
    all.push(answer(head(&"X: y\r\n".repeat(256)), Fate::Refused));
    all.push(answer(head(&format!("X: {}\r\n", "y".repeat(60_000))), Fate::Passes));
    all.push(answer(head(&format!("X: {}\r\n", "y".repeat(70_000))), Fate::Refused));
    all.push(answer(format!("HTTP/1.1 200 {}\r\n\r\n", "y".repeat(70_000)), Fate::Refused));
    all
}

fn interim() -> Vec<Answer> {
    let end = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let before = |interim: &str| answer(format!("{interim}{end}"), Fate::Passes);
    vec![
        before("HTTP/1.1 100 Continue\r\n\r\n"),
        before("HTTP/1.1 100\r\n\r\n"),
        before("HTTP/1.1 102 Processing\r\n\r\n"),
        before("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nlink: </b>\r\n\r\n"),
        before("HTTP/1.1 199 \u{fc}\r\nX: y\r\n\r\n"),
        before("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        before(&"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(2_000)),
    ]
}

/// Garbage where a chunk is to be, in the same segment as the head.
fn chunks() -> Vec<Answer> {
    let head = |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let mut all = Vec::new();
    for body in [
        "hello",
        "5\nhello\n0\n\n",
        "-5\r\nhello",
        "0x5\r\nhello",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "10000000000000000\r\n",
        "5 5\r\nhello",
        "5;\n\r\nhello",
        "\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nminimesh-error: not_delivered\r\n\r\n",
        "0\r\n\rX",
        "0\r\nX\r\n\r\n",
    ] {
        all.push(answer(head(body), Fate::Refused));
    }
    for body in ["0\r\n\r\n", "5;a=b\r\nhello\r\n0;c\r\nX: y\r\nx: z\r\n\r\n", "00A \r\n0123456789\r\n000\r\n\r\n"] {
        all.push(answer(head(body), Fate::Passes));
    }
    all
}

/// An application that answers every request with what it is told to.
async fn told() -> (SocketAddr, Rc<RefCell<Answer>>) {
    let told = Rc::new(RefCell::new(answer("", Fate::Passes)));
    let telling = Rc::clone(&told);
    let address = app(move |mut peer| {
        let told = Rc::clone(&telling);
        async move {
            while peer.head().await.is_some() {
                let Answer { bytes, ends, .. } = told.borrow().clone();
                peer.send(&bytes).await;
                if ends {
                    return;
                }
            }
        }
    })
    .await;
    (address, told)
}

#[tokio::test(flavor = "local")]
async fn a_client_gets_one_whole_response_as_it_was_sent_or_502() {
    let mesh = Mesh::new();
    let (app, told) = told().await;
    let server = mesh.server("catalogue", app);
    for endpoint in [server.endpoint(), unmeshed(app)] {
        mesh.service(Protocol::Http1, vec![endpoint]);
        for answer in vectors() {
            *told.borrow_mut() = answer.clone();
            let mut client = mesh.connect().await;
            client.send(answer.request).await;
            let what = &shown(&answer.bytes)[..shown(&answer.bytes).len().min(300)];
            match answer.fate {
                Fate::Passes => {
                    let got = client.exactly(answer.bytes.len()).await;
                    assert!(
                        got.as_deref() == Some(&*answer.bytes),
                        "{what}: {} {}",
                        shown(&got.unwrap_or_default()),
                        shown(&client.left)
                    );
                }
                Fate::Refused => {
                    let got = client.message().await.unwrap_or_default();
                    let got = String::from_utf8_lossy(&got);
                    let refused =
                        got.starts_with("HTTP/1.1 502 ") && got.contains("minimesh-error: upstream_malformed");
                    assert!(refused && got.matches("HTTP/1.").count() == 1, "{what}: {got}");
                }
            }
            assert!(client.left.is_empty(), "{what}: {}", shown(&client.left));
        }
    }
}

#[tokio::test(flavor = "local")]
async fn garbage_in_the_middle_of_a_body_is_no_end_of_it() {
    let app = app(|mut peer| async move {
        while peer.head().await.is_some() {
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
            // the client asks on when it has read so far
            peer.exactly(1).await;
            peer.send(b"0\n\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
        }
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", app);
    for endpoint in [server.endpoint(), unmeshed(app)] {
        mesh.service(Protocol::Http1, vec![endpoint]);
        let mut client = mesh.connect().await;
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").await;
        client.head().await.expect("a head");
        assert_eq!(client.exactly(10).await.as_deref(), Some(&b"5\r\nhello\r\n"[..]));
        client.send(b"x").await;
        assert!(client.is_reset().await);
        assert_eq!(shown(&client.left), "");
    }
}
