//! Measurements of minimesh, and budgets that are tests. What was measured is in RESULTS.md, how to measure again in README.md.
//!
//! ```text
//! counting   a global allocator that counts, and says who asked
//! pair       the sidecars of a client and a server in one process, over loopback
//! ```

pub mod counting;
pub mod pair;
