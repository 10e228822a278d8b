//! One message on its way: the head and the body bytes that came with it in one write, then the rest as it comes.

use std::io;
use std::task::{Context, Poll, ready};

use minimesh_route::HeaderEdits;

use super::body::Body;
use super::edit::{Cuts, write_head};
use crate::io::{BULK, Buffer, Stream, USUAL};

/// A connection and what was read of it.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: Stream,
    pub(crate) buffer: Buffer,
}

/// Why a message could not be moved.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The sender ended before the message did.
    Ended,
    /// The sender broke the framing.
    Malformed,
    /// Reading failed.
    Read(io::Error),
    /// Writing failed.
    Write,
}

/// What is kept of a message that may have to be sent again. Beyond, it waits for the word that it was delivered, or is
/// given up as not repeatable.
const HELD: usize = 64 * 1024;

/// Whether what was sent of a message stays at hand, for a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Not once more of it is to be read.
    No,
    /// As much as is held at most; beyond it is given up as not repeatable and goes on.
    Some,
    /// All of it, and it goes no further than that until it is released.
    Wait,
}

/// Progress of one message from one connection to the other.
#[derive(Debug)]
pub(crate) struct Transfer {
    body: Body,
    /// The receiver does not know chunks (HTTP/1.0): only their payload is passed on.
    payload_only: bool,
    /// The head as edited and the payload with it; empty where the bytes can go as they were read.
    edited: Buffer,
    /// Bytes at the front of the sender's buffer that were sent, or are in the first write: the head and what is known of the
    /// body. They stay there, so that a request that was not delivered can be sent again.
    held: usize,
    hold: Hold,
    /// What holds once it was delivered.
    then: Hold,
    /// Some of what was sent is no longer there.
    dropped: bool,
    /// Bytes behind those that are classified and not yet sent.
    pending: usize,
    /// Progress of the present write.
    at: usize,
    state: State,
    /// Bytes written so far.
    moved: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Rest,
    Done,
}

impl Transfer {
    /// A message whose head is the first `len` bytes of `buffer`. `extra` lines are added to the head.
    pub(crate) fn new(
        buffer: &Buffer,
        len: usize,
        cuts: &Cuts,
        edits: &HeaderEdits,
        extra: &[&[u8]],
        body: Body,
    ) -> Result<Transfer, Broken> {
        let mut transfer = Transfer {
            body,
            payload_only: false,
            edited: Buffer::default(),
            held: len,
            hold: Hold::No,
            then: Hold::No,
            dropped: false,
            pending: 0,
            at: 0,
            state: State::First,
            moved: 0,
        };
        let first = transfer.body.take(&buffer.bytes()[len..]).map_err(|_| Broken::Malformed)?;
        if !cuts.is_empty() || !edits.is_empty() || !extra.is_empty() {
            write_head(&buffer.bytes()[..len], cuts, edits, extra, &mut transfer.edited);
            transfer.edited.put(&buffer.bytes()[len..len + first]);
        }
        transfer.held += first;
        Ok(transfer)
    }

    /// Like `new` for a receiver that does not know chunks.
    pub(crate) fn payload_only(
        buffer: &Buffer,
        len: usize,
        cuts: &Cuts,
        edits: &HeaderEdits,
        extra: &[&[u8]],
        body: Body,
    ) -> Result<Transfer, Broken> {
        let mut transfer = Transfer::new(buffer, len, cuts, edits, extra, Body::Done)?;
        transfer.body = body;
        transfer.payload_only = true;
        if transfer.edited.is_empty() {
            transfer.edited.put(&buffer.bytes()[..len]);
        }
        let Transfer { body, edited, .. } = &mut transfer;
        let first = body.take_payload(&buffer.bytes()[len..], &mut |part| edited.put(part));
        transfer.held += first.map_err(|_| Broken::Malformed)?;
        Ok(transfer)
    }

    /// Keeps what it sends for a repetition, and still does once it was delivered where `then` says so.
    pub(crate) fn holding(mut self, hold: Hold, then: Hold) -> Transfer {
        (self.hold, self.then) = (hold, then);
        self
    }

