//! One request and its response over two connections, both bodies at once, in one task.
//!
//! The caller reads it as a list of steps: `response_head` (uploads meanwhile), look at the head, `respond` (goes on
//! uploading). A response may come before the request is complete. A client that ends its direction (FIN) may only have said
//! all that it wants to say: the server is told in the same way and may answer all the same. What ends the exchange is an RST,
//! or a response that nobody takes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use minimesh_route::HeaderEdits;
use tokio::time::{Instant, Sleep, sleep_until};

use super::edit::write_head;
use super::{Broken, Conn, HeadError, RequestHead, ResponseHead, Strip, Transfer, parse_response};
use crate::io::{Buffer, USUAL};

/// Pipelined input taken while a response is awaited; beyond, the client's window closes.
const AHEAD: usize = 16 * 1024;

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client is gone.
    ClientGone,
    /// The client broke the framing of its request.
    ClientMalformed,
    /// The client was let in, and is not any more.
    Revoked,
    /// The worker has to stop.
    Stopped,
    /// The deadline passed.
    TimedOut,
    /// The server's connection failed.
    Upstream(io::Error),
    /// It ended before the response did. `unread`: before any byte of an answer, and with proof that the request was not
    /// delivered.
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

    pub(crate) fn poll_passed(&mut self, cx: &mut Context<'_>) -> bool {
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
    /// Whether the exchange must not go on, and why: the worker has to stop, or the client is not let in any more. Who changes
    /// its answer wakes the connection.
    pub(crate) ended: &'a dyn Fn() -> Option<Failure>,
    pub(crate) alarm: &'a mut Alarm,
}

impl Guard<'_> {
    fn check(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if let Some(failure) = (self.ended)() {
            return Err(failure);
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
    upload: Upload,
    /// The client ended its direction.
    half_closed: bool,
    /// The server was told so.
    told: bool,
    /// Whether any byte of an answer came.
    answered: bool,
    /// To a proxy of ours that waits for it: the request is on its way to the application. And how much of it was written.
    announcement: Option<usize>,
    limit: usize,
    /// How much of a head was looked at that had not come to its end.
    looked: u32,
}

/// How the request gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    /// The client ended before the request did.
    Cut,
    Going,
    /// The server takes no more of it; its response may have come before.
    Refused,
}

/// What a proxy says to the one that sends it a long request, once it has passed on that much of it: there is an application,
/// and the request cannot be sent elsewhere any more. Until then the other one holds what it has sent.
pub(crate) const DELIVERED: &[u8] = b"HTTP/1.1 103 Early Hints\r\nminimesh-delivered: yes\r\n\r\n";

/// Half of what the other side holds.
const DELIVERED_AFTER: u64 = 32 * 1024;

