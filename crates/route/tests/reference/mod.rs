//! A slow, obviously right reading of the Gateway API.
//!
//! Shares no code with the crate: it copies, splits and decodes everything, and knows its regular expressions as hand-written
//! predicates. Used by the property test beside it and by the fuzz target of route tables.

use minimesh_api::model::{HeaderMatch, HttpMatch, HttpRoute, PathMatch, QueryMatch, RuleOrder, StringMatch};

/// Names and values.
pub(crate) type Pairs = Vec<(String, String)>;

/// A request, as text.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Case counts.
    pub(crate) method: String,
    /// As received.
    pub(crate) path: String,
    /// Without the question mark.
    pub(crate) query: Option<String>,
    /// In the order of the lines.
    pub(crate) headers: Pairs,
}

/// (route, rule), or the route that is not understood.
pub(crate) type Choice = Result<Option<(usize, usize)>, usize>;

/// The regular expressions that the reference knows: of paths, of values.
pub(crate) const PATTERNS: [&[&str]; 2] = [&[".*", "/a/.*", "/[ab]"], &[".*", "1|1,2", "(?i)P.*", "[0-9, ]+"]];

/// What the Gateway API says about a request.
pub(crate) fn reference(routes: &[HttpRoute], request: &Request) -> Choice {
    let mut best: Option<(Vec<i64>, (usize, usize))> = None;
    let mut ignored = None;
    for (route_index, route) in routes.iter().enumerate() {
        for (rule_index, rule) in route.rules.iter().enumerate() {
            if rule.matches.contains(&HttpMatch::Unsupported) {
                ignored = ignored.or(Some(route_index));
                continue;
            }
            for (match_index, one) in rule.matches.iter().enumerate() {
                let HttpMatch::All { path, headers, query, method } = one else { panic!("filtered above") };
                let (headers, query) = (first_of_each_header(headers), first_of_each_parameter(query));
                let all = path_matches(path, &request.path)
                    && method.as_ref().is_none_or(|method| **method == *request.method)
                    && headers.iter().all(|wanted| header_matches(wanted, &request.headers))
                    && query.iter().all(|wanted| parameter_matches(wanted, request.query.as_deref()));
                if !all {
                    continue;
                }
                let (kind, length) = match path {
                    PathMatch::Exact(_) => (3, 0),
                    PathMatch::GrpcMethod { .. } => panic!("not generated"),
                    PathMatch::Regex(pattern) => (2, pattern.len()),
                    PathMatch::Prefix(prefix) => (1, elements(prefix).join("/").len()),
                };
                let specificity = match route.order {
                    RuleOrder::Written => vec![1, 0, 0, 0, 0, 0],
                    RuleOrder::Specificity => {
                        let counts = [length, usize::from(method.is_some()), headers.len(), query.len()];
                        [0, kind].into_iter().chain(counts.map(|count| count as i64)).collect()
                    }
                };
                let order = [route_index, rule_index, match_index].map(|index| -(index as i64));
                let score: Vec<i64> = specificity.into_iter().chain(order).collect();
                if best.as_ref().is_none_or(|(other, _)| score > *other) {
                    best = Some((score, (route_index, rule_index)));
                }
            }
        }
    }
    match (best, ignored) {
        (Some((_, choice)), _) => Ok(Some(choice)),
        (None, Some(route)) => Err(route),
        (None, None) => Ok(None),
    }
}

fn elements(path: &str) -> Vec<&str> {
    let mut elements: Vec<&str> = path.split('/').collect();
    if elements.last() == Some(&"") {
        elements.pop();
    }
    elements
}

fn path_matches(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(exact) => path == &**exact,
        PathMatch::GrpcMethod { .. } => panic!("not generated"),
        PathMatch::Prefix(prefix) if &**prefix == "/" => true,
        PathMatch::Prefix(prefix) => {
            let (prefix, path) = (elements(prefix), path.split('/').collect::<Vec<_>>());
            path.len() >= prefix.len() && path[..prefix.len()] == prefix[..]
        }
        PathMatch::Regex(pattern) => predicate(pattern)(path),
    }
}

fn header_matches(wanted: &HeaderMatch, headers: &Pairs) -> bool {
    let lines: Vec<&str> = headers
        .iter()
        .filter(|(name, _)| name.to_lowercase() == wanted.name.to_lowercase())
        .map(|(_, value)| &**value)
        .collect();
    !lines.is_empty() && value_matches(&wanted.value, &lines.join(","))
}

fn parameter_matches(wanted: &QueryMatch, query: Option<&str>) -> bool {
    let decode = |raw: &str| {
        let mut text = raw.replace('+', " ");
        for (encoded, plain) in [("%20", " "), ("%31", "1"), ("%70", "p")] {
            text = text.replace(encoded, plain);
        }
        text
    };
    let pairs = query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty());
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let first = pairs.find(|(name, _)| decode(name) == *wanted.name);
    first.is_some_and(|(_, value)| value_matches(&wanted.value, &decode(value)))
}

fn value_matches(wanted: &StringMatch, value: &str) -> bool {
    match wanted {
        StringMatch::Exact(exact) => value == &**exact,
        StringMatch::Regex(pattern) => predicate(pattern)(value),
    }
}

fn first_of_each_header(all: &[HeaderMatch]) -> Vec<&HeaderMatch> {
    let earlier =
        |index: usize| all[..index].iter().any(|other| other.name.to_lowercase() == all[index].name.to_lowercase());
    (0..all.len()).filter(|index| !earlier(*index)).map(|index| &all[index]).collect()
}

fn first_of_each_parameter(all: &[QueryMatch]) -> Vec<&QueryMatch> {
    let earlier = |index: usize| all[..index].iter().any(|other| other.name == all[index].name);
    (0..all.len()).filter(|index| !earlier(*index)).map(|index| &all[index]).collect()
}

/// What each generated pattern means.
fn predicate(pattern: &str) -> fn(&str) -> bool {
    match pattern {
        ".*" => |_| true,
        "1|1,2" => |value| value == "1" || value == "1,2",
        "(?i)P.*" => |value| value.starts_with(['p', 'P']),
        "/a/.*" => |value| value.starts_with("/a/"),
        "/[ab]" => |value| value == "/a" || value == "/b",
        "[0-9, ]+" => |value| !value.is_empty() && value.chars().all(|c| c.is_ascii_digit() || c == ',' || c == ' '),
        other => panic!("no predicate for {other}"),
    }
}
