//! The minimesh program.

fn main() {}
