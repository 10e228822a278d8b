//! Bodies over HTTP/2 for the test applications, and gRPC's messages in them.
//!
//! The codec is the `h2` crate's, which the mesh uses too: a fault of it would be shared. What a body must be is known from
//! its seed, and real programs of other make are in the compatibility tests.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use h2::{Error, Reason, RecvStream, SendStream};
use minimesh_balance::Rng;

use crate::body::{Body, Digest};

/// Streams and connections of the stories may hold so much that nobody has read yet: larger than the protocol's 64 KiB, or
/// one large body would be all that a connection carries.
pub const WINDOW: u32 = 1 << 20;

/// The media type of gRPC.
pub const GRPC: &str = "application/grpc";

/// Sends bytes as the peer lets them go.
pub async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let granted = match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(granted) => granted?.min(bytes.len()),
            None => return Err(poll_fn(|cx| stream.poll_reset(cx)).await?.into()),
        };
        stream.send_data(bytes.split_to(granted), false)?;
    }
    Ok(())
}

/// Sends a body in pieces of random sizes, each as a gRPC message if that is wanted; the stream stays open.
pub async fn send_body(stream: &mut SendStream<Bytes>, mut body: Body, grpc: bool, rng: &mut Rng) -> Result<(), Error> {
    let mut buffer = vec![0; 64 * 1024];
    while body.left() > 0 {
        let size = 1 + rng.below(buffer.len());
        let piece = body.fill(&mut buffer[..size]);
        let piece = if grpc { message(piece) } else { Bytes::copy_from_slice(piece) };
        send(stream, piece).await?;
    }
    Ok(())
}

/// Hands every piece of a body to `each`, and what was read back to the peer's window.
pub async fn receive(body: &mut RecvStream, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        each(&piece);
    }
    Ok(())
}

/// SHA-256 of a body, or of what its gRPC messages contain.
pub async fn receive_digest(body: &mut RecvStream, grpc: bool) -> Result<String, Error> {
    let (mut digest, mut messages, mut whole) = (Digest::new(), Messages::default(), true);
    receive(body, |piece| match grpc {
        true => whole &= messages.take(piece, |content| digest.update(content)),
        false => digest.update(piece),
    })
    .await?;
    if whole && messages.is_complete() { Ok(digest.finish()) } else { Err(Reason::PROTOCOL_ERROR.into()) }
}

/// A message that is not compressed: a zero, four bytes of length, the content.
pub fn message(content: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD + content.len());
    bytes.extend_from_slice(&[0]);
    bytes.extend_from_slice(&u32::try_from(content.len()).expect("messages are small").to_be_bytes());
    bytes.extend_from_slice(content);
    bytes.freeze()
}

/// Takes messages apart, however they were cut.
#[derive(Debug, Default)]
pub struct Messages {
    head: Vec<u8>,
    left: usize,
}

impl Messages {
    /// Hands what a piece has of contents to `each`; false: it is not what [`message`] makes.
    #[must_use]
    pub fn take(&mut self, mut piece: &[u8], mut each: impl FnMut(&[u8])) -> bool {
        while !piece.is_empty() {
            if self.left == 0 {
                let (head, rest) = piece.split_at(piece.len().min(HEAD - self.head.len()));
                self.head.extend_from_slice(head);
                piece = rest;
                match self.head[..] {
                    [0, a, b, c, d] => {
                        self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                        self.head.clear();
                    }
                    [0, ..] => {}
                    _ => return false,
                }
            }
            let (content, rest) = piece.split_at(piece.len().min(self.left));
            each(content);
            self.left -= content.len();
            piece = rest;
        }
        true
    }

    /// Whether the last message was whole.
    pub fn is_complete(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }
}

/// Before each message.
const HEAD: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let wire = [message(b"one"), message(b""), message(b"three")].concat();
        for size in 1..wire.len() {
            let (mut messages, mut read) = (Messages::default(), Vec::new());
            for piece in wire.chunks(size) {
                assert!(messages.take(piece, |content| read.extend_from_slice(content)), "{size}");
            }
            assert_eq!((&*read, messages.is_complete()), (&b"onethree"[..], true), "{size}");
        }
        assert!(!Messages::default().take(&[1, 0, 0, 0, 0], |_| {}));
    }
}
