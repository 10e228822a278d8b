//! Answers on a connection whose server leaves: what it sent arrives, whatever is written to it meanwhile.
//!
//! Frames by hand: the moments at which a socket is read, written and closed are what these tests are about.

use tokio::sync::oneshot;

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Data in frames of the size that every peer takes.
fn body(length: usize, end: bool) -> Vec<u8> {
    let sizes: Vec<_> = std::iter::repeat_n(16_384, length / 16_384).chain(Some(length % 16_384)).collect();
    let last = sizes.len() - 1;
    let frames = sizes.iter().enumerate().map(|(at, size)| {
        let flags = if end && at == last { END_STREAM } else { 0 };
        frame(DATA, flags, 1, &vec![7; *size])
    });
    frames.collect::<Vec<_>>().concat()
}

impl Client {
    /// The next frame that is not one of the given stream's data: its type and flags.
    async fn frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let head = self.exactly(9).await?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        Some((head[3], head[4], self.exactly(length).await?))
    }

    async fn until(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (kind, flags, payload) = self.frame().await.expect("an open connection");
            if kind == wanted && flags & ACK == 0 || kind == HEADERS && wanted == HEADERS {
                return payload;
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_in_the_kernel_survives_the_end_of_its_connection() {
    const ANSWER: usize = 1_000_000;
    const WIDE: [u8; 4] = [0, 0xff, 0xff, 0xff];
    let (go, gone) = oneshot::channel();
    let gone = Rc::new(Cell::new(Some(gone)));
    let app = serve(move |_, mut respond| {
        let gone = gone.take().expect("one request");
        async move {
            let mut to = respond.send_response(Response::new(()), false).expect("sent");
            gone.await.expect("said");
            send_all(&mut to, &[7; ANSWER], true).await.expect("sent");
        }
    })
    .await;
    let mesh = Mesh::new();
    let Server { mut proxy, .. } = mesh.server("catalogue", app);

    // a client that takes little at once, so that much waits in the kernel
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    let tcp = socket.connect(proxy.address).await.expect("inbound listener");
    tcp.set_nodelay(true).expect("nodelay");
    let mut client = Client { tcp, left: Vec::new() };
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(&frame(SETTINGS, 0, 0, &[&[0, 4][..], &WIDE].concat())).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &WIDE)).await;
    // GET, http, /, an authority: RFC 7541 appendix A
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])).await;
    client.until(HEADERS).await;

    let drain = proxy.drain.take().expect("once");
    let draining = tokio::task::spawn_local(drain.drain(Duration::from_secs(60)));
    client.until(GOAWAY).await;
    let ping = client.until(PING).await;
    client.send(&frame(PING, ACK, 0, &ping)).await;
    client.until(GOAWAY).await;
    go.send(()).expect("awaited");

    let mut got = 0;
    let ended = loop {
        let (kind, flags, payload) = client.frame().await.unwrap_or_else(|| panic!("cut off after {got} bytes"));
        if kind == DATA {
            got += payload.len();
            client.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
        }
        if kind == DATA && flags & END_STREAM != 0 {
            break got;
        }
    };
    assert_eq!(ended, ANSWER);
    drop(client);
    draining.await.expect("drained");
}

#[tokio::test(flavor = "local")]
async fn what_a_server_sent_before_it_reset_its_connection_is_passed_on() {
    // enough for its window to be opened again while the rest is awaited, and all of it less than a socket takes at once
    const BEGIN: usize = 46_000;
    const REST: usize = 8_000;
    for turns in 0..40 {
        let app = app(move |mut peer| async move {
            peer.exactly(24).await.expect("the preface");
            peer.send(&frame(SETTINGS, 0, 0, &[])).await;
            peer.until(HEADERS).await;
            // status 200
            peer.send(&[frame(HEADERS, END_HEADERS, 1, &[0x88]), body(BEGIN, false)].concat()).await;
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            peer.send(&body(REST, true)).await;
            peer.tcp.set_zero_linger().expect("linger");
        })
        .await;
        let mesh = Mesh::new();
        mesh.service(Protocol::Detect, vec![unmeshed(app)]);
        let caller = Caller::new(mesh.client.address).await;
        let answer = caller.get("/").await.unwrap_or_else(|error| panic!("after {turns} turns: {error}"));
        assert_eq!((answer.status, answer.body.len()), (200, BEGIN + REST));
    }
}
