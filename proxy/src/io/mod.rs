//! Bytes in and out: pooled buffers, plain and TLS streams, and the opaque copy.
//!
//! Used by `http`, `outbound` and `inbound`. Nothing here knows HTTP, targets or policy. Everything is polled through
//! `&mut self`, so that one task drives both directions of a connection without a lock, a `RefCell` or a second task.

mod buffer;
mod relay;
mod stream;
mod tls;

pub(crate) use buffer::{BULK, Buffer, USUAL, trim};
pub(crate) use relay::{RelayEnd, Watcher, relay};
pub(crate) use stream::Stream;
pub(crate) use tls::{HandshakeError, Session, Tls};
