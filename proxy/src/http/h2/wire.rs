//! A connection as the h2 crate wants it: `AsyncRead` and `AsyncWrite` over our own stream.
//!
//! What h2 writes is gathered, and sent when its task has nothing more to add: all frames of one turn are then one TLS record
//! (up to its size) and one system call. Whoever polls an h2 connection therefore calls [`Socket::poll_flush`] afterwards.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use minimesh_identity::PeerError;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::unfinished::Unfinished;
use crate::http::h1::Conn;
use crate::io::{Buffer, Stream, Tls, USUAL};

/// Gathered at most: with the frames of its records it fits a bulk buffer.
const GATHER: usize = 64 * 1024;

/// The end that h2 owns.
pub(crate) struct Wire(Rc<RefCell<Ends>>);

/// The end that h2's task keeps.
pub(crate) struct Socket(Rc<RefCell<Ends>>);

struct Ends {
    stream: Stream,
    incoming: Buffer,
    outgoing: Buffer,
    /// Why the peer refused us, where it said so: h2 passes on no more than a text.
    refusal: Option<PeerError>,
    /// Of a client: whether it is in the middle of a head.
    unfinished: Option<Box<Unfinished>>,
    /// The peer takes nothing more: what is gathered is thrown away.
    deaf: bool,
}

/// What an idle connection looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// Ended or broken.
    Ended,
    /// Bytes wait that nobody has looked at: perhaps a GOAWAY.
    Said,
    /// Open, nothing to be read.
    Silent,
}

/// Splits a connection into what h2 owns and what its task keeps; bytes that were read already come first.
pub(crate) fn wire(conn: Conn) -> (Wire, Socket) {
    let Conn { stream, buffer } = conn;
    let ends = Rc::new(RefCell::new(Ends {
        stream,
        incoming: buffer,
        outgoing: Buffer::default(),
        refusal: None,
        unfinished: None,
        deaf: false,
    }));
    (Wire(Rc::clone(&ends)), Socket(ends))
}

impl Socket {
    /// Sends what was gathered. Pending: the rest goes when the socket takes it, and the task is woken.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    /// The same for a connection whose answers are awaited: a peer that has closed its socket resets it when more comes, a window's
    /// update for example, and may have sent everything before. So a socket that fails to write is read to its end all the same.
    pub(super) fn poll_flush_to_reader(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ends = &mut *self.0.borrow_mut();
        match ends.poll_flush(cx) {
            Poll::Ready(Err(error)) if error.raw_os_error().is_some() => {
                ends.deaf = true;
                ends.poll_flush(cx)
            }
            flushed => flushed,
        }
    }

    /// Takes the connection out; the others who hold it find it closed.
    pub(super) fn take(&self) -> Conn {
        let ends = &mut *self.0.borrow_mut();
        let stream = std::mem::replace(&mut ends.stream, Stream::Closed);
        ends.outgoing.clear();
        Conn { stream, buffer: std::mem::take(&mut ends.incoming) }
    }

    /// Asks something of the connection's TLS, where it has any.
    pub(crate) fn with_tls<R>(&self, ask: impl FnOnce(Option<&Tls>) -> R) -> R {
        ask(self.0.borrow().stream.tls())
    }

    /// From now on, and before anything was read, the peer's heads are watched.
    pub(super) fn watch_heads(&self) {
        self.0.borrow_mut().unfinished = Some(Box::new(Unfinished::new()));
    }

    /// Since when the peer has been in the middle of a head.
    pub(super) fn unfinished_since(&self) -> Option<Instant> {
        self.0.borrow().unfinished.as_ref()?.since()
    }

    /// Why the peer refused us, where that was its answer to our certificate.
    pub(crate) fn take_refusal(&self) -> Option<PeerError> {
        self.0.borrow_mut().refusal.take()
    }

    /// Who is at the other end, as far as the socket says it.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.0.borrow().stream.tcp().and_then(|tcp| tcp.peer_addr().ok())
    }

    /// Gives the connection up, whoever still holds this end.
    pub(crate) fn close(&self) {
        let mut ends = self.0.borrow_mut();
        ends.stream = Stream::Closed;
        ends.incoming.clear();
        ends.outgoing.clear();
    }

    /// Looks at an idle connection without taking anything from it and without waking anyone.
    pub(crate) fn quiet(&self) -> Quiet {
        let ends = self.0.borrow();
        let Some(tcp) = ends.stream.tcp() else { return Quiet::Ended };
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match SockRef::from(tcp).peek(&mut byte) {
            Ok(0) => Quiet::Ended,
            Ok(_) => Quiet::Said,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Quiet::Silent,
            Err(_) => Quiet::Ended,
        }
    }
}

impl Ends {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            self.outgoing.clear();
            self.outgoing.release();
            return Poll::Ready(Ok(()));
        }
        let mut at = 0;
        let sent = self.stream.poll_send(cx, self.outgoing.bytes(), &mut at);
        self.outgoing.consume(at);
        self.outgoing.release();
        sent
    }

    /// Gathers as much of `bytes` as there is room for; 0 where there is none.
    fn gather(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(GATHER.saturating_sub(self.outgoing.len()));
        self.outgoing.put(&bytes[..count]);
        count
    }

    fn watch(&mut self, bytes: &[u8]) {
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.take(bytes);
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.len() < GATHER { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let filled = ready!(self.stream.poll_fill(cx, &mut self.incoming, USUAL));
        if let Err(error) = &filled {
            let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            let refused = tls.and_then(PeerError::from_rustls);
            self.refusal = refused.filter(|refused| matches!(refused, PeerError::Refused(_)));
        }
        Poll::Ready(filled.map(drop))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ends = &mut *self.0.borrow_mut();
        if ends.incoming.is_empty() {
            if let Stream::Plain(tcp) = &mut ends.stream {
                let before = out.filled().len();
                ready!(Pin::new(tcp).poll_read(cx, out))?;
                ends.watch(&out.filled()[before..]);
                return Poll::Ready(Ok(()));
            }
            ready!(ends.poll_fill(cx))?;
        }
        let count = ends.incoming.len().min(out.remaining());
        out.put_slice(&ends.incoming.bytes()[..count]);
        if let Some(unfinished) = &mut ends.unfinished {
            unfinished.take(&ends.incoming.bytes()[..count]);
        }
        ends.incoming.consume(count);
        ends.incoming.release();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let ends = &mut *self.0.borrow_mut();
        ready!(ends.poll_room(cx))?;
        Poll::Ready(Ok(ends.gather(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let ends = &mut *self.0.borrow_mut();
        ready!(ends.poll_room(cx))?;
        Poll::Ready(Ok(slices.iter().map(|slice| ends.gather(slice)).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Not yet: h2 asks for it after every frame, its task when there are no more.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ends = &mut *self.0.borrow_mut();
        ready!(ends.poll_flush(cx))?;
        ends.stream.poll_finish(cx)
    }
}
