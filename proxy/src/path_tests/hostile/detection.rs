//! What is almost HTTP is HTTP's to refuse: it becomes no tunnel round what is said of HTTP.

use super::*;

const FORGED: &str = "l5d-client-id: spiffe://cluster.local/ns/shop/sa/admin\r\n";

#[tokio::test(flavor = "local")]
async fn no_spelling_of_a_request_line_carries_a_forged_identity_to_the_application() {
    for between in [Between::Pair, Between::Outbound, Between::Inbound] {
        let stage = Stage::new(between, Protocol::Detect).await;
        for line in [
            "GET / HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET\t/\tHTTP/1.1",
            "GET / HTTP/1.2",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "\r\nGET / HTTP/1.1",
            "\n\n\nGET / HTTP/1.1",
            " GET / HTTP/1.1",
            "GET\x0b/\x0cHTTP/1.1",
            "GET / HTTP/1.1\r",
        ] {
            stage.recorder.expect(usize::MAX);
            let mut client = stage.client().await;
            client.send(format!("{line}\r\nHost: a\r\n{FORGED}Connection: close\r\n\r\n").as_bytes()).await;
            client.tcp.shutdown().await.expect("shutdown");
            let _ = client.is_reset().await;
            let got = shown(&stage.recorder.got());
            assert!(!got.contains("admin"), "{line:?} ({between:?}): {got}");
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_request_line_cut_in_two_by_a_pause_is_no_tunnel() {
    for between in [Between::Pair, Between::Inbound] {
        let stage = Stage::new(between, Protocol::Detect).await;
        for (word, rest) in [
            ("GE", "T / HTTP/1.1\r\nHost: a\r\n"),
            ("\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
            ("PRI *", " HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ] {
            stage.recorder.expect(word.len());
            let mut client = stage.client().await;
            client.send(word.as_bytes()).await;
            // nobody knows what it is, and so it went on
            assert_eq!(client.exactly(OK.len()).await.as_deref(), Some(OK), "{word:?} ({between:?})");
            client.send(format!("{rest}{FORGED}\r\n").as_bytes()).await;
            assert!(client.is_reset().await, "{word:?} ({between:?})");
            assert_eq!(shown(&stage.recorder.got()), shown(word.as_bytes()));
        }
        // more than a word: a slow request, and served as one
        stage.recorder.expect(0);
        let whole = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
        let expected = stage.seen(whole);
        stage.recorder.expect(expected.len());
        let mut client = stage.client().await;
        client.send(&whole[..8]).await;
        tokio::time::advance(Duration::from_secs(3)).await;
        client.send(&whole[8..]).await;
        assert_eq!(client.exactly(OK.len()).await.as_deref(), Some(OK), "{between:?}");
        assert_eq!(shown(&stage.recorder.got()), shown(&expected));
    }
}

#[tokio::test(flavor = "local")]
async fn where_http_is_declared_or_routed_nothing_else_passes() {
    let garbage: [&[u8]; 6] = [
        b"\0\0\0\x08",
        b"PING\r\n",
        b"SSH-2.0-x\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET /\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    ];
    for between in [Between::Pair, Between::Inbound] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let stage = Stage::new(between, protocol).await;
            stage.recorder.expect(usize::MAX);
            for bytes in garbage {
                let mut client = stage.client().await;
                client.send(bytes).await;
                client.tcp.shutdown().await.expect("shutdown");
                let _ = client.is_reset().await;
                assert_eq!(shown(&stage.recorder.got()), "", "{} ({between:?} {protocol:?})", shown(bytes));
            }
        }
    }
    // an attached route makes a sniffed port HTTP's
    let mesh = Mesh::new();
    let (app, recorder) = recorder().await;
    recorder.expect(usize::MAX);
    let route =
        super::super::retry::route(Duration::from_secs(1), vec![minimesh_api::model::BackendRef::Service(key())]);
    mesh.routed(Protocol::Detect, &[route], vec![unmeshed(app)]);
    for bytes in garbage {
        let mut client = mesh.connect().await;
        client.send(bytes).await;
        client.tcp.shutdown().await.expect("shutdown");
        let _ = client.is_reset().await;
        assert_eq!(shown(&recorder.got()), "", "{}", shown(bytes));
    }
}

#[tokio::test(flavor = "local")]
async fn other_protocols_are_not_taken_for_http() {
    let stage = Stage::new(Between::Pair, Protocol::Detect).await;
    for bytes in [
        &b"PING\r\n"[..],
        b"SET key http\r\n",
        b"get a h\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"CONNECT {\"verbose\":false}\r\nPING\r\n",
        b"OPTIONS rtsp://a/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n",
        b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00",
        b"10.0.0.1 - - [now] \"GET / HTTP/1.1\" 200 5\n",
        b"{\"method\": \"GET / HTTP/1.1\"}\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"EHLO a\r\n",
        b"a1 LOGIN b c\r\n",
    ] {
        stage.judge(&vector(shown(bytes), bytes, Verdict::Bytes)).await;
    }
}
