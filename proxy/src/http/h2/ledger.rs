//! What a worker holds of HTTP/2 for all clients together: streams, and requests' bodies that are kept for another attempt.
//!
//! Each stream and each connection has bounds of its own; many of them within theirs would still be too much. When there are many
//! streams, a connection that has its share gets no more ([`is_crowded`]); when much is kept, no more is ([`Kept::add`]). Ordinary load
//! comes to neither.
//!
//! A worker is one thread, so these are cells of a thread.

use std::cell::Cell;

/// What a connection may have of them in any case: so an innocent one is served, whoever else makes a crowd.
const SHARE: usize = 16;

/// Of all requests' bodies, for another attempt. A request that finds no room is sent once.
const KEPT: usize = 8 << 20;

thread_local! {
    static STREAMS: Cell<usize> = const { Cell::new(0) };
    static KEPT_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// A stream of a client, counted while it lives.
pub(super) struct Counted(());

/// Bytes that are kept of one request.
#[derive(Default)]
pub(super) struct Kept(usize);

/// Whether there are so many streams, `most` of them, that a connection which has `own` gets no more. Each takes 5 to 8 KiB beside its
/// body: its task, its heads, its part of two connections.
pub(super) fn is_crowded(own: usize, most: usize) -> bool {
    own >= SHARE && STREAMS.get() >= most
}

impl Counted {
    pub(super) fn new() -> Counted {
        STREAMS.set(STREAMS.get() + 1);
        Counted(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        STREAMS.set(STREAMS.get() - 1);
    }
}

impl Kept {
    /// Keeps so many more, if there is room for them.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        let all = KEPT_BYTES.get() + bytes;
        let fits = all <= KEPT;
        if fits {
            KEPT_BYTES.set(all);
            self.0 += bytes;
        }
        fits
    }

    pub(super) fn bytes(&self) -> usize {
        self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT_BYTES.set(KEPT_BYTES.get() - self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 128 * 1024;

    #[test]
    fn what_is_kept_of_all_requests_is_bounded() {
        let mut kept: Vec<Kept> = (0..KEPT / PIECE).map(|_| Kept::default()).collect();
        assert!(kept.iter_mut().all(|kept| kept.add(PIECE)));
        assert!(!Kept::default().add(1));
        kept.pop();
        assert!(Kept::default().add(PIECE));
    }

    #[test]
    fn in_a_crowd_whoever_has_its_share_gets_no_more() {
        let mut streams: Vec<Counted> = (1..100).map(|_| Counted::new()).collect();
        assert!(!is_crowded(100, 100));
        streams.push(Counted::new());
        assert!(is_crowded(SHARE, 100) && !is_crowded(SHARE - 1, 100));
        streams.pop();
        assert!(!is_crowded(SHARE, 100));
    }
}
