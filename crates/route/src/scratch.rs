//! One reused buffer per thread, for the rare value that is in no single piece of memory: a regular expression over a
//! header that came in several lines, or over an encoded query parameter. Steady state allocates nothing.

use std::cell::Cell;

/// Larger buffers are not kept: one odd request must not cost memory for ever.
const KEPT: usize = 16 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `with` on an empty buffer.
pub(crate) fn with<R>(with: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    BUFFER.with(|cell| {
        let mut buffer = cell.take();
        buffer.clear();
        let result = with(&mut buffer);
        if buffer.capacity() <= KEPT {
            cell.set(buffer);
        }
        result
    })
}
