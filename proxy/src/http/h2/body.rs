//! One direction of a body: data, then trailers or none, from one stream to another.
//!
//! The sender's window opens again as its bytes are taken by the receiver's, stream by stream. What comes while the receiver takes
//! nothing is put together: a thousand frames of a byte each, which h2 would hold one by one and take for an attack on the
//! connection that all streams share, are one then. A request's first bytes are
//! kept until the server answers, so that a request which was provably not delivered can be sent again with its body.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream};
use http::HeaderMap;
use tokio::time::Instant;

use super::ledger::Kept;
use super::link::Timer;
use super::{Copied, Sender, head};

/// Kept of one request for another attempt: what can be sent, and have come behind it, before the far proxy has said a word of the
/// stream, be it that a window opens. So a stream above GOAWAY's last id can always be sent again, an upload too.
const KEEP: usize = 2 * super::WINDOW as usize;

/// A mirror gets no longer ones, as over HTTP/1.
const COPY: usize = 64 * 1024;

/// Pieces of it are not smaller than this, but for the last.
const SMALL: usize = 1024;

/// What came before a reset waits so long for the receiver's window: several round trips of one that reads.
const GRACE: Duration = Duration::from_secs(1);

/// Why a body did not come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The receiver takes no more.
    Sink,
    /// The sender reset the stream, or its connection failed.
    Source(Reason),
}

/// A body on its way.
pub(super) struct Body {
    from: RecvStream,
    /// Taken from `from`, not yet sent.
    chunk: Bytes,
    /// The same, behind it; never more than the sender's window.
    gathered: BytesMut,
    /// How the sender ended behind that, and when this was heard.
    broken: Option<(Broken, Instant)>,
    grace: Timer,
    end: End,
    /// What was taken, for another attempt.
    kept: Vec<Bytes>,
    kept_bytes: Kept,
    keeping: bool,
    /// The next of `kept` to be sent again.
    again: usize,
    /// Bytes from the start that the sender's window has back already.
    released: u64,
    sent: u64,
    done: bool,
    /// Trailers come from a stranger.
    strip: bool,
    grpc_status: Option<u8>,
}

/// What is known of the body's end.
enum End {
    Open,
    Plain,
    Trailers(HeaderMap),
}

impl Body {
    /// A request's body: kept for another attempt as long as it is short.
    pub(super) fn request(from: RecvStream) -> Body {
        Body { keeping: true, ..Body::response(from, true) }
    }

    /// A response's body; `strip`: its server is no proxy of ours.
    pub(super) fn response(from: RecvStream, strip: bool) -> Body {
        let end = if from.is_end_stream() { End::Plain } else { End::Open };
        Body {
            from,
            chunk: Bytes::new(),
            gathered: BytesMut::new(),
            broken: None,
            grace: Timer::default(),
            end,
            kept: Vec::new(),
            kept_bytes: Kept::default(),
            keeping: false,
            again: 0,
            released: 0,
            sent: 0,
            done: false,
            strip,
            grpc_status: None,
        }
    }

