//! What is not HTTP: the protocols of the databases and of the queue, both ends of each.
//!
//! ```text
//! documents.rs   MongoDB's framing (OP_MSG), JSON inside: the client speaks first
//! queue.rs       AMQP 0-9-1's frames: header first, then methods, messages, heartbeats
//! rows.rs        MySQL's packets: the server speaks first
//! sessions.rs    RESP, as Redis speaks it
//! stream.rs      what the servers and clients of all of them share
//! ```
//!
//! A peer's bytes never panic: they are an error and the connection ends.

pub(crate) mod documents;
pub(crate) mod queue;
pub(crate) mod rows;
pub(crate) mod sessions;
pub(crate) mod stream;
