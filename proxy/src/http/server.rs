//! The side of a connection that sends requests: the next head, and how a connection ends after an answer of our own.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::h1::{Alarm, Conn, HeadError, RequestHead, parse_request};
use crate::io::{Buffer, USUAL};
use crate::worker::Worker;

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

/// What a head may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Its size.
    pub(crate) bytes: usize,
    /// From its first bytes to its end.
    pub(crate) time: Duration,
}

impl HeadLimits {
    /// As the worker is told; `own`: what a proxy of ours may have added.
    pub(crate) fn of(worker: &Worker, own: usize) -> HeadLimits {
        HeadLimits { bytes: worker.head_limit + own, time: worker.head_timeout }
    }
}

/// Reads the next head. `end_idle` is asked on every wake-up while nothing has been received; `alarm` is used only where a head
/// comes in pieces.
pub(crate) async fn next_request(
    conn: &mut Conn,
    limits: HeadLimits,
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
            match parse_request(conn.buffer.bytes(), limits.bytes) {
                Ok(Some(head)) => return Next::Request(head),
                Ok(None) if !begun => {
                    begun = true;
                    alarm.set(Some(Instant::now() + limits.time));
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
                look = !begun || bytes.len() >= limits.bytes || bytes[bytes.len() - count..].contains(&b'\n');
            }
            Err(next) => return next,
        }
    }
}

/// How long a client may go on sending after it was answered: many programs write all of a request before they read a byte of
/// its answer, and a write that fails is all that they then report.
const LINGER: Duration = Duration::from_secs(20);

/// A client that has said nothing for so long has read its answer, or never will.
const SILENCE: Duration = Duration::from_secs(2);

/// And how much: a fifth of a second of one core, for a client that never stops.
const LINGER_BYTES: usize = 256 * 1024 * 1024;

/// Ends a connection whose client may still be sending: closing at once would answer its bytes with an RST, which can
/// overtake the answer.
pub(crate) async fn linger(conn: Conn) {
    let Conn { mut stream, buffer } = conn;
    drop(buffer);
    let until = Instant::now() + LINGER;
    let silence = || (Instant::now() + SILENCE).min(until);
    if !matches!(timeout_at(silence(), poll_fn(|cx| stream.poll_finish(cx))).await, Ok(Ok(()))) {
        return;
    }
    let mut left = LINGER_BYTES;
    let mut sink = Buffer::default();
    while let Ok(Ok(1..)) = timeout_at(silence(), stream.fill(&mut sink)).await {
        let Some(rest) = left.checked_sub(sink.len()) else { return };
        left = rest;
        sink.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::io::Stream;

    /// How long a connection lingers whose client does this, and reads nothing.
    async fn lingered<F: Future<Output = ()> + 'static>(client: impl FnOnce(TcpStream) -> F) -> Duration {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let tcp = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("loopback");
        let (server, _) = listener.accept().await.expect("a connection");
        tokio::task::spawn_local(client(tcp));
        let began = Instant::now();
        linger(Conn { stream: Stream::Plain(server), buffer: Buffer::default() }).await;
        began.elapsed()
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn nobody_is_lingered_for_without_end() {
        let silent = lingered(|tcp| async move {
            tokio::time::sleep(LINGER * 2).await;
            drop(tcp);
        });
        assert_eq!(silent.await.as_secs(), SILENCE.as_secs());
        // an end of the client's is waited for, and no longer
        let ending = lingered(|mut tcp| async move { tcp.shutdown().await.expect("open") });
        assert!(ending.await < SILENCE);
        let busy = lingered(|mut tcp| async move {
            while tcp.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SILENCE / 4).await;
            }
        });
        assert!(busy.await.as_secs() <= LINGER.as_secs());
    }
}
