//! Bodies that both ends can make and check: bytes that follow from a seed, and their SHA-256.

use aws_lc_rs::digest::{Context, SHA256};

/// Bytes that follow from a seed.
pub struct Body {
    seed: u64,
    position: u64,
    left: u64,
}

impl Body {
    /// `length` bytes of `seed`.
    pub fn new(seed: u64, length: u64) -> Body {
        Body { seed, position: 0, left: length }
    }

    /// Bytes still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Writes the next bytes into `buffer`, as many as fit and are left.
    pub fn fill<'b>(&mut self, buffer: &'b mut [u8]) -> &'b [u8] {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let (head, words) = buffer[..length].split_at_mut(length.min(((8 - self.position % 8) % 8) as usize));
        if !head.is_empty() {
            let offset = (self.position % 8) as usize;
            head.copy_from_slice(&self.word(self.position / 8)[offset..offset + head.len()]);
        }
        let first = (self.position + head.len() as u64) / 8;
        for (index, chunk) in (first..).zip(words.chunks_mut(8)) {
            chunk.copy_from_slice(&self.word(index)[..chunk.len()]);
        }
        self.position += length as u64;
        self.left -= length as u64;
        &buffer[..length]
    }

    /// splitmix64
    fn word(&self, index: u64) -> [u8; 8] {
        let mut word = self.seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()
    }

    /// SHA-256 of what is left, in hex.
    pub fn sha256(mut self) -> String {
        let (mut digest, mut buffer) = (Digest::new(), vec![0; 64 * 1024]);
        while self.left > 0 {
            digest.update(self.fill(&mut buffer));
        }
        digest.finish()
    }
}

/// SHA-256 as it grows.
pub struct Digest(Context);

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Digest {
        Digest(Context::new(&SHA256))
    }

    /// And of these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hex.
    pub fn finish(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// SHA-256 of `bytes`, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    let mut digest = Digest::new();
    digest.update(bytes);
    digest.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_whole() {
        let whole = Body::new(7, 1000).fill(&mut [0; 1000]).to_vec();
        let (mut body, mut pieces) = (Body::new(7, 1000), Vec::new());
        while body.left() > 0 {
            pieces.extend_from_slice(body.fill(&mut [0; 61]));
        }
        assert_eq!(pieces, whole);
        assert_eq!(Body::new(7, 1000).sha256(), sha256(&whole));
    }
}
