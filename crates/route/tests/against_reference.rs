//! Searches for requests on which the table and a slow, obviously right reading of the Gateway API disagree.
//!
//! The reference shares no code with the crate: it copies, splits and decodes everything, and knows its regular expressions as
//! hand-written predicates.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

use std::sync::Arc;

use minimesh_api::model::{
    HeaderMatch, HttpMatch, HttpRoute, HttpRule, ObjectRef, PathMatch, QueryMatch, RuleOrder, StringMatch, Timeouts,
};
use minimesh_route::{RequestView, RouteTable, Selection, Verdict};
use proptest::prelude::*;
use proptest::sample::select;

type Pairs = Vec<(String, String)>;

#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    query: Option<String>,
    headers: Pairs,
}

/// (route, rule)
type Choice = Result<Option<(usize, usize)>, usize>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn table_and_reference_agree(routes in prop::collection::vec(route(), 1..4), request in request()) {
        let routes: Vec<HttpRoute> = routes.into_iter().enumerate().map(|(index, route)| named(route, index)).collect();
        let table = RouteTable::compile(&routes).unwrap();
        let view = RequestView {
            method: &request.method,
            path: request.path.as_bytes(),
            query: request.query.as_deref().map(str::as_bytes),
            headers: &request.headers,
        };
        let place = |object: &ObjectRef| object.name.parse::<usize>().unwrap();
        let chosen = match table.select(&view) {
            Selection::Rule { rule, .. } => Ok(Some((place(&rule.object), rule.index))),
            Selection::NoMatch => Ok(None),
            Selection::Unsupported(object) => Err(place(object)),
            Selection::DefaultBackend => panic!("there are rules"),
        };
        prop_assert_eq!(chosen, reference(&routes, &request));
        let traced: Vec<_> = table.trace(&view).into_iter().filter(|step| step.verdict == Verdict::Selected).collect();
        let traced = traced.first().map(|step| (place(&step.rule.object), step.rule.index));
        prop_assert_eq!(traced, chosen.unwrap_or(None));
    }
}

fn reference(routes: &[HttpRoute], request: &Request) -> Choice {
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

fn request() -> impl Strategy<Value = Request> {
    let headers = prop::collection::vec((select(vec!["x", "X", "y"]), select(vec!["1", "2", "1,2", ""])), 0..4);
    let pair =
        (select(vec!["p", "%70", "q", "a+b", "a%20b", ""]), select(vec!["", "=", "=1", "=%31", "=2", "=1+2", "=p%20"]));
    let query = prop::option::of(prop::collection::vec(pair.prop_map(|(name, value)| format!("{name}{value}")), 0..4));
    (select(vec!["GET", "POST", "get"]), received_path(), query, headers).prop_map(|(method, path, query, headers)| {
        Request {
            method: method.into(),
            path,
            query: query.map(|pairs| pairs.join("&")),
            headers: headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        }
    })
}

fn received_path() -> impl Strategy<Value = String> {
    prop_oneof![9 => written_path(), 1 => Just(String::from("*")), 1 => Just(String::new())]
}

fn written_path() -> impl Strategy<Value = String> {
    prop::collection::vec(select(vec!["a", "b", "ab", "%61", "", ".."]), 0..4)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn route() -> impl Strategy<Value = HttpRoute> {
    let object = ObjectRef { group: "".into(), kind: "".into(), namespace: "".into(), name: "".into() };
    let order = prop_oneof![3 => Just(RuleOrder::Specificity), 1 => Just(RuleOrder::Written)];
    (order, prop::collection::vec(rule(), 1..4)).prop_map(move |(order, rules)| HttpRoute {
        object: object.clone(),
        order,
        rules,
    })
}

fn named(mut route: HttpRoute, index: usize) -> HttpRoute {
    route.object.name = index.to_string().into();
    route
}

fn rule() -> impl Strategy<Value = HttpRule> {
    let one = prop_oneof![30 => all(), 1 => Just(HttpMatch::Unsupported)];
    prop::collection::vec(one, 1..3).prop_map(|matches| HttpRule {
        name: "".into(),
        matches,
        filters: vec![],
        backends: vec![],
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    })
}

fn all() -> impl Strategy<Value = HttpMatch> {
    let path = prop_oneof![
        1 => written_path().prop_map(|path| PathMatch::Exact(path.into())),
        3 => written_path().prop_map(|path| PathMatch::Prefix(path.into())),
        1 => select(vec![".*", "/a/.*", "/[ab]"]).prop_map(|pattern| PathMatch::Regex(pattern.into())),
    ];
    let header = (select(vec!["x", "X", "y"]), text(vec!["1", "2", "1,2", ""]));
    let header = header.prop_map(|(name, value)| HeaderMatch { name: name.into(), value });
    let parameter = (select(vec!["p", "q", "a b"]), text(vec!["1", "2", "1 2", ""]));
    let parameter = parameter.prop_map(|(name, value)| QueryMatch { name: name.into(), value });
    let method = prop_oneof![2 => Just(None), 1 => Just(Some(Arc::from("GET")))];
    (path, prop::collection::vec(header, 0..3), prop::collection::vec(parameter, 0..3), method)
        .prop_map(|(path, headers, query, method)| HttpMatch::All { path, headers, query, method })
}

fn text(exact: Vec<&'static str>) -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        select(exact).prop_map(|value| StringMatch::Exact(value.into())),
        select(vec![".*", "1|1,2", "(?i)P.*", "[0-9, ]+"]).prop_map(|pattern| StringMatch::Regex(pattern.into())),
    ]
}
