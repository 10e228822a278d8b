//! The pure index.
