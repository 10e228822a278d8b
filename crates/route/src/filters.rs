//! Filters, reduced to what they come to.
//!
//! A rule's filters and then its backend's are applied to an empty set of edits when routes are compiled, so that a request
//! sees one list: which lines of the head to drop, which to append. A backend's rewrite, redirect or CORS filter replaces
//! the rule's; its mirrors come beside the rule's.

use minimesh_api::model::{BackendRef, Filter, Header, HeaderModifier};

use crate::backends::Registry;
use crate::cors::{self, Cors};
use crate::error::{CompileError, Place};
use crate::rewrite::{Redirect, Rewrite, authority};

/// What becomes of one backend's requests and responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Towards the backend.
    pub request: HeaderEdits,
    /// Back from it. The dynamic fields of `cors` come beside these.
    pub response: HeaderEdits,
    /// Of the request's URL.
    pub rewrite: Rewrite,
    /// Copies of the request; 32 at most.
    pub mirrors: Vec<Mirror>,
    /// The request is answered with another location.
    pub redirect: Option<Box<Redirect>>,
    /// Cross-origin requests are judged.
    pub cors: Option<Box<Cors>>,
}

/// A share of requests of which a copy goes elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Into [`crate::RouteTable::backends`].
    pub index: usize,
    numerator: u32,
    denominator: u32,
}

impl Mirror {
    /// Whether the request that drew `random`, uniform over all of `u64`, is copied.
    pub fn takes(&self, random: u64) -> bool {
        let point = (u128::from(random) * u128::from(self.denominator)) >> 64;
        point < u128::from(self.numerator)
    }
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

/// Gateway API allows 16 filters of a rule and 16 of a backend.
const MIRRORS: usize = 32;

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

    /// Appends a line. Neither name nor value may have what ends a line: they come from a head or from validated configuration.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        let line = [name.as_bytes(), b": ", value, b"\r\n"].concat();
        self.add.push(HeaderLine { name: name.to_ascii_lowercase().into(), line: line.into() });
    }

    /// The lines to append, in order.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.set.iter().chain(&self.add).map(|line| &*line.line)
    }

    /// Nothing changes.
    pub const NONE: HeaderEdits = HeaderEdits { set: Vec::new(), add: Vec::new(), remove: Vec::new() };

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
    /// Nothing is done.
    pub const NONE: Filters = Filters {
        request: HeaderEdits::NONE,
        response: HeaderEdits::NONE,
        rewrite: Rewrite::NONE,
        mirrors: Vec::new(),
        redirect: None,
        cors: None,
    };

    /// Applies `filters` after what is there already. `false`: one of them is not supported.
    pub(crate) fn extend(
        &mut self,
        filters: &[Filter],
        backends: &mut Registry,
        place: &Place<'_>,
    ) -> Result<bool, CompileError> {
        let is_redirect = |filter: &Filter| matches!(filter, Filter::Redirect(_));
        let both = |filter: &Filter| matches!(filter, Filter::Rewrite(_)) && filters.iter().any(is_redirect);
        if let Some(index) = filters.iter().position(both) {
            return Err(place.item("filters", index).error("a rewrite beside a redirect has no meaning"));
        }
        for (index, filter) in filters.iter().enumerate() {
            let place = place.item("filters", index);
            match filter {
                Filter::Cors(source) => {
                    self.cors = Some(Box::new(Cors::compile(source, &place.field("cors"))?));
                    let remove = cors::OWNED.map(Into::into).to_vec();
                    self.response.apply(&HeaderModifier { remove, ..HeaderModifier::default() }, &place)?;
                }
                Filter::Mirror(source) => {
                    // Gateway API: a mirror whose backend cannot be resolved is left out, and named in the status
                    if let BackendRef::Service(_) = source.backend {
                        let index = backends.index(&source.backend);
                        let (numerator, denominator) = (source.numerator, source.denominator);
                        if self.mirrors.len() >= MIRRORS {
                            return Err(place.error(format!("more than {MIRRORS} mirrors")));
                        }
                        self.mirrors.push(Mirror { index, numerator, denominator });
                    }
                }
                Filter::Redirect(source) => {
                    self.redirect = Some(Box::new(Redirect::compile(source, &place.field("redirect"))?));
                }
                Filter::RequestHeaders(modifier) => self.request_headers(modifier, &place.field("request_headers"))?,
                Filter::ResponseHeaders(modifier) => self.response.apply(modifier, &place.field("response_headers"))?,
                Filter::Rewrite(source) => self.rewrite.apply(source, &place.field("rewrite"))?,
                Filter::Unsupported => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether something in it replaces the prefix that a match found.
    pub(crate) fn needs_prefix(&self) -> bool {
        self.rewrite.path.as_ref().is_some_and(|path| path.is_prefix())
            || self.redirect.as_ref().is_some_and(|redirect| redirect.has_prefix())
    }

    /// Host is the request's authority, whatever the protocol calls it: setting it is a rewrite.
    fn request_headers(&mut self, modifier: &HeaderModifier, place: &Place<'_>) -> Result<(), CompileError> {
        let is_host = |name: &str| name.eq_ignore_ascii_case("host");
        let added = modifier.add.iter().any(|header| is_host(&header.name));
        if added || modifier.remove.iter().any(|name| is_host(name)) {
            return Err(place.error("a request has exactly one Host: it can be set, not added or removed"));
        }
        let Some(at) = modifier.set.iter().position(|header| is_host(&header.name)) else {
            return self.request.apply(modifier, place);
        };
        let mut others = modifier.clone();
        let host = String::from_utf8_lossy(&others.set.remove(at).value).into_owned();
        self.rewrite.authority = Some(authority(&host, &place.item("set", at).field("value"))?);
        self.request.apply(&others, place)
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
        all.extend(&filters, &mut Registry::default(), &Place::root("rules", 0))?;
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
    fn setting_host_is_a_rewrite_and_nothing_else_can_be_done_to_it() {
        let set = HeaderModifier { set: vec![header("HOST", "a:80"), header("x", "1")], ..Default::default() };
        let mut filters = Filters::default();
        let place = Place::root("rules", 0);
        assert_eq!(filters.extend(&[Filter::RequestHeaders(set)], &mut Registry::default(), &place), Ok(true));
        assert_eq!((filters.rewrite.authority.as_deref(), text(&filters.request)), (Some("a:80"), "x: 1|".into()));
        assert!(edits(&[HeaderModifier { remove: vec!["host".into()], ..Default::default() }]).is_err());
        assert!(edits(&[HeaderModifier { add: vec![header("host", "b")], ..Default::default() }]).is_err());
    }

    #[test]
    fn a_mirror_takes_its_share() {
        let takes = |numerator, denominator, random| Mirror { index: 0, numerator, denominator }.takes(random);
        assert!(!takes(0, 100, 0) && takes(100, 100, u64::MAX));
        assert!(takes(1, 2, u64::MAX / 2 - 1) && !takes(1, 2, u64::MAX / 2 + 1));
    }

    #[test]
    fn values_cannot_break_out_of_their_line() {
        let modifier = HeaderModifier { add: vec![header("a", "1\r\nb: 2")], ..Default::default() };
        assert_eq!(edits(&[modifier]).unwrap_err().reason, "contains CR, LF or NUL");
    }
}
