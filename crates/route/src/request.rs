//! What a table looks at: borrowed from the caller's buffers.

use std::fmt;

/// A request as it was received.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// As received; methods are case-sensitive.
    pub method: &'a str,
    /// Without scheme, authority, query and fragment, otherwise as received.
    pub path: &'a [u8],
    /// What follows the first `?`, as received.
    pub query: Option<&'a [u8]>,
    /// Header fields.
    pub headers: &'a dyn Headers,
}

impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path.escape_ascii())?;
        self.query.map_or(Ok(()), |query| write!(f, "?{}", query.escape_ascii()))
    }
}

/// Access to header fields, without copying them.
pub trait Headers {
    /// Calls `each` with every value of `name` (lower-case ASCII), in order, without surrounding whitespace.
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8]));
}

/// Pairs of name and value, for tests and for `explain`.
impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        for (candidate, value) in self {
            if candidate.as_ref().eq_ignore_ascii_case(name) {
                each(value.as_ref());
            }
        }
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>, const LENGTH: usize> Headers for [(N, V); LENGTH] {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.as_slice().get_all(name, each);
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.as_slice().get_all(name, each);
    }
}
