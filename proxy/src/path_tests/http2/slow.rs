//! Clients of HTTP/2 that begin and do not end, and those that have nothing to say: nobody holds a connection for ever.

use minimesh_identity::Alpn;

use super::super::lingering::as_peer;
use super::super::repeats::counter_of;
use super::*;
use crate::io::Buffer;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// HEADERS of stream 1 with END_STREAM and without END_HEADERS, `:method: GET` in them.
const HALF: &[u8] = b"\0\0\x01\x01\x01\0\0\0\x01\x82";

/// The last frame of what a connection said before its end: GOAWAY's code.
fn goaway(said: &[u8]) -> Option<u8> {
    let mut rest = said;
    let mut last = None;
    while rest.len() >= 9 {
        let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        let (kind, payload) = (rest[3], rest.get(9..9 + length)?);
        last = (kind == 7).then(|| payload[7]);
        rest = &rest[9 + length..];
    }
    last
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn half_a_head_is_waited_for_as_long_as_in_http_1() {
    let (mesh, server, _caller) = one_mirror().await;
    // in a block that goes on, in a frame's own head, in its payload
    let continued = [HALF, b"\0\0\x01\x09\0\0\0\0\x01\x86"].concat();
    for (address, half) in [
        (mesh.client.address, HALF),
        (server.proxy.address, HALF),
        (mesh.client.address, &continued),
        (mesh.client.address, b"\0\0\x01"),
        (mesh.client.address, b"\0\0\x09\x01\x05\0\0\0\x01\x82"),
    ] {
        let mut slow = Client { tcp: TcpStream::connect(address).await.expect("listener"), left: Vec::new() };
        slow.send(&[PREFACE, half].concat()).await;
        let began = tokio::time::Instant::now();
        let said = slow.rest().await;
        assert_eq!((began.elapsed().as_secs(), goaway(&said)), (60, Some(11)), "{said:02x?}: ENHANCE_YOUR_CALM");
    }
    assert_eq!(counter_of(&mesh, "minimesh_errors_total{direction=\"outbound\",error=\"head_timeout\"}"), 4);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_peer_that_never_greets_is_left() {
    let (mesh, server, _caller) = one_mirror().await;
    let mut silent = as_peer(&mesh, &server, Alpn::Http2).await;
    let began = tokio::time::Instant::now();
    let mut said = Buffer::default();
    while matches!(silent.fill(&mut said).await, Ok(1..)) {}
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_that_was_idle_for_an_hour_is_closed() {
    let (mesh, server, _caller) = one_mirror().await;
    for address in [mesh.client.address, server.proxy.address] {
        let mut caller = Caller::new(address).await;
        assert_eq!(caller.get("/").await.expect("an answer").status, 200);
        let began = tokio::time::Instant::now();
        // it answers the ping that comes with GOAWAY
        caller.connection.take().expect("the first").await.expect("no panic").expect("a clean end");
        let minutes = began.elapsed().as_secs() / 60;
        assert!((60..=62).contains(&minutes), "{minutes}");
    }
    // and one that does not
    let mut dead = Client { tcp: TcpStream::connect(mesh.client.address).await.expect("listener"), left: Vec::new() };
    dead.send(PREFACE).await;
    let began = tokio::time::Instant::now();
    dead.rest().await;
    let minutes = began.elapsed().as_secs() / 60;
    assert!((61..=63).contains(&minutes), "{minutes}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stream_that_lasts_keeps_its_connection() {
    let mesh = Mesh::new();
    let app = serve(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        while let Some(Ok(part)) = data(&mut body).await {
            to.send_data(part, false).expect("sent");
        }
        to.send_data(Bytes::new(), true).expect("sent");
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let (response, mut stream) = caller.begin(grpc("/a/Watch")).await;
    let mut body = response.await.expect("a head").into_body();
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    stream.send_data(Bytes::from_static(b"still here"), true).expect("sent");
    assert_eq!(read_body(&mut body).await.expect("a clean end"), b"still here");
}
