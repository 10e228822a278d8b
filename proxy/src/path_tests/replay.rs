//! Requests that are sent again: the body is the body, whatever it is and however it came.

use minimesh_balance::Rng;

use super::repeats::{BUSY, OK, mesh_with, retrying};

/// Less is always kept: 64 KiB, without a margin for the head. More never is: beside these, what one read brought.
const KEPT: std::ops::Range<usize> = 63_000..140_000;
const CASES: u32 = 60;

#[tokio::test(flavor = "local")]
async fn a_body_that_is_sent_again_is_the_same_however_it_was_cut() {
    let mut rng = Rng::new(42);
    for case in 0..CASES {
        let (mesh, _server, log) = mesh_with(retrying(&[503], 1), &[BUSY, OK]).await;
        // every third is around the limits
        let length = if case % 3 == 0 { 60_000 + rng.below(140_000) } else { rng.below(3_000) };
        let body: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
        let (head, body) = framed(body, &mut rng);
        let mut client = mesh.connect().await;
        let message = [head.as_bytes(), &body].concat();
        let mut rest = &message[..];
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((1 + rng.below(if length < 100 { 20 } else { 20_000 })).min(rest.len()));
            client.send(piece).await;
            tokio::task::yield_now().await;
            rest = more;
        }
        let answer = String::from_utf8(client.message().await.expect("an answer")).expect("text");
        let messages = log.messages.borrow();
        for received in messages.iter() {
            let end = received.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            assert!(received[end..] == body, "case {case}: {} bytes of {}", received.len() - end, body.len());
        }
        match message.len() {
            small if small < KEPT.start => {
                assert_eq!(messages.len(), 2, "case {case}: {small} bytes");
                assert!(answer.starts_with("HTTP/1.1 200 "), "case {case}: {answer}");
            }
            large if large > KEPT.end => {
                assert_eq!(messages.len(), 1, "case {case}: {large} bytes");
                assert!(answer.starts_with("HTTP/1.1 503 "), "case {case}: {answer}");
            }
            _ => {}
        }
    }
}

/// A head, and the body as it goes over the wire: in chunks of any size or by its length.
fn framed(body: Vec<u8>, rng: &mut Rng) -> (String, Vec<u8>) {
    let head = |line: &str| format!("POST /old HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
    if rng.below(2) == 0 || body.is_empty() {
        return (head(&format!("Content-Length: {}", body.len())), body);
    }
    let (mut chunks, mut rest) = (Vec::new(), &body[..]);
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at((1 + rng.below(9_000)).min(rest.len()));
        chunks.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
        rest = more;
    }
    chunks.extend(b"0\r\n\r\n");
    (head("Transfer-Encoding: chunked"), chunks)
}
