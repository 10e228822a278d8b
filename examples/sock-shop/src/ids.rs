//! Random identifiers: what a database or a service of the shop assigns.

use aws_lc_rs::rand;

/// 64 random bits.
pub(crate) fn number() -> u64 {
    u64::from_le_bytes(bytes())
}

/// A number below `limit`; zero when `limit` is.
pub(crate) fn below(limit: usize) -> usize {
    number().checked_rem(limit as u64).unwrap_or(0) as usize
}

/// 24 hexadecimal digits, as MongoDB's object ids.
pub(crate) fn object_id() -> String {
    hex(&bytes::<12>())
}

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random numbers do not end");
    bytes
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).expect("four bits are one digit"));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_ids_are_24_digits_and_differ() {
        let (one, two) = (object_id(), object_id());
        assert_eq!(one.len(), 24);
        assert_ne!(one, two);
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
