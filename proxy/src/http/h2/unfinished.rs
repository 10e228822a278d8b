//! Whether a client is in the middle of a head: the h2 crate gathers header blocks without a word, and without a clock.
//!
//! Told of every byte that `wire` reads of a client, asked by `accept`. Looks at nothing but lengths, types and one flag; what they
//! mean, and whether they may follow each other, is h2's business.

use tokio::time::Instant;

/// Follows the frames of one direction of a connection.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// Bytes of a payload, or of the preface, that are to be passed over.
    skip: usize,
    /// The head of the present frame, as far as it has come.
    frame: [u8; FRAME_HEAD],
    have: usize,
    /// In a block of headers.
    open: bool,
    /// The payload that is being passed over ends it.
    closes: bool,
    since: Option<Instant>,
}

const FRAME_HEAD: usize = 9;
const PREFACE: usize = 24;

// RFC 9113 section 6
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

impl Unfinished {
    /// Of a connection of which nothing has been read yet.
    pub(super) fn new() -> Unfinished {
        Unfinished { skip: PREFACE, frame: [0; FRAME_HEAD], have: 0, open: false, closes: false, since: None }
    }

    /// Since when there has been a head, or the first bytes of a frame, that does not come to its end.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// More bytes have come.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = bytes.len().min(if self.skip > 0 { self.skip } else { FRAME_HEAD - self.have });
            let (now, rest) = bytes.split_at(passed);
            bytes = rest;
            if self.skip > 0 {
                self.skip -= passed;
            } else {
                self.frame[self.have..self.have + passed].copy_from_slice(now);
                self.have += passed;
                self.begin();
            }
            if self.skip == 0 && self.have == 0 && std::mem::take(&mut self.closes) {
                self.open = false;
                self.since = None;
            }
        }
        match self.open || self.have > 0 {
            true if self.since.is_none() => self.since = Some(Instant::now()),
            true => {}
            false => self.since = None,
        }
    }

    /// A frame begins, if its head is here.
    fn begin(&mut self) {
        if self.have < FRAME_HEAD {
            return;
        }
        self.have = 0;
        let [a, b, c, kind, flags, ..] = self.frame;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.open = true;
            self.closes = flags & END_HEADERS != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len() as u8;
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// After which bytes there is something unfinished.
    fn unfinished(bytes: &[u8], piece: usize) -> Vec<bool> {
        let mut watch = Unfinished::new();
        watch.take(&[b'P'; PREFACE]);
        let mut after = |piece: &[u8]| {
            watch.take(piece);
            watch.since().is_some()
        };
        bytes.chunks(piece).map(&mut after).collect()
    }

    #[test]
    fn a_head_is_unfinished_until_the_last_byte_of_its_last_frame() {
        let bytes = [frame(1, 0, b"ab"), frame(9, 0, b""), frame(9, 4, b"c")].concat();
        let found = unfinished(&bytes, 1);
        assert_eq!(found, [vec![true; bytes.len() - 1], vec![false]].concat());
        assert_eq!(unfinished(&frame(1, 4, b""), 9), [false], "a head may be empty");
    }

    #[test]
    fn what_is_no_head_may_take_its_time() {
        let data = frame(0, 0, b"abc");
        assert_eq!(unfinished(&data, 9), [false, false]);
        // but nobody begins a frame without ending its nine bytes
        assert_eq!(unfinished(&data, 4), [true, true, false]);
        let whole = [frame(4, 0, b"123456"), frame(1, 5, b"x"), data].concat();
        assert_eq!(unfinished(&whole, whole.len()), [false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_wins_no_time() {
        let mut watch = Unfinished::new();
        watch.take(&[b'P'; PREFACE]);
        let began = Instant::now();
        for byte in [frame(1, 0, b"abc"), frame(9, 0, b"def")].concat() {
            watch.take(&[byte]);
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(watch.since(), Some(began));
        watch.take(&frame(9, 4, b""));
        assert_eq!(watch.since(), None);
    }
}
