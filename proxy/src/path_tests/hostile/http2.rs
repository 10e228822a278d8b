//! HTTP/2 frame by frame, as no library sends them: floods, games with windows, bombs; and those who share a connection with
//! somebody who does that.

use super::super::http2::{Caller, read_body, request, send_all, serve};
use super::*;
use ::http::{Method, Response};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method GET`, `:scheme http`, `:path /` by index, `:authority a`.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];
/// The same with `:method POST`.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// Odd numbers from 1.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// Sends frames after a greeting, and reads to the end or until nothing more can come.
struct Raw(Client);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With a GOAWAY of this code.
    GoAway(u32),
    /// Without a word.
    Silent,
}

impl Raw {
    async fn connect(address: SocketAddr) -> Raw {
        let tcp = TcpStream::connect(address).await.expect("listener");
        let mut client = Client { tcp, left: Vec::new() };
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        Raw(client)
    }

    /// Sends again and again until the other side has had enough; what it says is read meanwhile.
    async fn flood(self, begin: &[u8], again: &[u8], times: usize) -> End {
        let Client { tcp, .. } = self.0;
        let (mut read, mut write) = tcp.into_split();
        let (begin, again) = (begin.to_vec(), again.repeat(64));
        let writing = tokio::task::spawn_local(async move {
            let mut sent = write.write_all(&begin).await;
            for _ in 0..times.div_ceil(64) {
                if sent.is_err() {
                    break;
                }
                sent = write.write_all(&again).await;
            }
            let _ = write.shutdown().await;
        });
        let mut got = Vec::new();
        let _ = read.read_to_end(&mut got).await;
        writing.abort();
        ending(&got)
    }
}

/// The first GOAWAY with a code other than NO_ERROR among the frames that were read.
fn ending(mut got: &[u8]) -> End {
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = got {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        if *kind == GOAWAY {
            let code = payload[4..8].iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
            if code != 0 {
                return End::GoAway(code);
            }
        }
        got = rest;
    }
    End::Silent
}

/// An HTTP/2 application that answers at once, and a pair in front of it.
async fn answering() -> (Mesh, Server) {
    let app = serve(|request, mut respond| async move {
        drop(request);
        let _ = respond.send_response(Response::new(()), true);
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    (mesh, server)
}

fn violations(proxy: &Proxy) -> f64 {
    let text = super::super::policy::scrape(&proxy.metrics);
    let series = text.lines().filter(|line| !line.starts_with('#') && line.contains("error=\"protocol_violation\""));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// What breaks a connection: what is sent after the greeting, and then again and again. Its end is a GOAWAY, or, where the peer is
/// still sending, an RST that overtakes it.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>, usize)> {
    let nothing = Vec::new;
    let get = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
    let post = |stream| frame(HEADERS, END_HEADERS, stream, POST);
    let rapid: Vec<u8> = streams(2_000).flat_map(|stream| [get(stream), reset(stream)].concat()).collect();
    // each would make us reset a stream: a window update of nothing, a window beyond 2^31
    let made: Vec<u8> = streams(1_000).flat_map(|stream| [post(stream), window_update(stream, 0)].concat()).collect();
    let overflow: Vec<u8> =
        streams(1_000).flat_map(|stream| [post(stream), window_update(stream, 0x7fff_ffff)].concat()).collect();
    let unfinished = frame(HEADERS, END_STREAM, 1, GET);
    vec![
        ("rapid reset", rapid, nothing(), 0),
        ("made you reset, by window updates of 0", made, nothing(), 0),
        ("made you reset, by windows too large", overflow, nothing(), 0),
        ("CONTINUATION of nothing", unfinished.clone(), frame(CONTINUATION, 0, 1, &[]), 100_000),
        ("CONTINUATION of headers", unfinished, frame(CONTINUATION, 0, 1, &[0x82; 1000]), 10_000),
        ("empty DATA", post(1), frame(DATA, 0, 1, &[]), 100_000),
        ("window of the connection", nothing(), window_update(0, 0x7fff_ffff), 100),
        ("window updates of 0", nothing(), window_update(0, 0), 100),
        ("windows too large by SETTINGS", nothing(), setting(4, 0x8000_0000), 100),
        ("frames too large", setting(5, 0x00ff_ffff), frame(PING, 0, 0, &[0; 20_000]), 10),
        ("PUSH_PROMISE of a client", get(1), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), 10),
        ("streams of a server", nothing(), frame(HEADERS, END_STREAM | END_HEADERS, 2, GET), 10),
        ("HPACK that is none", nothing(), frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 40]), 1),
    ]
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_floods_is_ended_counted_and_nobody_elses_concern() {
    let (mesh, server) = answering().await;
    let caller = Caller::new(mesh.client.address).await;
    for (address, proxy) in [(mesh.client.address, &mesh.client), (server.proxy.address, &server.proxy)] {
        for (name, begin, again, times) in floods() {
            let before = violations(proxy);
            let end = Raw::connect(address).await.flood(&begin, &again, times).await;
            assert_eq!(violations(proxy) - before, 1.0, "{name}: {end:?}");
            assert_eq!(caller.get("/").await.expect("an answer").status, 200, "{name}");
        }
    }
}

/// What costs us no more than reading it.
#[tokio::test(flavor = "local")]
async fn what_is_allowed_is_answered_however_often() {
    let (mesh, _server) = answering().await;
    let caller = Caller::new(mesh.client.address).await;
    for (name, again) in [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", setting(3, 100)),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7])),
        ("an unknown frame", frame(0xbe, 0xff, 1, &[7; 100])),
        ("windows up and down", [setting(4, 0), setting(4, 65_535)].concat()),
    ] {
        let end = Raw::connect(mesh.client.address).await.flood(&[], &again, 20_000).await;
        assert_eq!(end, End::Silent, "{name}");
        assert_eq!(caller.get("/").await.expect("an answer").status, 200, "{name}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_bomb_of_headers_is_not_unpacked() {
    let (mesh, _server) = answering().await;
    // 4 000 bytes put into the table, then named in one byte each: 60 MB out of 20 KB
    let value = [b'x'; 4_000];
    let mut block = [GET, &[0x40, 1, b'b', 0x7f, 0xa1, 0x1e], &value].concat();
    block.extend([0xbe; 12_000]);
    let mut raw = Raw::connect(mesh.client.address).await;
    raw.0.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block[..16_000])).await;
    raw.0.send(&frame(HEADERS, END_STREAM | END_HEADERS, 3, GET)).await;
    // refused by itself, or with its connection
    let _ = tokio::time::timeout(
        Duration::from_secs(5),
        raw.0.read_until(|bytes| {
            let answered = bytes.windows(9).any(|head| head[3] == HEADERS && head[5..9] == [0, 0, 0, 1]);
            (answered || ending(bytes) != End::Silent).then_some(0)
        }),
    )
    .await
    .expect("an end");
    assert_eq!(Caller::new(mesh.client.address).await.get("/").await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "local")]
async fn bytes_sent_one_by_one_to_a_slow_reader_are_no_attack_on_whom_he_shares_with() {
    let mesh = Mesh::new();
    let go = Rc::new(tokio::sync::Notify::new());
    let wait = Rc::clone(&go);
    let app = serve(move |request, mut respond| {
        let wait = Rc::clone(&wait);
        async move {
            if request.uri().path() == "/slow" {
                wait.notified().await;
            }
            let count = read_body(&mut request.into_body()).await.map_or(0, |body| body.len());
            let response = Response::builder().header("x-count", count).body(()).expect("valid");
            let _ = respond.send_response(response, true);
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut builder = ::h2::client::Builder::new();
    builder.max_send_buffer_size(1 << 22);
    let caller = Caller::with(mesh.client.address, &builder).await;
    let mut slow = Vec::new();
    const SIZE: usize = 60_000;
    for _ in 0..6 {
        let (response, mut stream) = caller.begin(request(Method::POST, "/slow")).await;
        let sending = tokio::task::spawn_local(async move {
            for _ in 0..SIZE {
                send_all(&mut stream, b"x", false).await.expect("sent");
            }
            stream.send_data(Default::default(), true).expect("sent");
        });
        slow.push((response, sending));
    }
    for _ in 0..20 {
        assert_eq!(caller.get("/").await.expect("an answer").status, 200);
    }
    go.notify_waiters();
    let size = SIZE.to_string();
    for (response, sending) in slow {
        // whoever comes later waits for nobody
        go.notify_one();
        assert_eq!(response.await.expect("an answer").headers()["x-count"], *size);
        sending.await.expect("no panic");
    }
    assert_eq!(violations(&server.proxy) + violations(&mesh.client), 0.0);
}
