//! Header filters, reduced to what they come to.
//!
//! A rule's filters and then its backend's are applied to an empty set of edits when routes are compiled, so that a request
//! sees one list: which lines of the head to drop, which to append.

use minimesh_api::model::{Filter, Header, HeaderModifier};

use crate::error::{CompileError, Place};

/// What becomes of the heads of one backend's requests and responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Towards the backend.
    pub request: HeaderEdits,
    /// Back from it.
    pub response: HeaderEdits,
}

/// Net effect on a head: every line whose name is in `set` or `remove` is dropped, then the lines of `set`, then those of
/// `add` are appended. No name of `remove` is in `set` or `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Replace all lines of their names.
    pub set: Vec<HeaderLine>,
    /// Appended to what there is.
    pub add: Vec<HeaderLine>,
    /// Lower-case names whose lines are dropped.
    pub remove: Vec<Box<str>>,
}

/// A line ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderLine {
    /// Lower case.
    pub name: Box<str>,
    /// `Name: value\r\n`, the name in the case in which it was configured.
    pub line: Box<[u8]>,
}

/// Framing and connection management belong to the proxy on each hop (RFC 9110 section 7.6.1); a filter that touched
/// them could make two parties disagree about where a message ends.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl HeaderEdits {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Whether a received line of this name is dropped; any case.
    pub fn drops(&self, name: &[u8]) -> bool {
        let same = |own: &str| own.as_bytes().eq_ignore_ascii_case(name);
        self.set.iter().any(|line| same(&line.name)) || self.remove.iter().any(|own| same(own))
    }

    /// The lines to append, in order.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.set.iter().chain(&self.add).map(|line| &*line.line)
    }

    fn apply(&mut self, modifier: &HeaderModifier, place: &Place<'_>) -> Result<(), CompileError> {
        for (index, header) in modifier.set.iter().enumerate() {
            let line = render(header, &place.item("set", index))?;
            self.add.retain(|other| other.name != line.name);
            self.remove.retain(|name| *name != line.name);
            self.set.retain(|other| other.name != line.name);
            self.set.push(line);
        }
        for (index, header) in modifier.add.iter().enumerate() {
            let line = render(header, &place.item("add", index))?;
            match self.remove.iter().position(|name| *name == line.name) {
                // removed before, added now: the received lines stay dropped
                Some(at) => {
                    self.remove.swap_remove(at);
                    self.set.push(line);
                }
                None => self.add.push(line),
            }
        }
        for (index, name) in modifier.remove.iter().enumerate() {
            let name = allowed_name(name, &place.item("remove", index))?;
            self.set.retain(|line| line.name != name);
            self.add.retain(|line| line.name != name);
            if !self.remove.contains(&name) {
                self.remove.push(name);
            }
        }
        Ok(())
    }
}

impl Filters {
    /// Applies `filters` after what is there already. `false`: one of them is not supported.
    pub(crate) fn extend(&mut self, filters: &[Filter], place: &Place<'_>) -> Result<bool, CompileError> {
        for (index, filter) in filters.iter().enumerate() {
            let place = place.item("filters", index);
            match filter {
                Filter::RequestHeaders(modifier) => self.request.apply(modifier, &place.field("request_headers"))?,
                Filter::ResponseHeaders(modifier) => self.response.apply(modifier, &place.field("response_headers"))?,
                Filter::Unsupported => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn render(header: &Header, place: &Place<'_>) -> Result<HeaderLine, CompileError> {
    let name = allowed_name(&header.name, &place.field("name"))?;
    if header.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(place.field("value").error("contains CR, LF or NUL"));
    }
    let line = [header.name.as_bytes(), b": ", &header.value, b"\r\n"].concat();
    Ok(HeaderLine { name, line: line.into() })
}

fn allowed_name(name: &str, place: &Place<'_>) -> Result<Box<str>, CompileError> {
    let lower = token(name, place)?;
    if HOP_BY_HOP.contains(&&*lower) {
        return Err(
            place.error(format!("{lower:?} belongs to the connection, not to the route: filters cannot change it"))
        );
    }
    if lower.starts_with("minimesh-") || matches!(&*lower, "l5d-client-id" | "x-forwarded-client-cert") {
        return Err(place.error(format!("{lower:?} carries what the mesh has verified: filters cannot change it")));
    }
    Ok(lower)
}

/// A header name (RFC 9110 section 5.6.2), lower-cased.
pub(crate) fn token(name: &str, place: &Place<'_>) -> Result<Box<str>, CompileError> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(valid) {
        return Err(place.error(format!("{name:?} is no header name")));
    }
    Ok(name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: value.as_bytes().into() }
    }

    fn edits(modifiers: &[HeaderModifier]) -> Result<HeaderEdits, CompileError> {
        let filters: Vec<Filter> = modifiers.iter().cloned().map(Filter::RequestHeaders).collect();
        let mut all = Filters::default();
        all.extend(&filters, &Place::root("rules", 0))?;
        Ok(all.request)
    }

    fn text(edits: &HeaderEdits) -> String {
        edits.lines().map(|line| String::from_utf8_lossy(line)).collect::<String>().replace("\r\n", "|")
    }

    #[test]
    fn set_replaces_add_appends_remove_wins_within_one_filter() {
        let modifier = HeaderModifier {
            set: vec![header("X-Set", "1")],
            add: vec![header("X-Add", "2"), header("X-Gone", "3")],
            remove: vec!["x-gone".into()],
        };
        let edits = edits(&[modifier]).unwrap();
        assert_eq!(text(&edits), "X-Set: 1|X-Add: 2|");
        assert!(edits.drops(b"x-set") && edits.drops(b"X-GONE") && !edits.drops(b"x-add"));
    }

    #[test]
    fn later_filters_see_what_earlier_ones_did() {
        let set = |value| HeaderModifier { set: vec![header("a", value)], ..Default::default() };
        let add = |value| HeaderModifier { add: vec![header("a", value)], ..Default::default() };
        let remove = HeaderModifier { remove: vec!["a".into()], ..Default::default() };
        assert_eq!(text(&edits(&[add("1"), set("2")]).unwrap()), "a: 2|");
        assert_eq!(text(&edits(&[set("1"), add("2")]).unwrap()), "a: 1|a: 2|");
        let replaced = edits(&[remove.clone(), add("1"), add("2")]).unwrap();
        assert_eq!((text(&replaced), replaced.drops(b"a")), ("a: 1|a: 2|".into(), true));
        let gone = edits(&[set("1"), add("2"), remove]).unwrap();
        assert_eq!((text(&gone), gone.drops(b"a")), (String::new(), true));
    }

    #[test]
    fn framing_and_identity_headers_are_refused() {
        for name in ["Content-Length", "transfer-encoding", "minimesh-error", "X-Forwarded-Client-Cert"] {
            let modifier = HeaderModifier { set: vec![header(name, "1")], ..Default::default() };
            let error = edits(&[modifier]).unwrap_err();
            assert_eq!(error.field, "rules[0].filters[0].request_headers.set[0].name");
        }
    }

    #[test]
    fn values_cannot_break_out_of_their_line() {
        let modifier = HeaderModifier { add: vec![header("a", "1\r\nb: 2")], ..Default::default() };
        assert_eq!(edits(&[modifier]).unwrap_err().reason, "contains CR, LF or NUL");
    }
}
