//! The minimesh program.

#[allow(dead_code)]
mod stats;

fn main() {}
