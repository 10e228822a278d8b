//! Many requests while endpoints come and go, leave politely, and certificates renew: none lost, none twice, none altered.

use super::churn::{Log, assert_each_once, churn, note};
use super::*;

/// Echoes, and notes every request's id.
async fn noting(log: Log) -> SocketAddr {
    app(move |mut peer| {
        let log = Rc::clone(&log);
        async move {
            while let Some(message) = peer.message().await {
                let line = String::from_utf8_lossy(&message[..message.len().min(60)]).into_owned();
                note(&log, line.split(' ').nth(1).expect("a path"));
                let body = message.windows(4).position(|four| four == b"\r\n\r\n").expect("head") + 4;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", message.len() - body);
                peer.send(&[head.as_bytes(), &message[body..]].concat()).await;
            }
        }
    })
    .await
}

fn message(client: usize, n: usize) -> (Vec<u8>, Vec<u8>) {
    let size = match (client * 31 + n * 17) % 10 {
        0 => (n * 7919) % 200_000 + 1,
        _ => (n * 613 + client) % 4_000 + 1,
    };
    let body: Vec<u8> = (0..size).map(|at| (at * 31 + client * 7 + n) as u8).collect();
    if n.is_multiple_of(3) {
        let mut chunked = Vec::new();
        for part in body.chunks(5_000) {
            chunked.extend(format!("{:X}\r\n", part.len()).bytes());
            chunked.extend(part);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\n\r\n");
        let head = format!("PUT /{client}-{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        return ([head.as_bytes(), &chunked].concat(), chunked);
    }
    let head = format!("POST /{client}-{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    ([head.as_bytes(), &body].concat(), body)
}

async fn client(address: SocketAddr, client: usize, count: usize) {
    let open = || async move {
        let tcp = TcpStream::connect(address).await.expect("listener");
        tcp.set_nodelay(true).expect("nodelay");
        Client { tcp, left: Vec::new() }
    };
    let mut peer = open().await;
    for n in 0..count {
        let (request, body) = message(client, n);
        peer.send(&request).await;
        let response = peer.message().await.expect("a response");
        let head = String::from_utf8_lossy(&response[..response.len().min(400)]).into_owned();
        assert!(response.starts_with(b"HTTP/1.1 200 ") && response.ends_with(&body), "{client}-{n}: {head}");
        if head.to_ascii_lowercase().contains("connection: close") || n % 40 == 39 {
            peer = open().await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn nothing_is_lost_while_everything_changes() {
    const CLIENTS: usize = 6;
    const REQUESTS: usize = 250;
    let mesh = Rc::new(Mesh::new());
    let log = Log::default();
    let changing = churn(&mesh, &log, noting).await;
    let address = mesh.client.address;
    let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::task::spawn_local(client(address, n, REQUESTS))).collect();
    for client in clients {
        client.await.expect("no request failed");
    }
    changing.abort();
    assert_each_once(&log, CLIENTS * REQUESTS);
}