    /// It was delivered: only a route may still want it to be repeated.
    pub(crate) fn release(&mut self) {
        self.hold = self.then;
    }

    /// Bytes at the front of the sender's buffer that are all of the message.
    pub(crate) fn whole(&self) -> Option<usize> {
        (self.is_done() && !self.dropped).then_some(self.held)
    }

    /// Whether the message can still be sent again from its beginning.
    pub(crate) fn is_repeatable(&self) -> bool {
        !self.dropped
    }

    /// Whether the whole message was passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes written so far.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// The same, with those of a write that is under way.
    pub(crate) fn written(&self) -> u64 {
        self.moved + self.at as u64
    }

    /// Bytes at the front of the sender's buffer that are held for a repetition.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The message needs no repetition any more: its bytes leave the sender's buffer.
    pub(crate) fn let_go(&mut self, buffer: &mut Buffer) {
        buffer.consume(self.held);
        self.held = 0;
        buffer.release();
    }

    /// Moves what can be moved; ready when the whole message was taken by the receiver's kernel, or cannot be.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, from: &mut Conn, to: &mut Stream) -> Poll<Result<(), Broken>> {
        loop {
            match self.state {
                State::First => {
                    ready!(self.poll_first(cx, from, to))?;
                    self.state = if self.body.is_done() { State::Done } else { State::Rest };
                }
                State::Rest => {
                    ready!(self.poll_rest(cx, from, to))?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_first(&mut self, cx: &mut Context<'_>, from: &Conn, to: &mut Stream) -> Poll<Result<(), Broken>> {
        let edited = !self.edited.is_empty();
        let data = if edited { self.edited.bytes() } else { &from.buffer.bytes()[..self.held] };
        ready!(to.poll_send(cx, data, &mut self.at)).map_err(|_| Broken::Write)?;
        self.moved += self.at as u64;
        self.at = 0;
        self.edited.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>, from: &mut Conn, to: &mut Stream) -> Poll<Result<(), Broken>> {
        loop {
            if !self.edited.is_empty() {
                ready!(to.poll_send(cx, self.edited.bytes(), &mut self.at)).map_err(|_| Broken::Write)?;
                self.edited.clear();
                self.moved += self.at as u64;
                self.at = 0;
            }
            if self.pending > 0 {
                let data = &from.buffer.bytes()[self.held..self.held + self.pending];
                ready!(to.poll_send(cx, data, &mut self.at)).map_err(|_| Broken::Write)?;
                self.held += self.pending;
                self.moved += self.at as u64;
                self.pending = 0;
                self.at = 0;
            }
            if self.hold == Hold::Some && self.held >= HELD {
                self.hold = Hold::No;
            }
            if self.hold == Hold::No && self.held > 0 {
                self.dropped = true;
                self.let_go(&mut from.buffer);
            }
            if self.body.is_done() {
                return Poll::Ready(Ok(()));
            }
            if from.buffer.len() == self.held {
                if self.hold == Hold::Wait && self.held >= HELD {
                    // whoever releases it polls again
                    return Poll::Pending;
                }
                let size = if self.body.is_bulky() { BULK } else { USUAL };
                match ready!(from.stream.poll_fill(cx, &mut from.buffer, size)) {
                    Ok(0) if self.body.ends_with_connection() => {
                        self.body = Body::Done;
                        return Poll::Ready(Ok(()));
                    }
                    Ok(0) => return Poll::Ready(Err(Broken::Ended)),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(Broken::Read(error))),
                }
            }
            self.classify(&mut from.buffer)?;
        }
    }

    /// How much of what was read belongs to the message.
    fn classify(&mut self, buffer: &mut Buffer) -> Result<(), Broken> {
        if self.payload_only {
            let edited = &mut self.edited;
            let taken = self.body.take_payload(buffer.bytes(), &mut |part| edited.put(part));
            buffer.consume(taken.map_err(|_| Broken::Malformed)?);
            buffer.release();
        } else {
            self.pending = self.body.take(&buffer.bytes()[self.held..]).map_err(|_| Broken::Malformed)?;
        }
        Ok(())
    }
}
