//! The lines of a head that was parsed: a view for matching and editing, without an index of its own.

use minimesh_route::Headers;

/// Header lines of a valid head, each with its name, its value without surrounding space, and its range in the head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a> {
    head: &'a [u8],
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// As it was sent.
    pub(crate) name: &'a [u8],
    /// Without surrounding space.
    pub(crate) value: &'a [u8],
    /// First byte of the line in the head.
    pub(crate) start: usize,
    /// Behind the line's CRLF.
    pub(crate) end: usize,
}

impl<'a> Lines<'a> {
    /// `head` is a whole head, from its first line to the empty one.
    pub(crate) fn new(head: &'a [u8]) -> Lines<'a> {
        Lines { head }
    }

    /// In order. The first line (request or status) is not among them.
    pub(crate) fn iter(self) -> impl Iterator<Item = Line<'a>> {
        let head = self.head;
        let mut at = line_end(head, 0);
        std::iter::from_fn(move || {
            let start = at;
            let end = line_end(head, start);
            let line = head.get(start..end)?.strip_suffix(b"\r\n")?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            at = end;
            Some(Line { name: &line[..colon], value: line[colon + 1..].trim_ascii(), start, end })
        })
    }

    /// The first value of a header, by its lower-case name.
    pub(crate) fn first(self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|line| line.name.eq_ignore_ascii_case(name.as_bytes())).map(|line| line.value)
    }
}

impl Headers for Lines<'_> {
    fn get_all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        for line in self.iter() {
            if line.name.eq_ignore_ascii_case(name.as_bytes()) {
                each(line.value);
            }
        }
    }
}

fn line_end(head: &[u8], start: usize) -> usize {
    let rest = head.get(start..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'\n').map_or(head.len(), |at| start + at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_order_with_their_ranges() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Y:  b \r\nempty:\r\n\r\n";
        let lines: Vec<_> = Lines::new(head).iter().map(|line| (line.name, line.value)).collect();
        assert_eq!(
            lines,
            [
                (b"Host".as_slice(), b"a".as_slice()),
                (b"X-Y".as_slice(), b"b".as_slice()),
                (b"empty".as_slice(), b"".as_slice())
            ]
        );
        let last = Lines::new(head).iter().last().expect("three lines");
        assert_eq!(&head[last.start..last.end], b"empty:\r\n");
    }
}
