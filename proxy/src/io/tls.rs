//! Mesh TLS over rustls' unbuffered API: own buffers, reads as large as we like, many records in one write.
//!
//! Knows nothing of identities: `minimesh-identity` makes the configurations and checks the peers. KeyUpdate, tickets and
//! alerts are rustls' business; their records travel with the next write or, if none comes, as soon as the socket takes them.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::HandshakeKind;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::stream::{poll_read, poll_write};
use super::{BULK, Buffer, USUAL};

/// Plaintext in one write, so that its records fit a bulk buffer.
const WRITE: usize = 64 * 1024;

/// Either end of a TLS connection.
#[allow(clippy::large_enum_variant, reason = "always inside Box<Tls>")]
pub(crate) enum Session {
    /// We dialled.
    Client(UnbufferedClientConnection),
    /// We accepted.
    Server(UnbufferedServerConnection),
}

/// Why a handshake did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// TLS refused, on this side or (an alert) on the other.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// An established TLS connection.
pub(crate) struct Tls {
    tcp: TcpStream,
    session: Session,
    /// Ciphertext that has come.
    incoming: Buffer,
    /// Decrypted, not yet asked for.
    plain: Buffer,
    /// Ciphertext to be written.
    outgoing: Buffer,
    /// The peer sent close_notify.
    ended: bool,
    /// We sent close_notify.
    finished: bool,
    /// What came is no TLS.
    broken: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("tcp", &self.tcp).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// What rustls wants next.
enum Step {
    /// Something changed: ask again.
    Again,
    /// The handshake needs bytes from the peer.
    Blocked,
    /// Nothing to read; writing is possible.
    Quiet,
    /// Both sides have closed.
    Closed,
}

impl Tls {
    /// Performs the handshake; `received` is what was read while deciding that this is TLS.
    pub(crate) async fn handshake(
        tcp: TcpStream,
        session: Session,
        received: Buffer,
    ) -> Result<Box<Tls>, HandshakeError> {
        let mut tls = Box::new(Tls {
            tcp,
            session,
            incoming: received,
            plain: Buffer::default(),
            outgoing: Buffer::default(),
            ended: false,
            finished: false,
            broken: false,
        });
        loop {
            match tls.step() {
                Ok(Step::Again) => continue,
                Ok(Step::Quiet) if !tls.session.is_handshaking() => break,
                Ok(Step::Blocked | Step::Quiet) => {}
                Ok(Step::Closed) => return Err(HandshakeError::Closed),
                Err(error) => {
                    tls.say_why().await;
                    return Err(error.into());
                }
            }
            if tls.ended {
                return Err(HandshakeError::Closed);
            }
            poll_fn(|cx| tls.poll_flush(cx)).await?;
            let Tls { tcp, incoming, .. } = &mut *tls;
            if poll_fn(|cx| poll_read(tcp, cx, incoming, USUAL)).await? == 0 {
                return Err(HandshakeError::Closed);
            }
        }
        poll_fn(|cx| tls.poll_flush(cx)).await?;
        tls.incoming.release();
        Ok(tls)
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The protocol that both sides agreed on.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match &self.session {
            Session::Client(session) => session.alpn_protocol(),
            Session::Server(session) => session.alpn_protocol(),
        }
    }

