//! Buffers from a worker-local LIFO free list.
//!
//! A connection holds memory only while bytes are pending: `release` gives it back, and waiting for readability holds none.
//! LIFO keeps the few buffers in use warm in the cache (spikes.md S2). Never shared between threads.

use std::cell::RefCell;

/// Holds a request head that waits for its response, so that a request in flight does not keep a whole read buffer.
const HELD: usize = 2 * 1024;

/// One read: a TLS record (16 KiB and its frame) and some.
pub(crate) const USUAL: usize = 20 * 1024;

/// Opaque copies and large bodies: 64 KiB of payload and the frames of its records. 128 KiB was no better (spikes.md, Extra).
pub(crate) const BULK: usize = 68 * 1024;

/// Free buffers kept of each size: what a busy worker needs at once. What a burst needed beyond goes back to the system.
const KEEP: [usize; 3] = [256, 32, 8];

const SIZES: [usize; 3] = [HELD, USUAL, BULK];

thread_local! {
    static FREE: RefCell<[Vec<Box<[u8]>>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

fn take(size: usize) -> Box<[u8]> {
    let Some(class) = SIZES.iter().position(|class| size <= *class) else {
        return vec![0; size].into_boxed_slice();
    };
    let free = FREE.with(|free| free.borrow_mut()[class].pop());
    free.unwrap_or_else(|| vec![0; SIZES[class]].into_boxed_slice())
}

fn give(memory: Box<[u8]>) {
    let Some(class) = SIZES.iter().position(|class| memory.len() == *class) else { return };
    // A buffer that outlives its thread's free list is simply dropped.
    let _ = FREE.try_with(|free| {
        let list = &mut free.borrow_mut()[class];
        if list.len() < KEEP[class] {
            list.push(memory);
        }
    });
}

/// Gives free buffers back to the system; called by the worker's sweep when nothing happened for a while.
pub(crate) fn trim() {
    FREE.with(|free| {
        for list in free.borrow_mut().iter_mut() {
            list.truncate(1);
            list.shrink_to_fit();
        }
    });
}

/// Bytes pending, and room for more. Without pending bytes it owns no memory once `release` was called.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    memory: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The pending bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Some(memory) => &memory[self.start..self.end],
            None => &[],
        }
    }

    /// The pending bytes, writable: rustls decrypts in place.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Some(memory) => &mut memory[self.start..self.end],
            None => &mut [],
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room to read into, never empty. An empty buffer becomes at least `size` large; a full one grows.
    #[inline]
    pub(crate) fn room(&mut self, size: usize) -> &mut [u8] {
        let capacity = self.memory.as_ref().map_or(0, |memory| memory.len());
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            if capacity < size {
                self.replace(size);
            }
        } else if self.end == capacity {
            if self.start > 0 {
                self.compact();
            } else {
                self.replace(next_size(capacity));
            }
        }
        let end = self.end;
        match &mut self.memory {
            Some(memory) => &mut memory[end..],
            None => &mut [],
        }
    }

    /// Room for `size` bytes more, contiguous.
    pub(crate) fn reserve(&mut self, size: usize) -> &mut [u8] {
        let capacity = self.memory.as_ref().map_or(0, |memory| memory.len());
        if capacity < self.len() + size {
            self.replace(self.len() + size);
        } else if capacity - self.end < size {
            self.compact();
        }
        let end = self.end;
        match &mut self.memory {
            Some(memory) => &mut memory[end..],
            None => &mut [],
        }
    }

    /// `count` bytes were written into the room.
    #[inline]
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.memory.as_ref().is_some_and(|memory| self.end <= memory.len()));
    }

    /// The first `count` bytes are done with.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
    }

    /// Appends.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.reserve(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Forgets what is pending and gives the memory back.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        if let Some(memory) = self.memory.take() {
            give(memory);
        }
    }

    /// Gives the memory back where nothing is pending.
    #[inline]
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            self.clear();
        }
    }

    /// Moves a short remainder into a small buffer: for the wait with a request in hand.
    #[inline]
    pub(crate) fn shrink(&mut self) {
        let capacity = self.memory.as_ref().map_or(0, |memory| memory.len());
        if self.len() <= HELD && capacity > HELD {
            if self.is_empty() {
                self.clear();
            } else {
                self.replace(HELD);
            }
        }
    }

    fn compact(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.copy_within(self.start..self.end, 0);
        }
        self.end -= self.start;
        self.start = 0;
    }

    fn replace(&mut self, size: usize) {
        let mut memory = take(size);
        let length = self.len();
        memory[..length].copy_from_slice(self.bytes());
        if let Some(old) = self.memory.replace(memory) {
            give(old);
        }
        self.start = 0;
        self.end = length;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.clear();
    }
}

fn next_size(capacity: usize) -> usize {
    SIZES.iter().copied().find(|size| *size > capacity).unwrap_or(capacity * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_to_the_last_user() {
        let mut first = Buffer::default();
        first.put(b"hello");
        let memory = first.bytes().as_ptr();
        first.consume(5);
        first.release();
        let mut second = Buffer::default();
        second.put(b"again");
        assert_eq!(second.bytes().as_ptr(), memory);
    }

    #[test]
    fn grows_without_losing_bytes() {
        let mut buffer = Buffer::default();
        let data: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        for part in data.chunks(777) {
            buffer.put(part);
        }
        assert_eq!(buffer.bytes(), data);
        buffer.consume(150_000);
        let room = buffer.room(USUAL).len();
        assert!(room > 0);
        assert_eq!(buffer.bytes(), &data[150_000..]);
    }

    #[test]
    fn a_full_buffer_gets_room() {
        let mut buffer = Buffer::default();
        let size = buffer.room(USUAL).len();
        buffer.filled(size);
        assert!(!buffer.room(USUAL).is_empty());
        assert_eq!(buffer.len(), size);
    }

    #[test]
    fn shrinking_keeps_the_bytes() {
        let mut buffer = Buffer::default();
        buffer.room(USUAL)[..3].copy_from_slice(b"abc");
        buffer.filled(3);
        buffer.consume(1);
        buffer.shrink();
        assert_eq!(buffer.bytes(), b"bc");
    }
}
