//! Life around requests: renewal, drain, metrics, sizes.

use minimesh_api::model::Security;

use super::*;

#[tokio::test(flavor = "local")]
async fn both_sides_count_the_same() {
    let (mesh, server) = one_server().await;
    let mut client = mesh.connect().await;
    for _ in 0..10 {
        client.get().await;
    }
    let (outbound, inbound) = (mesh.client.edge(), server.proxy.edge());
    assert_eq!((outbound.requests, inbound.requests), (10, 10));
    assert_eq!((outbound.successes, inbound.successes), (10, 10));
    assert_eq!(outbound.latency.count(), 10);
    assert_eq!(outbound.key.security, Security::Verified(id("catalogue").to_shared()));
    assert_eq!(inbound.key.security, Security::Verified(id("front-end").to_shared()));
    assert_eq!((outbound.tcp_opened, inbound.tcp_opened), (1, 1), "one connection carried all");
}

#[tokio::test(flavor = "local")]
async fn certificates_renew_while_traffic_flows() {
    let (mesh, server) = one_server().await;
    let mut client = mesh.connect().await;
    for n in 0..60 {
        match n % 6 {
            0 => mesh.certify(&mesh.client),
            3 => mesh.certify(&server.proxy),
            _ => {}
        }
        assert!(client.get().await.starts_with("HTTP/1.1 200 "), "{n}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_not_used_for_longer_than_the_certificate_that_it_presented() {
    let (mesh, server) = one_server().await;
    let short = |life| mesh.credentials(&mesh.authority, &mesh.client.identity, Duration::from_secs(life));
    mesh.client.control.credentials(short(2));
    let mut client = mesh.connect().await;
    client.get().await;
    // renewed in time: the peer, which knows the old one, must not be asked on the old connection after its end
    mesh.client.control.credentials(short(3600));
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(client.get().await.starts_with("HTTP/1.1 200 "));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.proxy.edge().tcp_opened, 2, "the second connection presented the second certificate");
}

#[tokio::test(flavor = "local")]
async fn a_leaving_pod_ends_its_connections_without_losing_a_request() {
    let (mesh, server) = one_server().await;
    let mut client = mesh.connect().await;
    assert!(client.get().await.starts_with("HTTP/1.1 200 "));
    server.proxy.leaving();
    for _ in 0..50 {
        assert!(client.get().await.starts_with("HTTP/1.1 200 "));
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_drain_lets_requests_finish_and_ends_the_idle() {
    let mesh = Mesh::new();
    let slow = app(|mut peer| async move {
        while peer.message().await.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let mut server = mesh.server("catalogue", slow);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut busy = mesh.connect().await;
    assert!(busy.get().await.starts_with("HTTP/1.1 200 "));
    busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let drained = server.proxy.drain.take().expect("once").drain(Duration::from_secs(5)).await;
    assert_eq!(drained, drain::Outcome::Drained);
    assert!(busy.head().await.expect("the answer").starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "local")]
async fn many_clients_many_sizes_nothing_lost_nothing_twice() {
    let mesh = Mesh::new();
    let servers = [mesh.server("catalogue", echo().await), mesh.server("catalogue", echo().await)];
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    let address = mesh.client.address;
    let clients: Vec<_> = (0..8u32)
        .map(|client| {
            tokio::task::spawn_local(async move {
                let tcp = TcpStream::connect(address).await.expect("listener");
                let mut peer = Client { tcp, left: Vec::new() };
                for n in 0..25u32 {
                    let size = (client * 7919 + n * n * 977) as usize % 120_000;
                    let body: Vec<u8> = (0..size).map(|at| (at as u32 * 31 + client + n) as u8).collect();
                    let head = format!("POST /{client}/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
                    peer.send(&[head.as_bytes(), &body].concat()).await;
                    let response = peer.message().await.expect("a response");
                    assert!(response.ends_with(&body), "{client}/{n}: {size}");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("client");
    }
    let total: u64 = servers.iter().map(|server| server.proxy.edge().requests).sum();
    assert_eq!(total, 200);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_unknown_address_of_the_cluster_is_waited_for_and_then_refused() {
    let mesh = Mesh::new();
    let response = mesh.connect().await.get().await;
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("discovery_unavailable"), "{response}");
    let mut silent = mesh.connect().await;
    assert!(silent.is_reset().await);
}

#[test]
fn two_workers_share_the_connections() {
    let app = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = app.local_addr().expect("bound");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.set_nonblocking(true).expect("nonblocking");
    let inbound = listener.local_addr().expect("bound");
    let metrics = Metrics::new(CODES);
    let (control, handle) = ControlHandle::fake(metrics, vec![]);
    let policy = DefaultPolicy::AllUnauthenticated;
    control.port(address.port(), PortPolicy { protocol: Protocol::Opaque, policy });
    let (trigger, watch) = drain::channel();
    let mut listeners = vec![listener];
    let threads: Vec<_> = crew(2)
        .into_iter()
        .enumerate()
        .map(|(index, seat)| {
            let config = WorkerConfig {
                index,
                seat,
                outbound: vec![],
                inbound: std::mem::take(&mut listeners),
                control: handle.clone(),
                drain: watch.clone(),
                mark: None,
                ports: OwnPorts::default(),
                default_policy: policy,
                head_limit: 64 * 1024,
                max_streams: MAX_STREAMS,
                patience: Patience::default(),
                origin: Origin::Fixed { outbound: address, inbound: address },
                observe: Observe::default(),
            };
            crate::worker::spawn(config).expect("thread")
        })
        .collect();
    drop(watch);
    let clients: Vec<_> = (0..6).map(|_| std::net::TcpStream::connect(inbound).expect("connect")).collect();
    let accepted: Vec<_> = (0..6).map(|_| app.accept().expect("accept")).collect();
    drop((clients, accepted));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    assert_eq!(runtime.block_on(trigger.drain(Duration::from_secs(5))), drain::Outcome::Drained);
    threads.into_iter().for_each(|thread| thread.join().expect("clean end"));
}

/// A connection's task is what it costs while it is idle, and what is moved when it is spawned.
#[tokio::test(flavor = "local")]
async fn futures_stay_small() {
    let address: SocketAddr = SERVICE.parse().expect("address");
    let origin = Origin::Fixed { outbound: address, inbound: address };
    let (proxy, config) = Proxy::prepare(Direction::Outbound, origin, id("a"), DefaultPolicy::Deny);
    let (worker, _handed, _listeners) = crate::worker::Worker::new(config);
    let tcp = TcpStream::connect(proxy.address).await.expect("listener");
    let size = std::mem::size_of_val(&worker.carry_out(tcp));
    println!("a connection's task: {size} bytes");
    assert!(size <= 2900, "{size}");
    assert!(std::mem::size_of::<crate::io::Stream>() <= 40);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_head_without_end_is_answered_after_a_minute() {
    let (mesh, server) = one_server().await;
    for address in [mesh.client.address, server.proxy.address] {
        let tcp = TcpStream::connect(address).await.expect("listener");
        let mut slow = Client { tcp, left: Vec::new() };
        slow.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
        let began = tokio::time::Instant::now();
        let answer = String::from_utf8(slow.rest().await).expect("text");
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("minimesh-error: head_timeout"), "{answer}");
        assert_eq!(began.elapsed().as_secs(), 60);
    }
    // a head in pieces is none of that, and its connection goes on
    let mut client = mesh.connect().await;
    for _ in 0..2 {
        client.send(b"GET / HTTP/1.1\r\nHo").await;
        tokio::time::advance(Duration::from_secs(30)).await;
        client.send(b"st: a\r\n\r\n").await;
        assert!(client.message().await.expect("a response").starts_with(b"HTTP/1.1 200 "));
        tokio::time::advance(Duration::from_secs(300)).await;
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_that_was_idle_for_an_hour_is_closed() {
    let (mesh, _server) = one_server().await;
    let mut client = mesh.connect().await;
    client.get().await;
    let began = tokio::time::Instant::now();
    assert_eq!(client.rest().await, b"");
    let minutes = began.elapsed().as_secs() / 60;
    assert!((60..=62).contains(&minutes), "{minutes}");
}
