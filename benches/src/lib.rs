//! Measurements of minimesh, and budgets that are tests. What was measured is in RESULTS.md, how to measure again in README.md.
//!
//! ```text
//! application   the smallest servers: HTTP/1, HTTP/2, gRPC, bytes
//! client        who asks them
//! counting      a global allocator that counts, and says who asked
//! pair          the sidecars of a client and a server in one process, over loopback
//! ```
//!
//! Of the comparison with other proxies (`cargo xtask bench`, benches/peers):
//!
//! ```text
//! load          requests, at a rate or as fast as they go, and what they cost whom
//! origin        the application behind the proxies
//! percentile    order statistics
//! record        what was measured, as lines of JSON
//! report        what that means, for people
//! ```

pub mod application;
pub mod client;
pub mod counting;
pub mod load;
pub mod origin;
pub mod pair;
pub mod percentile;
pub mod record;
pub mod report;
