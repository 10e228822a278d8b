//! Many requests while endpoints come and go, leave politely, and certificates renew: none lost, none twice, none altered.

use std::cell::RefCell;
use std::collections::HashMap;

use super::*;

/// Mirrors, and notes every request's path.
async fn noting(log: &Rc<RefCell<HashMap<String, usize>>>) -> SocketAddr {
    let log = Rc::clone(log);
    serve(move |request, respond| {
        *log.borrow_mut().entry(request.uri().path().to_owned()).or_default() += 1;
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
    let log = Rc::default();
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(mesh.server("catalogue", noting(&log).await));
    }
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    let mut clients = Vec::new();
    let callers = [Caller::new(mesh.client.address).await, Caller::new(mesh.client.address).await];
    for n in 0..CLIENTS {
        clients.push(tokio::task::spawn_local(client(callers[n % 2].another(), n, REQUESTS)));
    }
    let changing = {
        let (mesh, log) = (Rc::clone(&mesh), Rc::clone(&log));
        tokio::task::spawn_local(async move {
            for round in 0usize.. {
                tokio::time::sleep(Duration::from_millis(40)).await;
                mesh.certify(&mesh.client);
                servers.iter().for_each(|server| mesh.certify(&server.proxy));
                // the oldest is marked for deletion, leaves the list, drains; a new one has come before
                servers.push(mesh.server("catalogue", noting(&log).await));
                let mut old = servers.remove(0);
                old.proxy.leaving();
                mesh.endpoints(servers.iter().map(Server::endpoint).collect());
                let drain = old.proxy.drain.take().expect("once");
                tokio::task::spawn_local(async move {
                    drain.drain(Duration::from_secs(20)).await;
                    drop(old);
                });
                // one that is listed and not there
                if round % 2 == 0 {
                    let gone = unmeshed(nobody().await);
                    mesh.endpoints(servers.iter().map(Server::endpoint).chain([gone]).collect());
                }
            }
        })
    };
    for client in clients {
        client.await.expect("no request failed");
    }
    changing.abort();
    let log = log.borrow();
    assert_eq!(log.len(), CLIENTS * REQUESTS);
    let twice: Vec<_> = log.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
