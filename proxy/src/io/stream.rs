//! One connection, plain or TLS, behind one set of poll functions.
//!
//! Reading and writing have separate wakers, so a task may poll both directions in turn. TLS state is boxed: inline it made
//! every nested future a kilobyte larger (spikes.md, Pitfalls).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Buffer, Tls, USUAL};
use crate::net::reached_nobody;

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As the peer sent it.
    Plain(TcpStream),
    /// Inside mesh TLS.
    Tls(Box<Tls>),
    /// Moved elsewhere.
    Closed,
    /// A client that says nothing and takes everything: the one that a copy of a request has.
    Nobody,
}

impl Stream {
    /// The socket, where there is one.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Plain(tcp) => Some(tcp),
            Stream::Tls(tls) => Some(tls.tcp()),
            Stream::Closed | Stream::Nobody => None,
        }
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Stream::Plain(_) | Stream::Closed | Stream::Nobody => None,
            Stream::Tls(tls) => Some(tls),
        }
    }

    /// Appends what has come to `buffer`, and says how much; 0 is the peer's clean end (FIN; for TLS its close_notify). A TLS
    /// stream that ends without close_notify is an error.
    #[inline]
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
        size: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(tcp) => poll_read(tcp, cx, buffer, size),
            Stream::Tls(tls) => tls.poll_fill(cx, buffer, size),
            Stream::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Stream::Nobody => Poll::Pending,
        }
    }

    /// Writes `data[*at..]`; ready when the kernel has taken all of it. To be polled again with the same `data` and `at`.
    #[inline]
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], at: &mut usize) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(tcp) => poll_write(tcp, cx, data, at),
            Stream::Tls(tls) => tls.poll_send(cx, data, at),
            Stream::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Stream::Nobody => {
                *at = data.len();
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Ends this side's direction: close_notify where TLS, then FIN. The other direction stays open.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => tls.poll_finish(cx),
            Stream::Closed | Stream::Nobody => Poll::Ready(Ok(())),
        }
    }

    #[inline]
    pub(crate) async fn fill(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, buffer, USUAL)).await
    }

    #[inline]
    pub(crate) async fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let mut at = 0;
        poll_fn(|cx| self.poll_send(cx, data, &mut at)).await
    }

    /// Ends our direction and drops the connection; bytes that cannot be written at once are lost.
    pub(crate) async fn close(mut self) {
        poll_fn(|cx| {
            let _ = self.poll_finish(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Drops the connection with an RST: the peer must not take what it got for complete.
    pub(crate) fn reset(self) {
        // Without the option the peer sees a FIN, which is all that can still be done.
        let _ = self.tcp().map(TcpStream::set_zero_linger);
    }

    /// After the peer's end: whether it provably took nothing of the last `written` bytes. A proxy of ours says so with its
    /// close_notify, after which it forwards nothing.
    pub(crate) fn took_nothing(&self, written: u64) -> bool {
        match self {
            Stream::Plain(tcp) => reached_nobody(tcp, written),
            Stream::Tls(_) => true,
            Stream::Closed | Stream::Nobody => false,
        }
    }

    /// Whether an idle connection in a pool can still be used: nothing has come but TLS housekeeping (tickets).
    pub(crate) fn poll_usable(&mut self, cx: &mut Context<'_>) -> bool {
        if let Stream::Plain(tcp) = self {
            // The kernel is asked, not the reactor, which may not have looked since the application closed: a request that is
            // written then is lost. A system call costs less than that.
            let mut byte = [std::mem::MaybeUninit::uninit()];
            let peeked = SockRef::from(&*tcp).peek(&mut byte);
            return matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        }
        let mut unexpected = Buffer::default();
        self.poll_fill(cx, &mut unexpected, USUAL).is_pending()
    }
}

#[inline]
pub(super) fn poll_read(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut Buffer,
    size: usize,
) -> Poll<io::Result<usize>> {
    // Asked first, so that a wait holds no memory.
    ready!(tcp.poll_read_ready(cx))?;
    let mut room = ReadBuf::new(buffer.room(size));
    match Pin::new(tcp).poll_read(cx, &mut room) {
        Poll::Ready(Ok(())) => {
            let count = room.filled().len();
            buffer.filled(count);
            if count == 0 {
                buffer.release();
            }
            Poll::Ready(Ok(count))
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => {
            buffer.release();
            Poll::Pending
        }
    }
}

#[inline]
pub(super) fn poll_write(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    data: &[u8],
    at: &mut usize,
) -> Poll<io::Result<()>> {
    while *at < data.len() {
        let count = ready!(Pin::new(&mut *tcp).poll_write(cx, &data[*at..]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *at += count;
    }
    Poll::Ready(Ok(()))
}
