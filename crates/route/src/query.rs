//! Query strings: split and decoded while they are compared, never copied for an exact comparison.

/// The raw value of the first parameter whose decoded name is `name`; a parameter without `=` has an empty value.
pub(crate) fn first_value<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        let (key, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[pair.len()..]),
        };
        decoded(key).eq(name.iter().copied()).then_some(value)
    })
}

/// Whether decoding changes anything.
pub(crate) fn is_encoded(raw: &[u8]) -> bool {
    raw.iter().any(|byte| matches!(byte, b'%' | b'+'))
}

/// The bytes that `raw` stands for.
pub(crate) fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        match first {
            b'+' => Some(b' '),
            b'%' => {
                let Some(byte) = triple(tail) else { return Some(b'%') };
                rest = &tail[2..];
                Some(byte)
            }
            other => Some(other),
        }
    })
}

/// The byte of the two hexadecimal digits that `digits` begins with.
fn triple(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let [high, low, ..] = digits else { return None };
    Some(digit(*high)? << 4 | digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(raw: &str) -> Vec<u8> {
        decoded(raw.as_bytes()).collect()
    }

    #[test]
    fn decodes_plus_and_triples_and_leaves_broken_ones() {
        assert_eq!(decode("a+b%20c%C3%a9"), "a b cé".as_bytes());
        assert_eq!(decode("100%"), b"100%");
        assert_eq!(decode("%4"), b"%4");
        assert_eq!(decode("%zz%41"), b"%zzA");
        assert_eq!(decode("%%41"), b"%A");
    }

    #[test]
    fn first_parameter_of_a_name_counts() {
        assert_eq!(first_value(b"a=1&a=2", b"a"), Some(&b"1"[..]));
        assert_eq!(first_value(b"x&%61=b%3Dc=d", b"a"), Some(&b"b%3Dc=d"[..]));
    }

    #[test]
    fn a_parameter_without_equals_sign_is_empty_and_empty_pairs_are_none() {
        assert_eq!(first_value(b"flag", b"flag"), Some(&b""[..]));
        assert_eq!(first_value(b"&&", b""), None);
        assert_eq!(first_value(b"", b"a"), None);
    }
}
