//! Who comes late: a meshed peer whose ClientHello does, while the application is dialled, as it might have been the one to speak; and
//! a client that only connects, and whose request finds another application.

use super::*;

/// An application with one thread: it gives itself to a connection until its end, and waits for what that has to say.
async fn one_at_a_time() -> (SocketAddr, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (accepted, count) = counter();
    tokio::task::spawn_local(async move {
        loop {
            let (tcp, _) = listener.accept().await.expect("accept");
            accepted.set(accepted.get() + 1);
            let mut peer = Client { tcp, left: Vec::new() };
            while peer.message().await.is_some() {
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    });
    (address, count)
}

/// A way to `server` that lets nothing pass before its application has been dialled `dialled` times.
async fn slow_way(server: SocketAddr, dialled: Rc<Cell<usize>>) -> SocketAddr {
    app(move |mut peer| {
        let dialled = Rc::clone(&dialled);
        async move {
            let mut onward = TcpStream::connect(server).await.expect("inbound listener");
            while dialled.get() == 0 {
                tokio::task::yield_now().await;
            }
            // and before what it may say has come to the proxy: nothing of that gets to who is late
            let _ = tokio::time::timeout(Duration::from_millis(10), onward.readable()).await;
            // an end without TLS' goodbye is an error of the one that is gone
            let _ = tokio::io::copy_bidirectional(&mut peer.tcp, &mut onward).await;
        }
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn the_connection_that_was_opened_meanwhile_serves_the_request() {
    let mesh = Mesh::new();
    let (app, accepted) = one_at_a_time().await;
    let server = mesh.server("catalogue", app);
    let way = slow_way(server.proxy.address, Rc::clone(&accepted)).await;
    let identity = server.proxy.identity.as_str().into();
    mesh.service(Protocol::Http1, vec![endpoint(way, Transport::MutualTls { identity })]);
    let response = mesh.connect().await.get().await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert_eq!(accepted.get(), 1, "no connection keeps the application waiting");
}

#[tokio::test(flavor = "local")]
async fn an_application_that_speaks_at_once_does_not_speak_into_the_handshake() {
    let mesh = Mesh::new();
    let (accepted, count) = counter();
    let app = app(move |mut peer| {
        accepted.set(accepted.get() + 1);
        async move {
            peer.send(b"220 hello\r\n").await;
            peer.rest().await;
        }
    })
    .await;
    let server = mesh.server("catalogue-db", app);
    let way = slow_way(server.proxy.address, Rc::clone(&count)).await;
    let identity = server.proxy.identity.as_str().into();
    mesh.service(Protocol::Opaque, vec![endpoint(way, Transport::MutualTls { identity })]);
    assert_eq!(mesh.connect().await.exactly(11).await.as_deref(), Some(&b"220 hello\r\n"[..]));
    assert_eq!(count.get(), 1, "the connection that was opened meanwhile is the one");
}

#[tokio::test(flavor = "local")]
async fn who_was_greeted_in_the_place_of_a_handshake_dials_again() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue-db", app(|mut peer| async move { peer.send(b"220 hello\r\n").await }).await);
    let (onward, (dialled, count)) = (server.proxy.address, counter());
    // a proxy that holds us for somebody without a mesh, as it may where we are late: twice, and then no more
    let way = app(move |mut peer| {
        dialled.set(dialled.get() + 1);
        let late = dialled.get() < 3;
        async move {
            if late {
                peer.send(b"220 hello\r\n").await;
                // until the other end is gone
                let _ = peer.exactly(usize::MAX).await;
                return;
            }
            let mut onward = TcpStream::connect(onward).await.expect("inbound listener");
            let _ = tokio::io::copy_bidirectional(&mut peer.tcp, &mut onward).await;
        }
    })
    .await;
    let identity = server.proxy.identity.as_str().into();
    mesh.service(Protocol::Opaque, vec![endpoint(way, Transport::MutualTls { identity })]);
    assert_eq!(mesh.connect().await.exactly(11).await.as_deref(), Some(&b"220 hello\r\n"[..]));
    assert_eq!(count.get(), 3);
}

#[tokio::test(flavor = "local")]
async fn an_application_that_ends_takes_no_silent_client_along() {
    let mesh = Mesh::new();
    let (accepted, ended) = counter();
    let leaving = app(move |peer| {
        accepted.set(accepted.get() + 1);
        // without a word: a FIN
        async move { drop(peer) }
    })
    .await;
    let servers = [mesh.server("catalogue", leaving), mesh.server("catalogue", echo().await)];
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    // chance decides to whom the connection goes that is opened for a silent client
    while ended.get() == 0 {
        let mut client = mesh.connect().await;
        let mut byte = [0];
        let heard = tokio::time::timeout(Duration::from_millis(50), client.tcp.peek(&mut byte)).await;
        assert!(heard.is_err(), "{heard:?}: the client was ended too");
        let response = client.get().await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
}
