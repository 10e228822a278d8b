//! Many requests while endpoints come and go, leave politely, and certificates renew: none lost, none twice, none altered.

use super::*;
use crate::path_tests::churn::{Log, assert_each_once, churn, note};

/// Mirrors, and notes every request's path.
async fn noting(log: Log) -> SocketAddr {
    serve(move |request, respond| {
        note(&log, request.uri().path());
        async move { reflect(request, respond).await.unwrap_or(()) }
    })
    .await
}

async fn client(caller: Caller, client: usize, count: usize) {
    for n in 0..count {
        let size = match (client * 31 + n * 17) % 10 {
            0 => (n * 7919) % 200_000 + 1,
            _ => (n * 613 + client) % 4_000,
        };
        let body: Vec<u8> = (0..size).map(|at| (at * 31 + client * 7 + n) as u8).collect();
        let (response, mut stream) = caller.begin(request(Method::POST, &format!("/{client}-{n}"))).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-n", u64::try_from(n).expect("small").into());
        let upload = body.clone();
        let uploading = tokio::task::spawn_local(async move {
            send_all(&mut stream, &upload, false).await?;
            stream.send_trailers(trailers)
        });
        let answer = read(response.await.unwrap_or_else(|error| panic!("{client}-{n}: {error}"))).await;
        let answer = answer.unwrap_or_else(|error| panic!("{client}-{n}: {error}"));
        assert_eq!((answer.status, answer.header("minimesh-error")), (200, ""), "{client}-{n}");
        assert!(answer.body == body && answer.trailer("x-n") == n.to_string(), "{client}-{n}");
        uploading.await.expect("no panic").expect("sent");
    }
}

#[tokio::test(flavor = "local")]
async fn nothing_is_lost_while_everything_changes() {
    const CLIENTS: usize = 12;
    const REQUESTS: usize = 120;
    let mesh = Rc::new(Mesh::new());
    let log = Log::default();
    let changing = churn(&mesh, &log, noting).await;
    let mut clients = Vec::new();
    let callers = [Caller::new(mesh.client.address).await, Caller::new(mesh.client.address).await];
    for n in 0..CLIENTS {
        clients.push(tokio::task::spawn_local(client(callers[n % 2].another(), n, REQUESTS)));
    }
    for client in clients {
        client.await.expect("no request failed");
    }
    changing.abort();
    assert_each_once(&log, CLIENTS * REQUESTS);
}
