//! How `minimesh` is linked.
//!
//! The program is position-independent, and half a megabyte to one of addresses has to be relocated at its start. As a packed table
//! (DT_RELR) that list has 1/30 of the size; as an ordinary one every process, so every sidecar, keeps it in memory
//! (docs/adr/008). The loader must know the packed form: glibc does from 2.36 on. Where that is not certain, nothing is packed.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if glibc().is_some_and(|version| version >= FIRST_GLIBC) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Of this machine, where the program is going to run on it.
fn glibc() -> Option<(u32, u32)> {
    if variable("HOST") != variable("TARGET") || variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return None;
    }
    // "glibc 2.36"
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let (major, minor) = std::str::from_utf8(&answer).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[allow(clippy::disallowed_methods)] // cargo tells build scripts everything through the environment
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

const FIRST_GLIBC: (u32, u32) = (2, 36);
