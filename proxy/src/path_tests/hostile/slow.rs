//! Who is slow holds little, and not for ever.

use super::*;

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_head_that_comes_byte_by_byte_ends_after_a_minute_and_is_counted() {
    for between in [Between::Pair, Between::Inbound] {
        let stage = Stage::new(between, Protocol::Http1).await;
        stage.recorder.expect(usize::MAX);
        let mut client = stage.client().await;
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n").await;
        let began = tokio::time::Instant::now();
        let answer = loop {
            client.send(b"X: y\r\n").await;
            let waiting = tokio::time::timeout(Duration::from_secs(5), client.head());
            if let Ok(head) = waiting.await {
                break head.expect("an answer");
            }
        };
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("head_timeout"), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(70));
        assert_eq!(shown(&stage.recorder.got()), "");
        let proxy = if between == Between::Pair { &stage.mesh.client } else { &stage.server.proxy };
        let text = super::super::policy::scrape(&proxy.metrics);
        let counted = text.lines().any(|line| line.contains("error=\"head_timeout\"") && line.ends_with(" 1"));
        assert!(counted, "{text}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_comes_byte_by_byte_is_served_as_long_as_it_takes() {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", echo().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut client = mesh.connect().await;
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n").await;
    for _ in 0..60 {
        client.send(b"x").await;
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    let answer = client.message().await.expect("an answer");
    assert!(answer.ends_with(&[b'x'; 60]), "{}", shown(&answer));
}
