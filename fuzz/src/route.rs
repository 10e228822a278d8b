//! Route tables: whatever the routes and the request, the table chooses what a slow reading of the Gateway API chooses, and
//! its explanation says the same.

use minimesh_api::model::{
    HeaderMatch, HttpMatch, HttpRoute, HttpRule, ObjectRef, PathMatch, QueryMatch, RuleOrder, StringMatch, Timeouts,
};
use minimesh_route::{RequestView, RouteTable, Selection, Verdict};

use crate::dice::Dice;
use reference::{PATTERNS, Pairs, Request, reference};

#[path = "../../crates/route/tests/reference/mod.rs"]
mod reference;

pub(crate) fn run(bytes: &[u8]) {
    let mut dice = Dice(bytes);
    let routes: Vec<HttpRoute> = (0..1 + dice.below(3)).map(|index| route(&mut dice, index)).collect();
    let request = request(&mut dice);
    let table = match RouteTable::compile(&routes) {
        Ok(table) => table,
        Err(error) => panic!("{error:?}: {routes:?}"),
    };
    let view = RequestView {
        method: &request.method,
        path: request.path.as_bytes(),
        query: request.query.as_deref().map(str::as_bytes),
        headers: &request.headers,
    };
    let place = |object: &ObjectRef| object.name.parse().unwrap_or(usize::MAX);
    let chosen = match table.select(&view) {
        Selection::DefaultBackend => panic!("there are rules"),
        Selection::NoMatch => Ok(None),
        Selection::Rule { rule, .. } => Ok(Some((place(&rule.object), rule.index))),
        Selection::Unsupported(object) => Err(place(object)),
    };
    assert_eq!(chosen, reference(&routes, &request), "{routes:#?}\n{request:#?}");
    let traced = table.trace(&view).into_iter().find(|step| step.verdict == Verdict::Selected);
    let traced = traced.map(|step| (place(&step.rule.object), step.rule.index));
    assert_eq!(traced, chosen.unwrap_or(None), "{routes:#?}\n{request:#?}");
}

fn route(dice: &mut Dice<'_>, index: usize) -> HttpRoute {
    let object = ObjectRef { group: "".into(), kind: "".into(), namespace: "".into(), name: index.to_string().into() };
    let order = dice.of(&[RuleOrder::Specificity, RuleOrder::Specificity, RuleOrder::Written]);
    HttpRoute { object, order, rules: (0..1 + dice.below(3)).map(|_| rule(dice)).collect() }
}

fn rule(dice: &mut Dice<'_>) -> HttpRule {
    let matches = (0..1 + dice.below(2)).map(|_| match dice.below(16) {
        15 => HttpMatch::Unsupported,
        _ => all(dice),
    });
    HttpRule {
        name: "".into(),
        matches: matches.collect(),
        filters: vec![],
        backends: vec![],
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    }
}

fn all(dice: &mut Dice<'_>) -> HttpMatch {
    let path = match dice.below(5) {
        0 => PathMatch::Exact(path(dice).into()),
        1 => PathMatch::Regex(dice.of(PATTERNS[0]).into()),
        _ => PathMatch::Prefix(path(dice).into()),
    };
    let header = |dice: &mut Dice<'_>| HeaderMatch {
        name: dice.of(&["x", "X", "y"]).into(),
        value: text(dice, &["1", "2", "1,2", ""]),
    };
    let parameter = |dice: &mut Dice<'_>| QueryMatch {
        name: dice.of(&["p", "q", "a b"]).into(),
        value: text(dice, &["1", "2", "1 2", ""]),
    };
    let (headers, query) = (dice.many(2, header), dice.many(2, parameter));
    HttpMatch::All { path, headers, query, method: dice.of(&[None, None, Some("GET")]).map(Into::into) }
}

fn text(dice: &mut Dice<'_>, exact: &[&str]) -> StringMatch {
    match dice.below(2) {
        0 => StringMatch::Exact(dice.of(exact).into()),
        _ => StringMatch::Regex(dice.of(PATTERNS[1]).into()),
    }
}

fn path(dice: &mut Dice<'_>) -> String {
    format!("/{}", dice.many(3, |dice| dice.of(&["a", "b", "ab", "%61", "", ".."])).join("/"))
}

fn request(dice: &mut Dice<'_>) -> Request {
    let line = |dice: &mut Dice<'_>| (dice.of(&["x", "X", "y"]).to_owned(), dice.of(&["1", "2", "1,2", ""]).to_owned());
    let headers: Pairs = dice.many(3, line);
    let pair = |dice: &mut Dice<'_>| {
        let name = dice.of(&["p", "%70", "q", "a+b", "a%20b", ""]);
        format!("{name}{}", dice.of(&["", "=", "=1", "=%31", "=2", "=1+2", "=p%20"]))
    };
    let query = (dice.below(2) == 1).then(|| dice.many(3, pair).join("&"));
    let path = match dice.below(11) {
        9 => "*".to_owned(),
        10 => String::new(),
        _ => path(dice),
    };
    Request { method: dice.of(&["GET", "POST", "get"]).to_owned(), path, query, headers }
}
