//! One compiled match: the alternatives of a rule, each with its rank among all others.

use std::cmp::Reverse;

use regex::bytes::Regex;

use crate::explain::Verdict;
use crate::request::RequestView;
use crate::{query, scratch};

/// All conditions of one match.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) method: Option<Box<str>>,
    pub(crate) path: Path,
    /// Names are unique: of several conditions on one name the first counts (Gateway API).
    pub(crate) headers: Vec<(Box<str>, Text)>,
    pub(crate) query: Vec<(Box<str>, Text)>,
}

/// A condition on the path.
#[derive(Clone, Debug)]
pub(crate) enum Path {
    Exact(Box<str>),
    /// `None`: any.
    GrpcMethod {
        service: Option<Box<str>>,
        method: Option<Box<str>>,
    },
    /// Without trailing slash; empty: matches everything.
    Prefix(Box<str>),
    /// Anchored, with the length of what was written.
    Regex(Regex, usize),
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Exact(Box<str>),
    /// Anchored.
    Regex(Regex),
}

/// Smaller is more specific. Gateway API: exact path, longest prefix, method, most headers, most query parameters; it leaves
/// regular expressions to the implementation: here they stand between exact paths and prefixes, the longer pattern first,
/// because nobody writes one to lose against `/`. Routes of gRPC, which never compete with those of HTTP, have an order of their
/// own: longest service, longest method, most headers.
pub(crate) type Rank = (u8, Reverse<usize>, Reverse<usize>, bool, Reverse<usize>, Reverse<usize>);

impl Conditions {
    pub(crate) fn rank(&self) -> Rank {
        let length = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.chars().count());
        let (kind, length, second) = match &self.path {
            Path::Exact(_) => (0, 0, 0),
            Path::GrpcMethod { service, method } => {
                let kind = if service.is_some() && method.is_some() { 0 } else { 2 };
                (kind, length(service), length(method))
            }
            Path::Regex(_, length) => (1, *length, 0),
            Path::Prefix(prefix) => (2, prefix.chars().count(), 0),
        };
        let (headers, query) = (Reverse(self.headers.len()), Reverse(self.query.len()));
        (kind, Reverse(length), Reverse(second), self.method.is_none(), headers, query)
    }

    /// How many bytes of a path that matches are the prefix that was found; 0: the match is none of a prefix.
    pub(crate) fn prefix(&self) -> usize {
        match &self.path {
            Path::Prefix(prefix) => prefix.len(),
            Path::Exact(_) | Path::GrpcMethod { .. } | Path::Regex(..) => 0,
        }
    }

    /// The first condition that `request` does not meet. `None`: it matches.
    pub(crate) fn mismatch(&self, request: &RequestView<'_>) -> Option<Verdict<'_>> {
        if !self.path.matches(request.path) {
            return Some(Verdict::Path);
        }
        if self.method.as_deref().is_some_and(|method| method != request.method) {
            return Some(Verdict::Method);
        }
        let missed = |name: &str, text: &Text| !text.matches_header(name, request);
        if let Some((name, _)) = self.headers.iter().find(|(name, text)| missed(name, text)) {
            return Some(Verdict::Header(name));
        }
        let missed = |name: &str, text: &Text| !text.matches_parameter(name, request.query);
        self.query.iter().find(|(name, text)| missed(name, text)).map(|(name, _)| Verdict::Query(name))
    }
}

impl Path {
    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Path::Exact(exact) => path == exact.as_bytes(),
            Path::GrpcMethod { service: None, method: None } => true,
            Path::GrpcMethod { service, method } => {
                let mut parts = path.split(|byte| *byte == b'/');
                let root = parts.next() == Some(b"");
                let mut fits = |wanted: &Option<Box<str>>| {
                    let wanted = wanted.as_deref().map(str::as_bytes);
                    parts.next().is_some_and(|part| wanted.is_none_or(|wanted| wanted == part))
                };
                root && fits(service) && fits(method) && parts.next().is_none()
            }
            Path::Prefix(prefix) if prefix.is_empty() => true,
            Path::Prefix(prefix) => {
                path.strip_prefix(prefix.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
            Path::Regex(regex, _) => regex.is_match(path),
        }
    }
}

impl Text {
    /// Whether the request has the header, and its lines joined by a comma are what is wanted.
    fn matches_header(&self, name: &str, request: &RequestView<'_>) -> bool {
        match self {
            Text::Exact(wanted) => {
                // what is still to come of `wanted`; `None`: no line yet
                let mut rest: Option<Option<&[u8]>> = None;
                request.headers.get_all(name, &mut |value| {
                    let before = match rest {
                        None => Some(wanted.as_bytes()),
                        Some(left) => left.and_then(|left| left.strip_prefix(b",")),
                    };
                    rest = Some(before.and_then(|before| before.strip_prefix(value)));
                });
                rest == Some(Some(b""))
            }
            Text::Regex(regex) => {
                let (mut lines, mut matched) = (0, false);
                request.headers.get_all(name, &mut |value| {
                    lines += 1;
                    matched = lines == 1 && regex.is_match(value);
                });
                if lines < 2 { matched } else { matches_joined(regex, name, request) }
            }
        }
    }

    /// Whether the query has the parameter with the value wanted.
    fn matches_parameter(&self, name: &str, raw: Option<&[u8]>) -> bool {
        let Some(value) = raw.and_then(|raw| query::first_value(raw, name.as_bytes())) else { return false };
        match self {
            Text::Exact(wanted) => query::decoded(value).eq(wanted.bytes()),
            Text::Regex(regex) if !query::is_encoded(value) => regex.is_match(value),
            Text::Regex(regex) => scratch::with(|buffer| {
                buffer.extend(query::decoded(value));
                regex.is_match(buffer)
            }),
        }
    }
}

fn matches_joined(regex: &Regex, name: &str, request: &RequestView<'_>) -> bool {
    scratch::with(|buffer| {
        request.headers.get_all(name, &mut |value| {
            buffer.extend_from_slice(value);
            buffer.push(b',');
        });
        buffer.pop();
        regex.is_match(buffer)
    })
}
