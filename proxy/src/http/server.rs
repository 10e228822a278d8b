//! The side of a connection that sends requests: the next head, and how a connection ends after an answer of our own.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::h1::{Alarm, Conn, HeadError, RequestHead, parse_request};
use crate::io::{Buffer, USUAL};

/// What comes next on a connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// The client is done, or gone.
    End,
    /// The proxy is to end idle connections, and nothing of a request has come.
    Idle,
    /// A head that is refused; nothing behind it can be trusted.
    Refused(HeadError),
    /// A request; its head is at the front of the buffer.
    Request(RequestHead),
    /// A head that does not come to its end.
    Slow,
}

/// From the first bytes of a head to its end. Honest clients send a head in one piece; this is for lost packets, and against
/// those who hold connections by sending a byte now and then. nginx allows as much.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads the next head. `end_idle` is asked on every wake-up while nothing has been received; `alarm` is used only where a head
/// comes in pieces.
pub(crate) async fn next_request(
    conn: &mut Conn,
    limit: usize,
    alarm: &mut Alarm,
    end_idle: impl Fn() -> bool,
) -> Next {
    let (mut begun, mut look) = (false, true);
    loop {
        // an empty line before a request is left over from an old client's POST (RFC 9112 section 2.2)
        while conn.buffer.bytes().starts_with(b"\r\n") {
            conn.buffer.consume(2);
        }
        if look && !conn.buffer.is_empty() {
            match parse_request(conn.buffer.bytes(), limit) {
                Ok(Some(head)) => return Next::Request(head),
                Ok(None) if !begun => {
                    begun = true;
                    alarm.set(Some(Instant::now() + HEAD_TIMEOUT));
                }
                Ok(None) => {}
                Err(error) => return Next::Refused(error),
            }
        }
        conn.buffer.release();
        let Conn { stream, buffer } = &mut *conn;
        let filled = poll_fn(|cx| match stream.poll_fill(cx, buffer, USUAL) {
            Poll::Pending if buffer.is_empty() && end_idle() => Poll::Ready(Err(Next::Idle)),
            Poll::Pending if begun && alarm.poll_passed(cx) => Poll::Ready(Err(Next::Slow)),
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(Next::End)),
            Poll::Ready(Ok(count)) => Poll::Ready(Ok(count)),
        });
        match filled.await {
            // a head that comes byte by byte is not read from its start for each of them, but for each of its lines
            Ok(count) => {
                let bytes = conn.buffer.bytes();
                look = !begun || bytes.len() >= limit || bytes[bytes.len() - count..].contains(&b'\n');
            }
            Err(next) => return next,
        }
    }
}

/// How long a client may go on sending after it was answered, and how much.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// Ends a connection whose client may still be sending: closing at once would answer its bytes with an RST, which can
/// overtake the answer.
pub(crate) async fn linger(conn: Conn) {
    let Conn { mut stream, buffer } = conn;
    drop(buffer);
    let _ = timeout(LINGER, async {
        if poll_fn(|cx| stream.poll_finish(cx)).await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES;
        let mut sink = Buffer::default();
        while let Ok(count) = stream.fill(&mut sink).await {
            sink.clear();
            if count == 0 || count > left {
                return;
            }
            left -= count;
        }
    })
    .await;
}
