//! One request and its response over two connections, both bodies at once, in one task.
//!
//! The caller reads it as a list of steps: `response_head` (uploads meanwhile), look at the head, `respond` (goes on
//! uploading). A response may come before the request is complete; a client that goes away is noticed while the server thinks.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Broken, Conn, HeadError, RequestHead, ResponseHead, Strip, Transfer, parse_response};
use crate::io::USUAL;

/// Pipelined input taken while a response is awaited; beyond, the client's window closes.
const AHEAD: usize = 16 * 1024;

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client is gone.
    ClientGone,
    /// The client broke the framing of its request.
    ClientMalformed,
    /// The worker has to stop.
    Stopped,
    /// The deadline passed.
    TimedOut,
    /// The server's connection failed.
    Upstream(io::Error),
    /// It ended before the response did. `unread`: with a TLS close_notify before any byte of an answer, after which a proxy
    /// of ours forwards nothing: the request was not delivered.
    UpstreamEnded {
        /// The request provably went nowhere.
        unread: bool,
    },
    /// What came is no HTTP/1.x response.
    UpstreamMalformed(HeadError),
}

/// A deadline without a timer of its own until somebody has to wait for it: one `Sleep` per connection, made at first need
/// and used again.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Alarm {
    pub(crate) fn set(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        self.armed = false;
    }

    fn poll_passed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !self.armed {
            self.armed = true;
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}

/// What ends an exchange from outside.
pub(crate) struct Guard<'a> {
    /// Set, with a wake-up, when the worker has to stop at once.
    pub(crate) stopped: &'a Cell<bool>,
    pub(crate) alarm: &'a mut Alarm,
}

impl Guard<'_> {
    fn check(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if self.stopped.get() {
            return Err(Failure::Stopped);
        }
        if self.alarm.poll_passed(cx) {
            return Err(Failure::TimedOut);
        }
        Ok(())
    }
}

/// A request on its way over `up`, its response to come back over `down`.
pub(crate) struct Exchange<'a> {
    pub(crate) down: &'a mut Conn,
    pub(crate) up: &'a mut Conn,
    pub(crate) guard: Guard<'a>,
    request: Transfer,
    /// The server takes no more of the request; its response may have come before.
    refused: Option<io::Error>,
    /// Whether any byte of an answer came.
    answered: bool,
    limit: usize,
}

impl<'a> Exchange<'a> {
    /// `limit`: largest response head.
    pub(crate) fn new(
        down: &'a mut Conn,
        up: &'a mut Conn,
        guard: Guard<'a>,
        request: Transfer,
        limit: usize,
    ) -> Exchange<'a> {
        Exchange { down, up, guard, request, refused: None, answered: false, limit }
    }

    /// The request's progress.
    pub(crate) fn request(&self) -> &Transfer {
        &self.request
    }

    /// The first write of the request: as much as the socket takes at once.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| match self.poll_upload(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Uploads, and waits for the next response head; the head stays in `up.buffer`.
    pub(crate) async fn response_head(&mut self, request: &RequestHead, strip: Strip) -> Result<ResponseHead, Failure> {
        poll_fn(|cx| self.poll_response_head(cx, request, strip)).await
    }

    /// Sends an interim head (1xx) on.
    pub(crate) async fn interim(&mut self, head: &ResponseHead) -> Result<(), Failure> {
        let sent = self.down.stream.send(&self.up.buffer.bytes()[..head.len]).await;
        self.skip(head);
        sent.map_err(|_| Failure::ClientGone)
    }

    /// Leaves a head out.
    pub(crate) fn skip(&mut self, head: &ResponseHead) {
        self.up.buffer.consume(head.len);
        self.up.buffer.release();
    }

    /// Begins to pass the response on: as much as the socket takes at once. `None`: not all of it.
    pub(crate) async fn respond_first(&mut self, response: &mut Transfer) -> Option<Result<(), Failure>> {
        poll_fn(|cx| match self.poll_download(cx, response) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Passes the rest of the response on, and goes on uploading meanwhile.
    pub(crate) async fn respond(&mut self, response: &mut Transfer) -> Result<(), Failure> {
        poll_fn(|cx| {
            self.guard.check(cx)?;
            if let Poll::Ready(result) = self.poll_download(cx, response) {
                return Poll::Ready(result);
            }
            match self.poll_upload(cx) {
                Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// After an early response: takes the rest of the request, so that the connection can serve another one.
    pub(crate) async fn finish_upload(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| {
            self.guard.check(cx)?;
            match self.poll_upload(cx) {
                Poll::Ready(Ok(())) if self.refused.is_none() => Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => Poll::Ready(Err(Failure::UpstreamEnded { unread: false })),
                Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Ends the exchange: the request's bytes leave the client's buffer.
    pub(crate) fn let_go(&mut self) {
        self.request.let_go(&mut self.down.buffer);
    }

    fn poll_response_head(
        &mut self,
        cx: &mut Context<'_>,
        request: &RequestHead,
        strip: Strip,
    ) -> Poll<Result<ResponseHead, Failure>> {
        self.guard.check(cx)?;
        if let Poll::Ready(Err(failure)) = self.poll_upload(cx) {
            return Poll::Ready(Err(failure));
        }
        loop {
            if !self.up.buffer.is_empty() {
                match parse_response(self.up.buffer.bytes(), request, strip, self.limit) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(Failure::UpstreamMalformed(error))),
                }
            }
            match self.up.stream.poll_fill(cx, &mut self.up.buffer, USUAL) {
                Poll::Ready(Ok(0)) => {
                    let unread = !self.answered && self.up.stream.tls().is_some();
                    return Poll::Ready(Err(Failure::UpstreamEnded { unread }));
                }
                Poll::Ready(Ok(_)) => self.answered = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Upstream(error))),
                Poll::Pending => {
                    if self.request.is_done() {
                        self.down.buffer.shrink();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_download(&mut self, cx: &mut Context<'_>, response: &mut Transfer) -> Poll<Result<(), Failure>> {
        response.poll(cx, self.up, &mut self.down.stream).map_err(|broken| match broken {
            Broken::Write(_) => Failure::ClientGone,
            Broken::Read(error) => Failure::Upstream(error),
            Broken::Ended => Failure::UpstreamEnded { unread: false },
            Broken::Malformed => Failure::UpstreamMalformed(HeadError::Malformed("chunk")),
        })
    }

    /// Moves the request on; afterwards watches the client, whose end is the end of the exchange. Ready with `Ok` when the
    /// request is complete or the server takes no more of it.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.refused.is_none() {
            match self.request.poll(cx, self.down, &mut self.up.stream) {
                Poll::Ready(Ok(())) => {}
                // The response may be on its way all the same: a server that has heard enough.
                Poll::Ready(Err(Broken::Write(error))) => self.refused = Some(error),
                Poll::Ready(Err(Broken::Malformed)) => return Poll::Ready(Err(Failure::ClientMalformed)),
                Poll::Ready(Err(Broken::Ended | Broken::Read(_))) => return Poll::Ready(Err(Failure::ClientGone)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if !self.request.is_done() {
            return Poll::Ready(Ok(()));
        }
        while self.down.buffer.len() < self.request.held() + AHEAD {
            match self.down.stream.poll_fill(cx, &mut self.down.buffer, USUAL) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::ClientGone)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
