//! A global allocator that counts, and remembers who asked.
//!
//! A test binary installs it with `#[global_allocator]`. Every thread counts but those that asked not to (the test's own client
//! and server). The only file of this crate with `unsafe`: `GlobalAlloc` cannot be implemented without.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The system's allocator, counted.
#[derive(Debug)]
pub struct Counting;

/// Counting is on.
static ON: AtomicBool = AtomicBool::new(false);
/// Backtraces are kept too.
static TRACE: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
// allowed: only taken while backtraces are kept, which is no measurement of time
#[allow(clippy::disallowed_types)]
static TRACES: std::sync::Mutex<Vec<(String, Backtrace)>> = std::sync::Mutex::new(Vec::new());

thread_local! {
    /// This thread does not count. Constant and without destructor, so that asking never allocates.
    static IGNORED: Cell<bool> = const { Cell::new(false) };
    /// This thread is keeping a backtrace: what that allocates is not counted.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: every call is handed on to `System` with the arguments it came with; counting neither allocates through this path
// again (INSIDE) nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[inline]
fn note(size: usize) {
    if !ON.load(Ordering::Relaxed) || IGNORED.with(Cell::get) || INSIDE.with(Cell::get) {
        return;
    }
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(size as u64, Ordering::Relaxed);
    if TRACE.load(Ordering::Relaxed) {
        INSIDE.with(|inside| inside.set(true));
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let trace = Backtrace::force_capture();
        if let Ok(mut traces) = TRACES.lock() {
            traces.push((thread, trace));
        }
        INSIDE.with(|inside| inside.set(false));
    }
}

/// From now on this thread's allocations do not count.
pub fn ignore_this_thread() {
    IGNORED.with(|ignored| ignored.set(true));
}

/// What was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Calls of `alloc`, `alloc_zeroed` and `realloc`.
    pub allocations: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// Counts while `work` runs.
pub fn count(work: impl FnOnce()) -> Counted {
    ALLOCATIONS.store(0, Ordering::SeqCst);
    BYTES.store(0, Ordering::SeqCst);
    ON.store(true, Ordering::SeqCst);
    work();
    ON.store(false, Ordering::SeqCst);
    Counted { allocations: ALLOCATIONS.load(Ordering::SeqCst), bytes: BYTES.load(Ordering::SeqCst) }
}

/// Runs `work` and says who allocated: thread and crate of the innermost frame outside of the standard library, and how often,
/// with one whole backtrace each.
pub fn attribute(work: impl FnOnce()) -> BTreeMap<(String, String), Caller> {
    TRACE.store(true, Ordering::SeqCst);
    count(work);
    TRACE.store(false, Ordering::SeqCst);
    let traces = TRACES.lock().map(|mut traces| std::mem::take(&mut *traces)).unwrap_or_default();
    let mut callers: BTreeMap<(String, String), Caller> = BTreeMap::new();
    for (thread, trace) in traces {
        let text = trace.to_string();
        let caller = callers.entry((thread, crate_of(&text))).or_default();
        caller.allocations += 1;
        if caller.example.is_empty() {
            caller.example = text;
        }
    }
    callers
}

/// A crate that allocated.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// How often.
    pub allocations: u64,
    /// The backtrace of one.
    pub example: String,
}

/// The crate whose code asked: the first frame that is neither the standard library's nor this file's. A generic function of one
/// crate that is compiled for another counts for the one that wrote it. Frames that were inlined may have a bare name, which
/// tells no crate: the caller's counts.
fn crate_of(trace: &str) -> String {
    let names =
        trace.lines().filter_map(|line| line.trim_start().split_once(": ")).filter(|(number, _)| is_number(number));
    let is_path = |name: &str| name.starts_with('<') || name.split('<').next().is_some_and(|path| path.contains("::"));
    let names = names.filter(|(_, name)| is_path(name));
    let mut crates = names.map(|(_, name)| crate_in(name));
    crates.find(|name| !STANDARD.contains(&name.as_str())).unwrap_or_else(|| "unknown".into())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `<rustls::x::Y<T> as core::Z>::f` and `rustls::x::f` both are of `rustls`.
fn crate_in(name: &str) -> String {
    let name = name.trim_start_matches(['<', '&', '*', '[', '(']).trim_start_matches("mut ").trim_start_matches("dyn ");
    name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

const STANDARD: [&str; 10] =
    ["alloc", "core", "std", "hashbrown", "minimesh_benches", "__rustc", "__rust_alloc", "backtrace_rs", "str", "u8"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_outside_of_the_standard_library_is_the_caller() {
        let trace = "   0: std::backtrace::Backtrace::force_capture\n             at ./x.rs:1\n   1: __rustc::__rust_alloc\n   \
                     2: <alloc::vec::Vec<T> as core::convert::From<&[T]>>::from\n   3: <rustls::a::B as rustls::C>::d::{{closure}}\n   \
                     4: minimesh_proxy::x\n";
        assert_eq!(crate_of(trace), "rustls");
        let inlined = "   0: new<[u8; 3], h2::x::Y>\n   1: <u8 as alloc::slice::hack::ConvertVec>::to_vec\n   2: h2::proto::send\n";
        assert_eq!(crate_of(inlined), "h2");
        assert_eq!(crate_of(""), "unknown");
    }
}