impl<'a> Exchange<'a> {
    /// `limit`: largest response head.
    pub(crate) fn new(
        down: &'a mut Conn,
        up: &'a mut Conn,
        guard: Guard<'a>,
        request: Transfer,
        limit: usize,
    ) -> Exchange<'a> {
        let (upload, announcement) = (Upload::Going, None);
        Exchange {
            down,
            up,
            guard,
            request,
            upload,
            half_closed: false,
            told: false,
            answered: false,
            announcement,
            limit,
            looked: 0,
        }
    }

    /// The client is a proxy of ours: it is told when a long request was delivered.
    pub(crate) fn announcing(mut self, peer: bool) -> Exchange<'a> {
        self.announcement = peer.then_some(0);
        self
    }

    /// Nothing of the request is needed for a repetition any more.
    pub(crate) fn delivered(&mut self) {
        self.request.release();
    }

    /// The server was told that the client ends.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.told
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
        let sent = match head.cuts.is_empty() {
            true => self.down.stream.send(&self.up.buffer.bytes()[..head.len]).await,
            false => Box::pin(self.edited_interim(head)).await,
        };
        self.skip(head);
        sent.map_err(|_| Failure::ClientGone)
    }

    async fn edited_interim(&mut self, head: &ResponseHead) -> io::Result<()> {
        let mut edited = Buffer::default();
        write_head(&self.up.buffer.bytes()[..head.len], &head.cuts, &HeaderEdits::default(), &[], &mut edited);
        self.down.stream.send(edited.bytes()).await
    }

    /// Leaves a head out.
    pub(crate) fn skip(&mut self, head: &ResponseHead) {
        self.up.buffer.consume(head.len);
        self.up.buffer.release();
    }

    /// Leaves out what a proxy of ours said of the connection: that is nothing of an answer.
    pub(crate) fn skip_aside(&mut self, head: &ResponseHead) {
        self.skip(head);
        self.answered = !self.up.buffer.is_empty();
    }

    /// Whether any byte of an answer came.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered
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
                Poll::Ready(Ok(())) if self.upload == Upload::Going => Poll::Ready(Ok(())),
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
        ready!(self.poll_announce(cx))?;
        loop {
            if self.is_to_be_looked_at() {
                match parse_response(self.up.buffer.bytes(), request, strip, self.limit) {
                    Ok(Some(head)) => {
                        self.looked = 0;
                        return Poll::Ready(Ok(head));
                    }
                    Ok(None) => self.looked = u32::try_from(self.up.buffer.len()).unwrap_or(u32::MAX),
                    Err(error) => return Poll::Ready(Err(Failure::UpstreamMalformed(error))),
                }
            }
            match self.up.stream.poll_fill(cx, &mut self.up.buffer, USUAL) {
                Poll::Ready(Ok(0)) => {
                    let unread = !self.answered && self.up.stream.took_nothing(self.request.written());
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

    /// Whether more of a response's head has come than was looked at, and with it the end of a line: one that comes byte by byte
    /// is not read from its start for each of them.
    fn is_to_be_looked_at(&self) -> bool {
        let bytes = self.up.buffer.bytes();
        let more = bytes.get(self.looked as usize..).unwrap_or_default();
        !more.is_empty() && (self.looked == 0 || bytes.len() >= self.limit || more.contains(&b'\n'))
    }

    fn poll_download(&mut self, cx: &mut Context<'_>, response: &mut Transfer) -> Poll<Result<(), Failure>> {
        response.poll(cx, self.up, &mut self.down.stream).map_err(|broken| match broken {
            Broken::Write => Failure::ClientGone,
            Broken::Read(error) => Failure::Upstream(error),
            Broken::Ended => Failure::UpstreamEnded { unread: false },
            Broken::Malformed => Failure::UpstreamMalformed(HeadError::Malformed("chunk")),
        })
    }

    /// Tells a proxy of ours that a long request was delivered. A word that was begun is finished before anything else is said.
    fn poll_announce(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(at) = &mut self.announcement else { return Poll::Ready(Ok(())) };
        if *at == 0 && (self.request.moved() < DELIVERED_AFTER || self.request.is_done()) {
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(self.down.stream.poll_send(cx, DELIVERED, at));
        self.announcement = None;
        Poll::Ready(sent.map_err(|_| Failure::ClientGone))
    }

    /// Moves the request on; afterwards watches the client, whose RST is the end of the exchange. Ready with `Ok` when the
    /// request is complete or the server takes no more of it.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.upload == Upload::Going {
            match self.request.poll(cx, self.down, &mut self.up.stream) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Broken::Write)) => self.upload = Upload::Refused,
                Poll::Ready(Err(Broken::Ended)) => self.upload = Upload::Cut,
                Poll::Ready(Err(Broken::Malformed)) => return Poll::Ready(Err(Failure::ClientMalformed)),
                Poll::Ready(Err(Broken::Read(_))) => return Poll::Ready(Err(Failure::ClientGone)),
                Poll::Pending => return Poll::Pending,
            }
        }
        match self.upload {
            Upload::Cut => self.poll_tell(cx),
            Upload::Going => self.poll_watch(cx),
            Upload::Refused => Poll::Ready(Ok(())),
        }
    }

    /// After the request: what the client pipelines, its end, or its RST.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while !self.half_closed && self.down.buffer.len() < self.request.held() + AHEAD {
            match self.down.stream.poll_fill(cx, &mut self.down.buffer, USUAL) {
                Poll::Ready(Ok(0)) => self.half_closed = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::ClientGone)),
                Poll::Pending => break,
            }
        }
        // another request that came before the end wants another connection, perhaps, but not this one's end
        if self.half_closed && self.down.buffer.len() == self.request.held() {
            return self.poll_tell(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the direction to the server, as the client did.
    fn poll_tell(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        // a failure shows in what is read
        self.told = self.told || self.up.stream.poll_finish(cx).is_ready();
        Poll::Ready(Ok(()))
    }
}