    /// Whether there is nothing at all: the head is then the end.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.end, End::Plain) && self.has_sent_all() && self.kept.is_empty()
    }

    /// Whether everything went out, the end included.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The head was the end.
    pub(super) fn set_done(&mut self) {
        self.done = true;
    }

    /// Bytes sent on.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// `grpc-status` of the trailers.
    pub(super) fn grpc_status(&self) -> Option<u8> {
        self.grpc_status
    }

    /// Whether it could be sent again from its start.
    pub(super) fn is_repeatable(&self) -> bool {
        self.keeping
    }

    /// All of it, where it has come to its end and was kept.
    pub(super) fn copy(&self) -> Option<Copied> {
        let trailers = match &self.end {
            _ if !self.keeping || self.kept_bytes.bytes() > COPY => return None,
            End::Open => return None,
            End::Plain => None,
            End::Trailers(trailers) => Some(trailers.clone()),
        };
        Some(Copied { data: self.kept.clone(), trailers })
    }

    /// The server has begun to answer: there is no other attempt.
    pub(super) fn keep_no_more(&mut self) {
        self.keeping = false;
        self.forget();
    }

    /// Back to its start, for another attempt.
    pub(super) fn rewind(&mut self) {
        (self.chunk, self.again, self.sent, self.done) = (Bytes::new(), 0, 0, false);
        self.gathered = BytesMut::new();
    }

    /// Whether nothing is left of what was taken, but perhaps of what was kept.
    fn has_sent_all(&self) -> bool {
        self.chunk.is_empty() && self.gathered.is_empty()
    }

    /// Moves what can be moved. Ready when everything went out.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, to: &mut Sender) -> Poll<Result<(), Broken>> {
        loop {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            if !self.chunk.is_empty() {
                ready!(self.poll_chunk(cx, to))?;
            } else if !self.gathered.is_empty() {
                self.chunk = std::mem::take(&mut self.gathered).freeze();
            } else if let Some(chunk) = self.kept.get(self.again) {
                self.chunk = chunk.clone();
                self.again += 1;
                self.forget();
            } else if let Some((broken, _)) = self.broken {
                return Poll::Ready(Err(broken));
            } else if matches!(self.end, End::Open) {
                ready!(self.poll_more(cx))?;
            } else {
                self.finish(to)?;
            }
        }
    }

    /// Sends of the chunk what the receiver's window and our bound let out.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, to: &mut Sender) -> Poll<Result<(), Broken>> {
        to.reserve_capacity(self.chunk.len());
        let room = match to.capacity() {
            0 => match to.poll_capacity(cx) {
                Poll::Ready(Some(Ok(room))) => room,
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Broken::Sink)),
                Poll::Pending => return self.poll_gather(cx),
            },
            room => room,
        };
        let part = self.chunk.split_to(room.min(self.chunk.len()));
        let length = part.len();
        let last = self.has_sent_all() && matches!(self.end, End::Plain) && self.again == self.kept.len();
        to.send_data(part, last).map_err(|_| Broken::Sink)?;
        self.done = last;
        self.sent += length as u64;
        if self.sent > self.released {
            // fails only on a stream that is gone, whose window nobody needs
            let _ = self.from.flow_control().release_capacity((self.sent - self.released) as usize);
            self.released = self.sent;
        }
        Poll::Ready(Ok(()))
    }

    /// The receiver takes nothing now: takes what comes meanwhile. Never ready but with an error.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // what is sent again comes first
        while matches!(self.end, End::Open) && self.again == self.kept.len() && self.broken.is_none() {
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    self.take(&chunk);
                    self.gathered.extend_from_slice(&chunk);
                }
                // what came before it goes out first, as far as the receiver takes it soon
                Some(Err(error)) => self.broken = Some((broken(&error), Instant::now())),
                // trailers, if any, are taken when their turn has come
                None => break,
            }
        }
        match self.broken {
            Some((broken, since)) => self.grace.poll(cx, since + GRACE).map(|()| Err(broken)),
            None => Poll::Pending,
        }
    }

    /// A chunk has come.
    fn take(&mut self, chunk: &Bytes) {
        if self.from.is_end_stream() {
            self.end = End::Plain;
        }
        self.keep(chunk);
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match ready!(self.from.poll_data(cx)) {
            Some(Ok(chunk)) => {
                self.take(&chunk);
                self.chunk = chunk;
            }
            Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
            None => match ready!(self.from.poll_trailers(cx)) {
                Ok(Some(mut trailers)) => {
                    self.grpc_status = head::grpc_status(&trailers);
                    if self.strip {
                        head::strip_own(&mut trailers);
                    }
                    self.end = End::Trailers(trailers);
                }
                Ok(None) => self.end = End::Plain,
                Err(error) => return Poll::Ready(Err(broken(&error))),
            },
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self, to: &mut Sender) -> Result<(), Broken> {
        let sent = match &mut self.end {
            End::Trailers(trailers) if self.keeping => to.send_trailers(trailers.clone()),
            End::Trailers(trailers) => to.send_trailers(std::mem::take(trailers)),
            End::Open | End::Plain => to.send_data(Bytes::new(), true),
        };
        self.done = true;
        sent.map_err(|_| Broken::Sink)
    }

    fn keep(&mut self, chunk: &Bytes) {
        if !self.keeping || chunk.is_empty() {
            return;
        }
        if self.kept_bytes.bytes() + chunk.len() > KEEP || !self.kept_bytes.add(chunk.len()) {
            self.keeping = false;
            return self.forget();
        }
        match self.kept.last_mut() {
            // together, so that bytes that come one by one do not take fifty times their room
            Some(last) if last.len() + chunk.len() <= SMALL => *last = [&**last, chunk].concat().into(),
            _ => self.kept.push(chunk.clone()),
        }
        self.again = self.kept.len();
    }

    /// Drops what was kept when no other attempt needs it.
    fn forget(&mut self) {
        if !self.keeping && self.again == self.kept.len() {
            (self.kept, self.kept_bytes) = (Vec::new(), Kept::default());
            self.again = 0;
        }
    }
}

/// A connection that failed says nothing of the stream: for the other side it is a cancellation.
fn broken(error: &h2::Error) -> Broken {
    Broken::Source(error.reason().unwrap_or(Reason::CANCEL))
}
