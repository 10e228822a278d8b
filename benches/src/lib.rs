//! Measurements of minimesh, and budgets that are tests. What was measured is in RESULTS.md, how to measure again in README.md.
//!
//! ```text
//! application   the smallest servers: HTTP/1, HTTP/2, gRPC, bytes
//! client        who asks them
//! counting      a global allocator that counts, and says who asked
//! pair          the sidecars of a client and a server in one process, over loopback
//! ```

pub mod application;
pub mod client;
pub mod counting;
pub mod pair;
