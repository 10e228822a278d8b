//! Header names that only a proxy of ours may use: `minimesh-*`, and those that say who a client is.
//!
//! They are removed from what clients without certificate and applications send, in every version of HTTP, and a trailer of
//! such a name is refused. `_` is no way around it: CGI and its heirs give `X_Name` and `X-Name` to a program as one variable.

/// All of them, of which the first stands for every name that begins with it; then those that say how long a message is and
/// whose.
const NAMES: [&[u8]; 6] =
    [PREFIX, b"l5d-client-id", b"x-forwarded-client-cert", b"content-length", b"host", b"transfer-encoding"];

const OWN: usize = 3;

const PREFIX: &[u8] = b"minimesh-";

/// Whether a header is one of the mesh's own.
pub(crate) fn is_own(name: &[u8]) -> bool {
    // by far most are not: one look at the first letter
    if !matches!(name.first(), Some(b'm' | b'M' | b'l' | b'L' | b'x' | b'X')) {
        return false;
    }
    let mut reader = NameReader::begin();
    name.iter().for_each(|byte| reader.take(*byte));
    reader.is_own()
}

/// The same of a name that comes byte by byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameReader {
    length: u8,
    /// A bit for each of `NAMES` that it may still be.
    candidates: u8,
}

impl NameReader {
    /// Before the first byte.
    pub(crate) fn begin() -> NameReader {
        NameReader { length: 0, candidates: (1 << NAMES.len()) - 1 }
    }

    pub(crate) fn take(&mut self, byte: u8) {
        let folded = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        for (bit, name) in NAMES.iter().enumerate() {
            let beyond = bit == 0 && usize::from(self.length) >= PREFIX.len();
            if !beyond && name.get(usize::from(self.length)) != Some(&folded) {
                self.candidates &= !(1 << bit);
            }
        }
        self.length = self.length.saturating_add(1);
    }

    /// Whether the name that ended here is one of the mesh's own.
    pub(crate) fn is_own(&self) -> bool {
        (0..OWN).any(|bit| self.is(bit))
    }

    /// Whether it says how long a message is, or whose.
    pub(crate) fn is_framing(&self) -> bool {
        (OWN..NAMES.len()).any(|bit| self.is(bit))
    }

    fn is(&self, bit: usize) -> bool {
        let (length, name) = (usize::from(self.length), NAMES[bit]);
        let whole = if bit == 0 { length > name.len() } else { length == name.len() };
        self.candidates & (1 << bit) != 0 && whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_in_every_spelling() {
        for own in [
            "minimesh-error",
            "MINIMESH-X",
            "Minimesh_Hop",
            "l5d-client-id",
            "L5D_Client-Id",
            "X-Forwarded-Client_Cert",
        ] {
            assert!(is_own(own.as_bytes()), "{own}");
        }
        let long = format!("minimesh-{}", "x".repeat(300));
        assert!(is_own(long.as_bytes()));
        for other in
            ["", "minimesh-", "minimesh", "mini-mesh-x", "l5d-client-idx", "l5d-client-i", "x-forwarded-for", "host"]
        {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn names_of_framing_in_every_spelling() {
        let is_framing = |name: &str| {
            let mut reader = NameReader::begin();
            name.bytes().for_each(|byte| reader.take(byte));
            reader.is_framing()
        };
        for name in ["Content-Length", "content_length", "HOST", "Transfer-Encoding"] {
            assert!(is_framing(name), "{name}");
        }
        for name in ["content-lengt", "hosts", "x-host", "minimesh-error", "etag", ""] {
            assert!(!is_framing(name), "{name}");
        }
    }
}
