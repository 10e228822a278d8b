//! The opaque copy: bytes both ways between two connections until both directions ended.
//!
//! Half-close is kept (a FIN or close_notify ends one direction), RST is passed on as RST, and a TLS stream that is cut
//! short counts as RST: the other side must not take a truncated stream for a complete one.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::{BULK, Buffer, Stream};

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// Both directions ended cleanly.
    Complete,
    /// The proxy gave up (drain forced, policy changed).
    Stopped,
    /// One side failed or sent RST; the other was sent one.
    Reset,
}

/// What a copy did.
#[derive(Debug)]
pub(crate) struct Relayed {
    /// How it ended.
    pub(crate) end: RelayEnd,
    /// The failure, where there was one.
    pub(crate) error: Option<io::Error>,
}

/// One direction.
struct Pump {
    buffer: Buffer,
    at: usize,
    /// The bytes in the buffer may pass.
    asked: bool,
    state: State,
}

enum State {
    Copying,
    Finishing,
    Done,
}

/// What tells a copy to stop, and what learns of its bytes.
pub(crate) trait Watcher {
    /// Whether to give up now. Called on every wake-up: whoever changes the answer wakes the task.
    fn stopped(&self) -> bool;
    /// Whether bytes of the client may go to the server; if not, both connections are reset.
    fn passes(&self, bytes: &[u8]) -> bool;
    /// Bytes that went from the client to the server.
    fn sent(&self, bytes: usize);
    /// Bytes that went from the server to the client.
    fn received(&self, bytes: usize);
}

/// Copies until both directions ended; what was already read of either side goes first.
pub(crate) async fn relay(
    mut client: Stream,
    from_client: Buffer,
    mut server: Stream,
    from_server: Buffer,
    watcher: &dyn Watcher,
) -> Relayed {
    let mut up = Pump::new(from_client);
    let mut down = Pump::new(from_server);
    let result = poll_fn(|cx| {
        if watcher.stopped() {
            return Poll::Ready(Ok(RelayEnd::Stopped));
        }
        let passes = &|bytes: &[u8]| watcher.passes(bytes);
        let up = up.poll(cx, &mut client, &mut server, passes, &|bytes| watcher.sent(bytes));
        if let Poll::Ready(Err(error)) = up {
            return Poll::Ready(Err(error));
        }
        let down = down.poll(cx, &mut server, &mut client, &|_| true, &|bytes| watcher.received(bytes));
        match (up, down) {
            (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Ready(_), Poll::Ready(_)) => Poll::Ready(Ok(RelayEnd::Complete)),
            _ => Poll::Pending,
        }
    })
    .await;
    match result {
        Ok(RelayEnd::Complete) => Relayed { end: RelayEnd::Complete, error: None },
        Ok(end) => {
            client.reset();
            server.reset();
            Relayed { end, error: None }
        }
        Err(error) => {
            client.reset();
            server.reset();
            Relayed { end: RelayEnd::Reset, error: Some(error) }
        }
    }
}

impl Pump {
    fn new(buffer: Buffer) -> Pump {
        Pump { buffer, at: 0, asked: false, state: State::Copying }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        passes: &dyn Fn(&[u8]) -> bool,
        count: &dyn Fn(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            match self.state {
                State::Copying => {
                    if !self.buffer.is_empty() {
                        // once for all that is in the buffer
                        if !self.asked && !passes(self.buffer.bytes()) {
                            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
                        }
                        self.asked = true;
                        ready!(to.poll_send(cx, self.buffer.bytes(), &mut self.at))?;
                        count(self.buffer.len());
                        self.buffer.clear();
                        (self.at, self.asked) = (0, false);
                    }
                    if ready!(from.poll_fill(cx, &mut self.buffer, BULK))? == 0 {
                        self.state = State::Finishing;
                    }
                }
                State::Finishing => {
                    match ready!(to.poll_finish(cx)) {
                        Err(error) if error.kind() != io::ErrorKind::NotConnected => return Poll::Ready(Err(error)),
                        _ => self.state = State::Done,
                    };
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}
