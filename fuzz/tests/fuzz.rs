//! The engine: libFuzzer's `main`, around the target that MINIMESH_FUZZ_TARGET names. Built and run by `cargo xtask fuzz`.
#![no_main]

use std::sync::LazyLock;

use minimesh_fuzz::{Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var_os("MINIMESH_FUZZ_TARGET").unwrap_or_default();
    target(&name.to_string_lossy()).expect("MINIMESH_FUZZ_TARGET names a target")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
