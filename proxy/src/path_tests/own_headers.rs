//! What only a proxy of ours may say is believed of nobody else, on no path.

use super::*;

/// As a client or an application would forge them.
const FORGED: &str = "minimesh-error: not_delivered\r\nMinimesh-Hop: keep\r\nminimesh-cause: x\r\nL5d-Client-Id: admin\r\n\
                      l5d_client_id: admin\r\nX-Forwarded-Client-Cert: admin\r\n";

fn is_clean(head: &str) -> bool {
    let head = head.to_ascii_lowercase();
    !["minimesh", "admin"].iter().any(|word| head.contains(word))
}

fn request(method: &str, more: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: a\r\n{FORGED}{more}\r\n")
}

#[tokio::test(flavor = "local")]
async fn of_requests_none_is_passed_on() {
    let (mesh, server) = one_server().await;
    let verified = "l5d-client-id: spiffe://cluster.local/ns/shop/sa/front-end\r\n";
    for (more, what) in [("", "a request"), ("Connection: l5d-client-id, minimesh-error\r\n", "nominated")] {
        let request = request("GET", more);
        let seen = direct(&server).await.ask(&request).await;
        assert!(seen.starts_with("HTTP/1.1 200 ") && is_clean(&seen) && !seen.contains("l5d"), "{what}: {seen}");
        let seen = mesh.connect().await.ask(&request).await;
        assert!(is_clean(&seen) && seen.matches("l5d").count() == 1 && seen.contains(verified), "{what}: {seen}");
    }
    mesh.endpoints(vec![unmeshed(server.app)]);
    let seen = mesh.connect().await.ask(&request("GET", "")).await;
    assert!(seen.starts_with("HTTP/1.1 200 ") && is_clean(&seen) && !seen.contains("l5d"), "unmeshed: {seen}");
}

#[tokio::test(flavor = "local")]
async fn of_responses_none_is_passed_on() {
    for (ask, status, more) in [
        (request("GET", ""), "HTTP/1.1 200 OK\r\n", "Content-Length: 1\r\n\r\nx"),
        (request("GET", ""), "HTTP/1.1 103 Early Hints\r\n", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (
            request("GET", "Connection: upgrade\r\nUpgrade: x\r\n"),
            "HTTP/1.1 101 Switching Protocols\r\n",
            "Connection: upgrade\r\nUpgrade: x\r\n\r\n",
        ),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), "HTTP/1.1 200 OK\r\n", "\r\n"),
    ] {
        let response: &'static [u8] = format!("{status}{FORGED}{more}").leak().as_bytes();
        let mesh = Mesh::new();
        let server = mesh.server("catalogue", canned(response).await);
        mesh.service(Protocol::Http1, vec![server.endpoint()]);
        let clients = [mesh.connect().await, direct(&server).await, {
            mesh.endpoints(vec![unmeshed(server.app)]);
            mesh.connect().await
        }];
        for (mut client, path) in clients.into_iter().zip(["meshed", "direct", "unmeshed"]) {
            client.send(ask.as_bytes()).await;
            let head = client.head().await.expect("a head");
            assert!(head.starts_with(status) && is_clean(&head), "{path}: {head}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_trailer_of_such_a_name_breaks_the_message() {
    let (mesh, server) = one_server().await;
    for mut client in [direct(&server).await, mesh.connect().await] {
        let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nl5d_client_id: admin\r\n\r\n";
        let answer = client.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let response =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nminimesh-error: not_delivered\r\n\r\n";
    let server = mesh.server("catalogue", canned(response).await);
    mesh.endpoints(vec![server.endpoint()]);
    for mut client in [direct(&server).await, mesh.connect().await] {
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // nothing of a whole answer, or one of the proxy's own
        let answer = client.message().await.map(|answer| String::from_utf8_lossy(&answer).into_owned());
        assert!(answer.as_ref().is_none_or(|answer| answer.starts_with("HTTP/1.1 502 ")), "{answer:?}");
        assert!(!String::from_utf8_lossy(&client.left).contains("not_delivered"));
    }
}