    /// Whether the session was resumed from a ticket.
    pub(crate) fn is_resumed(&self) -> bool {
        let kind = match &self.session {
            Session::Client(session) => session.handshake_kind(),
            Session::Server(session) => session.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// The chain that the peer presented, in this handshake or the one that is resumed.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.session {
            Session::Client(session) => session.peer_certificates(),
            Session::Server(session) => session.peer_certificates(),
        }
    }

    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
        size: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.incoming.is_empty() {
                self.decrypt()?;
            }
            if !self.plain.is_empty() {
                return Poll::Ready(Ok(self.hand_over(buffer)));
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            if ready!(poll_read(&mut self.tcp, cx, &mut self.incoming, size))? == 0 {
                // Truncation: without close_notify nobody knows whether this was all.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.decrypt()?;
            // Answers to KeyUpdate go out now if the socket takes them, else with the next write, which also says if it fails: a
            // peer that takes no more may have sent something before.
            if !self.outgoing.is_empty() {
                let _ = self.poll_flush(cx);
            }
        }
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], at: &mut usize) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(cx))?;
            if *at == data.len() {
                return Poll::Ready(Ok(()));
            }
            let part = &data[*at..data.len().min(*at + WRITE)];
            self.encrypt(part)?;
            *at += part.len();
        }
    }

    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            self.finished = true;
            if !self.broken {
                self.queue_close_notify()?;
            }
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.outgoing.is_empty() {
            let mut at = 0;
            let written = poll_write(&mut self.tcp, cx, self.outgoing.bytes(), &mut at);
            self.outgoing.consume(at);
            ready!(written)?;
        }
        self.outgoing.release();
        Poll::Ready(Ok(()))
    }

    /// Everything in `incoming` that is complete goes to `plain`.
    fn decrypt(&mut self) -> io::Result<()> {
        if self.incoming.len() > USUAL {
            // Many records: one buffer that takes all of them, instead of growing from record to record.
            self.plain.room(BULK);
        }
        while matches!(self.step().map_err(broken)?, Step::Again) {}
        self.incoming.release();
        self.plain.release();
        Ok(())
    }

    /// Decrypted bytes go to the caller: as the buffer they are in where that is possible.
    fn hand_over(&mut self, buffer: &mut Buffer) -> usize {
        let count = self.plain.len();
        if buffer.is_empty() {
            mem::swap(buffer, &mut self.plain);
        } else {
            buffer.put(self.plain.bytes());
        }
        self.plain.clear();
        count
    }

    /// One turn of rustls' state machine, until it is broken.
    fn step(&mut self) -> Result<Step, rustls::Error> {
        if self.broken {
            return Err(rustls::Error::General("the connection is broken".into()));
        }
        let step = self.turn();
        if step.is_err() {
            self.broken = true;
            // the alert that it has queued, if any; shown the same bytes once more, it would be offended once more
            let _ = self.turn();
        }
        step
    }

    fn turn(&mut self) -> Result<Step, rustls::Error> {
        let incoming = self.incoming.bytes_mut();
        let (discard, step) = match &mut self.session {
            Session::Client(session) => {
                turn(session.process_tls_records(incoming), &mut self.plain, &mut self.outgoing, &mut self.ended)
            }
            Session::Server(session) => {
                turn(session.process_tls_records(incoming), &mut self.plain, &mut self.outgoing, &mut self.ended)
            }
        };
        self.incoming.consume(discard);
        step
    }

    fn encrypt(&mut self, part: &[u8]) -> io::Result<()> {
        // Whatever rustls wants to say or hand over first (tickets, KeyUpdate, records already here) comes first.
        while matches!(self.step().map_err(broken)?, Step::Again) {}
        let incoming = self.incoming.bytes_mut();
        let outgoing = &mut self.outgoing;
        match &mut self.session {
            Session::Client(session) => seal(session.process_tls_records(incoming), Some(part), outgoing),
            Session::Server(session) => seal(session.process_tls_records(incoming), Some(part), outgoing),
        }
    }

    fn queue_close_notify(&mut self) -> io::Result<()> {
        while matches!(self.step().map_err(broken)?, Step::Again) {}
        let incoming = self.incoming.bytes_mut();
        let outgoing = &mut self.outgoing;
        match &mut self.session {
            Session::Client(session) => seal(session.process_tls_records(incoming), None, outgoing),
            Session::Server(session) => seal(session.process_tls_records(incoming), None, outgoing),
        }
    }

    /// After a failed handshake: the alert, as far as the socket takes it.
    async fn say_why(&mut self) {
        poll_fn(|cx| {
            let _ = self.poll_flush(cx);
            Poll::Ready(())
        })
        .await;
    }
}

impl Session {
    fn is_handshaking(&self) -> bool {
        match self {
            Session::Client(session) => session.is_handshaking(),
            Session::Server(session) => session.is_handshaking(),
        }
    }
}

/// Handles one state: how much of the input is done with, and what comes next.
fn turn<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Buffer,
    outgoing: &mut Buffer,
    ended: &mut bool,
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => plain.put(record.payload),
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            // First asked with no room at all: the answer is the size.
            let size = match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(needed)) => needed.required_size,
                _ => 0,
            };
            match data.encode(outgoing.reserve(size)) {
                Ok(count) => {
                    outgoing.filled(count);
                    Ok(Step::Again)
                }
                Err(error) => Err(rustls::Error::General(error.to_string())),
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => {
            *ended = true;
            Ok(Step::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Quiet),
        Ok(ConnectionState::Closed) => {
            *ended = true;
            Ok(Step::Closed)
        }
        // Early data is off, and later versions' states are not ours to guess.
        Ok(_) => Err(rustls::Error::General("unexpected TLS state".into())),
    };
    (discard, step)
}

/// Encrypts `part`, or the close_notify alert, into `outgoing`.
fn seal<D>(status: UnbufferedStatus<'_, '_, D>, part: Option<&[u8]>, outgoing: &mut Buffer) -> io::Result<()> {
    let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    // A record adds 22 bytes (header 5, type 1, tag 16) to at most 16 KiB.
    let length = part.map_or(2, <[u8]>::len);
    let room = outgoing.reserve(length + (length / 16_384 + 1) * 32);
    let sealed = match part {
        Some(part) => traffic.encrypt(part, room),
        None => traffic.queue_close_notify(room),
    };
    match sealed {
        Ok(count) => {
            outgoing.filled(count);
            Ok(())
        }
        Err(EncryptError::InsufficientSize(_)) => Err(io::Error::other("TLS record larger than foreseen")),
        Err(EncryptError::EncryptExhausted) => Err(io::Error::other("TLS key used up")),
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
