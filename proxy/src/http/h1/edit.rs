//! Heads written anew: what a hop leaves out, what filters change, what it adds. All other bytes stay as they were sent.

use minimesh_route::HeaderEdits;

use super::head::line_range;
use super::{HeadError, Lines};
use crate::io::Buffer;

/// Lines that a hop may have to leave out; adjacent ones count once. Honest heads have none or two.
const MAX_CUTS: usize = 8;

/// Ranges of a head that are not passed on, ascending and disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cuts {
    ranges: [(u32, u32); MAX_CUTS],
    count: u8,
}

impl Cuts {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Leaves out a whole header line.
    pub(super) fn add_line(
        &mut self,
        head: &[u8],
        headers: &[httparse::Header<'_>],
        index: usize,
    ) -> Result<(), HeadError> {
        let (start, end) = line_range(head, headers, index);
        self.add(start, end)
    }

    pub(super) fn add(&mut self, start: u32, end: u32) -> Result<(), HeadError> {
        let count = usize::from(self.count);
        let ranges = &mut self.ranges[..count];
        if ranges.iter().any(|range| range.0 <= start && end <= range.1) {
            return Ok(());
        }
        if let Some(range) = ranges.iter_mut().find(|range| range.1 == start) {
            range.1 = end;
            return Ok(());
        }
        let Some(place) = self.ranges.get_mut(count) else {
            return Err(HeadError::Malformed("too many hop-by-hop headers"));
        };
        *place = (start, end);
        self.count += 1;
        self.ranges[..count + 1].sort_unstable();
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.ranges[..usize::from(self.count)].iter().map(|(start, end)| (*start as usize, *end as usize))
    }

    fn covers(&self, at: usize) -> bool {
        self.iter().any(|(start, end)| start <= at && at < end)
    }
}

/// Writes a head to `out`: without `cuts`, with a route's `edits`, and with `extra` lines (each with its CRLF) at the end.
pub(crate) fn write_head(head: &[u8], cuts: &Cuts, edits: &HeaderEdits, extra: &[&[u8]], out: &mut Buffer) {
    let end = head.len() - 2;
    if edits.is_empty() {
        let mut at = 0;
        for (start, stop) in cuts.iter() {
            out.put(&head[at.min(start)..start]);
            at = stop.max(at);
        }
        out.put(&head[at..end]);
    } else {
        let first = head.iter().position(|byte| *byte == b'\n').map_or(end, |at| at + 1);
        out.put(&head[..first]);
        for line in Lines::new(head).iter() {
            if !cuts.covers(line.start) && !edits.drops(line.name) {
                out.put(&head[line.start..line.end]);
            }
        }
        for line in edits.lines() {
            out.put(line);
        }
    }
    for line in extra {
        out.put(line);
    }
    out.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::parse_request;

    const HEAD: &[u8] =
        b"GET /a HTTP/1.1\r\nHOST: x\r\nConnection: close, X-Hop\r\nX-hop: 1\r\nminimesh-x: 2\r\nKeep: \xff\r\n\r\n";

    fn written(edits: &HeaderEdits, extra: &[&[u8]]) -> String {
        let head = parse_request(HEAD, 1000).expect("valid").expect("whole");
        let mut out = Buffer::default();
        write_head(HEAD, &head.cuts, edits, extra, &mut out);
        out.bytes().escape_ascii().to_string()
    }

    #[test]
    fn leaves_out_what_is_of_this_hop_and_keeps_the_rest_byte_for_byte() {
        assert_eq!(
            written(&HeaderEdits::default(), &[b"l5d-client-id: me\r\n"]),
            r"GET /a HTTP/1.1\r\nHOST: x\r\nKeep: \xff\r\nl5d-client-id: me\r\n\r\n"
        );
    }

    #[test]
    fn filters_drop_and_append() {
        let line =
            |name: &str, line: &str| minimesh_route::HeaderLine { name: name.into(), line: line.as_bytes().into() };
        let edits = HeaderEdits {
            set: vec![line("host", "Host: y\r\n")],
            add: vec![line("x-a", "X-A: 1\r\n")],
            remove: vec!["keep".into()],
        };
        assert_eq!(written(&edits, &[]), r"GET /a HTTP/1.1\r\nHost: y\r\nX-A: 1\r\n\r\n");
    }
}
