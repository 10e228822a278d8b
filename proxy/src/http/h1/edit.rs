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
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::{option, sample::select};

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

    /// A head by its lines, edited as RFC 9110 and the Gateway API say it: no offsets, no ranges.
    fn slowly(lines: &[(String, String)], edits: &HeaderEdits, extra: &str) -> String {
        let nominated = |name: &str| {
            let options = lines.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
            let mut options = options.flat_map(|(_, value)| value.split(',').map(str::trim));
            options.any(|option| option.eq_ignore_ascii_case(name))
        };
        let kept = |name: &str| {
            let edited = edits.set.iter().any(|line| line.name.eq_ignore_ascii_case(name))
                || edits.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name));
            let own = name.to_ascii_lowercase().starts_with("minimesh-");
            !edited && !own && !nominated(name) && !name.eq_ignore_ascii_case("connection")
        };
        let mut text = "GET /a HTTP/1.1\r\nHost: x\r\n".to_owned();
        let lines = lines.iter().filter(|(name, _)| kept(name)).map(|(name, value)| format!("{name}: {value}\r\n"));
        text.extend(lines);
        text.extend(edits.set.iter().chain(&edits.add).map(|line| String::from_utf8_lossy(&line.line)));
        text + extra + "\r\n"
    }

    fn line(name: &str, value: &str) -> minimesh_route::HeaderLine {
        let line = format!("{name}: {value}\r\n").into_bytes().into();
        minimesh_route::HeaderLine { name: name.to_ascii_lowercase().into(), line }
    }

    proptest! {
        #[test]
        fn edits_are_those_of_a_slow_editor(
            lines in vec((select(&NAMES[..]), "[!-~]([ -~\u{e9}]{0,6}[!-~])?"), 0..7),
            option in option::of(select(&["X-A, close", "x-b", "foo , X-C"][..])),
            set in vec((select(&NAMES[..6]), "[a-z]{0,3}"), 0..3),
            add in vec((select(&NAMES[..6]), "[a-z]{0,3}"), 0..3),
            remove in vec(select(&["x-a", "x-b", "x-c"][..]), 0..2),
            extra in select(&["", "l5d-client-id: me\r\n"][..]),
        ) {
            let mut lines: Vec<(String, String)> = lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let place = lines.len() / 2;
            if let Some(option) = option {
                lines.insert(place, ("Connection".to_owned(), option.to_owned()));
            }
            let mut head = "GET /a HTTP/1.1\r\nHost: x\r\n".to_owned();
            head.extend(lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
            head += "\r\n";
            let parsed = parse_request(head.as_bytes(), 10_000).expect("valid").expect("whole");
            let edits = HeaderEdits {
                set: set.iter().map(|(name, value)| line(name, value)).collect(),
                add: add.iter().map(|(name, value)| line(name, value)).collect(),
                remove: remove.iter().map(|name| (*name).into()).collect(),
            };
            let mut out = Buffer::default();
            write_head(head.as_bytes(), &parsed.cuts, &edits, &[extra.as_bytes()], &mut out);
            prop_assert_eq!(String::from_utf8_lossy(out.bytes()), slowly(&lines, &edits, extra));
        }
    }

    const NAMES: [&str; 8] = ["X-A", "x-a", "X-B", "x-c", "Accept", "X-Ab", "minimesh-a", "MiniMesh-B"];
}
