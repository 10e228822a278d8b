//! Fuzz targets: what must hold for any bytes, one function and one file for each parser.
//!
//! `tests/corpus.rs` runs every target over its corpus with the other tests; `tests/fuzz.rs` is the engine, which
//! `cargo xtask fuzz` builds and runs. See README.md. A target panics where something does not hold, and never else.

mod dice;
mod route;
mod spiffe;
mod wire;
mod yaml;

use minimesh_proxy::fuzzing;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of its corpus too.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&[u8]),
}

/// All of them; alphabetical.
pub const TARGETS: [Target; 8] = [
    Target { name: "chunked", run: fuzzing::chunked },
    Target { name: "client-hello", run: fuzzing::client_hello },
    Target { name: "detect", run: fuzzing::detect },
    Target { name: "head", run: fuzzing::head },
    Target { name: "route", run: route::run },
    Target { name: "spiffe", run: spiffe::run },
    Target { name: "wire", run: wire::run },
    Target { name: "yaml", run: yaml::run },
];

/// By its name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
