//! Searches for requests on which the table and a slow, obviously right reading of the Gateway API disagree.
//!
//! The reference (`reference/mod.rs`) shares no code with the crate.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

use std::sync::Arc;

use minimesh_api::model::{
    HeaderMatch, HttpMatch, HttpRoute, HttpRule, ObjectRef, PathMatch, QueryMatch, RuleOrder, StringMatch, Timeouts,
};
use minimesh_route::{RequestView, RouteTable, Selection, Verdict};
use proptest::prelude::*;
use proptest::sample::select;

mod reference;

use reference::{PATTERNS, Request, reference};

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
        1 => select(PATTERNS[0]).prop_map(|pattern| PathMatch::Regex(pattern.into())),
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
        select(PATTERNS[1]).prop_map(|pattern| StringMatch::Regex(pattern.into())),
    ]
}
