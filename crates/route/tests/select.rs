//! What a table selects, one behaviour a test; `against_reference.rs` searches for what these forget.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{
    BackendKey, BackendRef, Filter, Header, HeaderMatch, HeaderModifier, HttpMatch, HttpRoute, HttpRule, Mirror,
    ObjectRef, PathMatch, PathModifier, QueryMatch, Redirect, Rewrite, RuleOrder, StringMatch, Timeouts,
    WeightedBackend,
};
use minimesh_route::{Headers, RequestView, RouteTable, Selection, Verdict};

#[test]
fn without_routes_the_target_itself_is_the_backend() {
    let table = RouteTable::compile(&[]).unwrap();
    assert!(table.is_empty());
    assert_eq!(taken(&table, "GET", "/"), "default");
}

#[test]
fn a_request_that_no_rule_matches_has_no_route() {
    let table = table([route("r", [to("a", [path(prefix("/a"))])])]);
    assert_eq!(taken(&table, "GET", "/b"), "none");
}

#[test]
fn prefixes_are_compared_by_element() {
    for written in ["/v2", "/v2/"] {
        let table = table([route("r", [to("v1", [path(prefix("/"))]), to("v2", [path(prefix(written))])])]);
        for (path, wanted) in
            [("/v2", "v2"), ("/v2/", "v2"), ("/v2/a", "v2"), ("/v2example", "v1"), ("/", "v1"), ("*", "v1")]
        {
            assert_eq!(taken(&table, "GET", path), wanted, "{written} against {path}");
        }
    }
}

#[test]
fn paths_are_compared_as_received() {
    let table = table([route("r", [to("a", [path(exact("/a"))]), to("b", [path(prefix("/b"))])])]);
    for path in ["/%61", "//a", "/./a", "/b/../a", "/A", "/a/"] {
        let wanted = if path.starts_with("/b") { "b" } else { "none" };
        assert_eq!(taken(&table, "GET", path), wanted, "{path}");
    }
}

#[test]
fn regular_expressions_match_the_whole_path() {
    let table = table([route("r", [to("a", [path(regex("/a|/ab"))])])]);
    assert_eq!(taken(&table, "GET", "/ab"), "a");
    assert_eq!(taken(&table, "GET", "/abc"), "none");
    assert_eq!(taken(&table, "GET", "/x/a"), "none");
}

#[test]
fn precedence_is_exact_then_regex_then_longest_prefix_then_method_then_headers_then_query() {
    let all = |path, method: Option<&str>, headers: &[&str], query: &[&str]| HttpMatch::All {
        path,
        method: method.map(Arc::from),
        headers: headers.iter().map(|name| header(name, "1")).collect(),
        query: query.iter().map(|name| parameter(name, "1")).collect(),
    };
    // least specific first, each in a route of its own: only precedence can bring the right one to the front
    let ranked = [
        all(prefix("/"), Some("GET"), &["x", "y"], &["p", "q"]),
        all(prefix("/abc"), None, &[], &[]),
        all(prefix("/abc"), None, &[], &["p"]),
        all(prefix("/abc"), None, &[], &["p", "q"]),
        all(prefix("/abc"), None, &["x"], &[]),
        all(prefix("/abc"), None, &["x", "y"], &[]),
        all(prefix("/abc"), Some("GET"), &[], &[]),
        all(prefix("/abc/d"), None, &[], &[]),
        all(regex("/.*"), None, &[], &[]),
        all(regex("/abc/.*"), None, &[], &[]),
        all(exact("/abc/d"), None, &[], &[]),
    ];
    let headers = [("x", "1"), ("y", "1")];
    for count in 1..=ranked.len() {
        let routes =
            ranked[..count].iter().enumerate().map(|(index, one)| route("r", [to(&index.to_string(), [one.clone()])]));
        let table = table(routes);
        assert_eq!(taken_with(&table, "GET", "/abc/d", Some("p=1&q=1"), &headers), (count - 1).to_string());
    }
}

#[test]
fn ties_go_to_the_earlier_route_and_then_the_earlier_rule() {
    let same = || [path(prefix("/"))];
    let table = table([route("old", [to("a", same()), to("b", same())]), route("new", [to("c", same())])]);
    assert_eq!(taken(&table, "GET", "/"), "a");
}

#[test]
fn written_order_takes_the_first_match_and_comes_before_specificity() {
    let mut written = route("w", [to("any", [path(prefix("/a"))]), to("exact", [path(exact("/a/b"))])]);
    written.order = RuleOrder::Written;
    let table = table([route("s", [to("specific", [path(exact("/a/b"))]), to("rest", [path(prefix("/"))])]), written]);
    assert_eq!(taken(&table, "GET", "/a/b"), "any");
    assert_eq!(taken(&table, "GET", "/c"), "rest");
}

#[test]
fn methods_are_case_sensitive() {
    let get = HttpMatch::All { path: prefix("/"), method: Some("GET".into()), headers: vec![], query: vec![] };
    let table = table([route("r", [to("a", [get])])]);
    assert_eq!(taken(&table, "GET", "/"), "a");
    assert_eq!(taken(&table, "get", "/"), "none");
}

#[test]
fn header_lines_are_joined_by_a_comma() {
    let one = |value| [HttpMatch::All { path: prefix("/"), method: None, headers: vec![value], query: vec![] }];
    let exact = table([route("r", [to("a", one(header("X-Version", "1,2")))])]);
    let matched = HeaderMatch { name: "x-version".into(), value: StringMatch::Regex("1,[0-9]".into()) };
    let pattern = table([route("r", [to("a", one(matched))])]);
    for table in [exact, pattern] {
        let take = |headers: &[(&str, &str)]| taken_with(&table, "GET", "/", None, &headers.to_vec());
        assert_eq!(take(&[("x-version", "1"), ("X-VERSION", "2")]), "a");
        assert_eq!(take(&[("x-version", "1,2")]), "a");
        assert_eq!(take(&[("x-version", "1")]), "none");
        assert_eq!(take(&[("x-version", "1"), ("x-version", "2"), ("x-version", "3")]), "none");
        assert_eq!(take(&[]), "none");
    }
}

#[test]
fn an_empty_header_is_not_a_missing_one() {
    let empty = HttpMatch::All { path: prefix("/"), method: None, headers: vec![header("x", "")], query: vec![] };
    let table = table([route("r", [to("a", [empty])])]);
    assert_eq!(taken_with(&table, "GET", "/", None, &[("x", "")]), "a");
    assert_eq!(taken(&table, "GET", "/"), "none");
}

#[test]
fn of_several_conditions_on_one_name_the_first_counts() {
    let twice = HttpMatch::All {
        path: prefix("/"),
        method: None,
        headers: vec![header("x", "1"), header("X", "2")],
        query: vec![parameter("p", "1"), parameter("p", "2")],
    };
    let table = table([route("r", [to("a", [twice])])]);
    assert_eq!(taken_with(&table, "GET", "/", Some("p=1"), &[("x", "1")]), "a");
}

#[test]
fn query_parameters_are_decoded_for_the_comparison() {
    let one = |value| [HttpMatch::All { path: prefix("/"), method: None, headers: vec![], query: vec![value] }];
    let exact = table([route("r", [to("a", one(parameter("näme", "a b&c")))])]);
    let matched = QueryMatch { name: "näme".into(), value: StringMatch::Regex("a b.c".into()) };
    let pattern = table([route("r", [to("a", one(matched))])]);
    for table in [exact, pattern] {
        assert_eq!(taken_with(&table, "GET", "/", Some("z=1&n%C3%A4me=a+b%26c"), &NONE), "a");
        assert_eq!(taken_with(&table, "GET", "/", Some("n%C3%A4me=a+b&n%C3%A4me=a+b%26c"), &NONE), "none");
        assert_eq!(taken_with(&table, "GET", "/", None, &NONE), "none");
    }
}

#[test]
fn a_rule_with_an_unsupported_match_matches_nothing_and_fails_what_nothing_else_takes() {
    let table = table([
        route("odd", [to("odd", [path(exact("/a")), HttpMatch::Unsupported])]),
        route("plain", [to("plain", [path(prefix("/b"))])]),
    ]);
    assert_eq!(taken(&table, "GET", "/a"), "unsupported odd");
    assert_eq!(taken(&table, "GET", "/b"), "plain");
    assert_eq!(taken(&table, "GET", "/c"), "unsupported odd");
}

#[test]
fn an_unsupported_filter_fails_its_rule_only() {
    let mut odd = to("odd", [path(prefix("/odd"))]);
    odd.filters = vec![Filter::Unsupported];
    let mut share = to("share", [path(prefix("/share"))]);
    share.backends[0].filters = vec![Filter::Unsupported];
    let table = table([route("r", [odd, share, to("plain", [path(prefix("/"))])])]);
    assert_eq!(taken(&table, "GET", "/odd"), "unsupported r");
    assert_eq!(taken(&table, "GET", "/share"), "unsupported r");
    assert_eq!(taken(&table, "GET", "/other"), "plain");
}

#[test]
fn backends_are_numbered_densely_across_the_table() {
    let table =
        table([route("r", [to("a", [path(exact("/1"))]), to("b", [path(exact("/2"))]), to("a", [path(exact("/3"))])])]);
    let indexes: Vec<usize> = table.rules().iter().map(|rule| rule.backends()[0].index).collect();
    assert_eq!(indexes, [0, 1, 0]);
    assert_eq!(table.backends(), [backend("a"), backend("b")]);
}

#[test]
fn a_rules_filters_come_before_its_backends() {
    let add = |value: &str| {
        let header = Header { name: "X-Step".into(), value: value.as_bytes().into() };
        vec![Filter::RequestHeaders(HeaderModifier { add: vec![header], ..Default::default() })]
    };
    let mut rule = to("a", [path(prefix("/"))]);
    rule.filters = add("rule");
    rule.backends[0].filters = add("backend");
    let table = table([route("r", [rule])]);
    let lines: Vec<u8> = table.rules()[0].backends()[0].filters.request.lines().flatten().copied().collect();
    assert_eq!(lines, b"X-Step: rule\r\nX-Step: backend\r\n");
}

#[test]
fn weights_are_kept_within_four_sigma() {
    let mut rule = to("never", [path(prefix("/"))]);
    rule.backends =
        [("never", 0), ("one", 1), ("three", 3), ("six", 6)].map(|(name, weight)| share(name, weight)).into();
    let table = table([route("r", [rule])]);
    let (mut counts, draws, mut state) = ([0u32; 4], 10_000u32, 0x1234_5678_9abc_def0u64);
    for _ in 0..draws {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = state;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        counts[table.rules()[0].pick_backend(random ^ (random >> 31)).unwrap().index] += 1;
    }
    assert_eq!(counts[0], 0);
    for (count, share) in counts.into_iter().zip([0.0, 0.1, 0.3, 0.6]).skip(1) {
        let (mean, sigma) = (f64::from(draws) * share, (f64::from(draws) * share * (1.0 - share)).sqrt());
        assert!((f64::from(count) - mean).abs() < 4.0 * sigma, "{counts:?}");
    }
}

#[test]
fn a_timeout_of_zero_is_none() {
    let mut rule = to("a", [path(prefix("/"))]);
    rule.timeouts = Timeouts { request: Some(Duration::ZERO), backend_request: Some(Duration::from_secs(1)) };
    let table = table([route("r", [rule])]);
    assert_eq!(table.rules()[0].timeouts, Timeouts { request: None, backend_request: Some(Duration::from_secs(1)) });
}

#[test]
fn errors_name_the_field() {
    let field = |one: HttpMatch| {
        let rules = [to("a", [path(prefix("/"))]), to("a", [path(prefix("/")), one])];
        RouteTable::compile(&[route("r", []), route("r", rules)]).unwrap_err().field
    };
    let headers = vec![header("x", "1"), header("a b", "1")];
    assert_eq!(field(path(prefix("a"))), "http_routes[1].rules[1].matches[1].path");
    assert_eq!(field(path(regex("("))), "http_routes[1].rules[1].matches[1].path");
    assert_eq!(field(path(regex("a)(?:b"))), "http_routes[1].rules[1].matches[1].path");
    assert_eq!(field(path(regex("(?x)a # b"))), "http_routes[1].rules[1].matches[1].path");
    assert_eq!(
        field(HttpMatch::All { path: prefix("/"), method: None, headers, query: vec![] }),
        "http_routes[1].rules[1].matches[1].headers[1].name"
    );
}

#[test]
fn trace_says_why() {
    let get = HttpMatch::All {
        path: prefix("/a"),
        method: Some("GET".into()),
        headers: vec![header("x", "1")],
        query: vec![parameter("q", "1")],
    };
    let table = table([
        route("r", [to("a", [get]), to("b", [path(prefix("/"))]), to("c", [path(prefix("/"))])]),
        route("odd", [to("d", [HttpMatch::Unsupported])]),
    ]);
    let verdicts = |method, path: &str, query: Option<&str>, headers: &[(&str, &str)]| {
        let headers = headers.to_vec();
        let view = view(method, path, query, &headers);
        table.trace(&view).iter().map(|step| step.verdict.to_string()).collect::<Vec<_>>()
    };
    let first = |method, path, query, headers: &[(&str, &str)]| verdicts(method, path, query, headers).remove(1);
    assert_eq!(first("GET", "/b", None, &[]), Verdict::Path.to_string());
    assert_eq!(first("PUT", "/a", None, &[]), Verdict::Method.to_string());
    assert_eq!(first("GET", "/a", None, &[]), Verdict::Header("x").to_string());
    assert_eq!(first("GET", "/a", None, &[("x", "1")]), Verdict::Query("q").to_string());
    assert_eq!(
        verdicts("GET", "/a", Some("q=1"), &[("x", "1")]),
        [Verdict::UnsupportedMatch, Verdict::Selected, Verdict::Shadowed, Verdict::Shadowed]
            .map(|verdict| verdict.to_string())
    );
}

const NONE: [(&str, &str); 0] = [];

fn table(routes: impl IntoIterator<Item = HttpRoute>) -> RouteTable {
    RouteTable::compile(&routes.into_iter().collect::<Vec<_>>()).unwrap()
}

fn route(name: &str, rules: impl IntoIterator<Item = HttpRule>) -> HttpRoute {
    let object = ObjectRef {
        group: "gateway.networking.k8s.io".into(),
        kind: "HTTPRoute".into(),
        namespace: "default".into(),
        name: name.into(),
    };
    HttpRoute { object, order: RuleOrder::Specificity, rules: rules.into_iter().collect() }
}

/// A rule whose one backend carries the name that the tests look for.
fn to(name: &str, matches: impl IntoIterator<Item = HttpMatch>) -> HttpRule {
    HttpRule {
        name: "".into(),
        matches: matches.into_iter().collect(),
        filters: vec![],
        backends: vec![share(name, 1)],
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    }
}

fn share(name: &str, weight: u32) -> WeightedBackend {
    WeightedBackend { weight, backend: backend(name), filters: vec![] }
}

fn backend(name: &str) -> BackendRef {
    BackendRef::Service(BackendKey { namespace: "default".into(), name: name.into(), port: 80 })
}

fn path(path: PathMatch) -> HttpMatch {
    HttpMatch::All { path, method: None, headers: vec![], query: vec![] }
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.into())
}

fn regex(pattern: &str) -> PathMatch {
    PathMatch::Regex(pattern.into())
}

fn header(name: &str, value: &str) -> HeaderMatch {
    HeaderMatch { name: name.into(), value: StringMatch::Exact(value.into()) }
}

fn parameter(name: &str, value: &str) -> QueryMatch {
    QueryMatch { name: name.into(), value: StringMatch::Exact(value.into()) }
}

fn view<'a>(method: &'a str, path: &'a str, query: Option<&'a str>, headers: &'a dyn Headers) -> RequestView<'a> {
    RequestView { method, path: path.as_bytes(), query: query.map(str::as_bytes), headers }
}

fn taken(table: &RouteTable, method: &str, path: &str) -> String {
    taken_with(table, method, path, None, &NONE)
}

fn taken_with(table: &RouteTable, method: &str, path: &str, query: Option<&str>, headers: &dyn Headers) -> String {
    match table.select(&view(method, path, query, headers)) {
        Selection::DefaultBackend => "default".into(),
        Selection::NoMatch => "none".into(),
        Selection::Rule { rule, .. } => match &rule.pick_backend(0).unwrap().reference {
            BackendRef::Service(key) => key.name.to_string(),
            BackendRef::Unresolved { reason } => reason.to_string(),
        },
        Selection::Unsupported(object) => format!("unsupported {}", object.name),
    }
}

#[test]
fn grpc_methods_are_ranked_by_service_then_method_then_headers() {
    let method = |service: Option<&str>, method: Option<&str>, headers: &[&str]| HttpMatch::All {
        path: PathMatch::GrpcMethod { service: service.map(Arc::from), method: method.map(Arc::from) },
        method: None,
        headers: headers.iter().map(|name| header(name, "1")).collect(),
        query: vec![],
    };
    // least specific first
    let ranked = [
        method(None, None, &[]),
        method(None, None, &["x"]),
        method(None, Some("List"), &["x"]),
        method(Some("shop.Catalogue"), None, &[]),
        method(Some("shop.Catalogue"), None, &["x"]),
        method(Some("shop.Catalogue"), Some("List"), &[]),
        method(Some("shop.Catalogue"), Some("List"), &["x"]),
    ];
    for count in 1..=ranked.len() {
        let routes =
            ranked[..count].iter().enumerate().map(|(index, one)| route("r", [to(&index.to_string(), [one.clone()])]));
        let table = table(routes);
        assert_eq!(taken_with(&table, "POST", "/shop.Catalogue/List", None, &[("x", "1")]), (count - 1).to_string());
    }
    let table = table([route("r", [to("all", [ranked[5].clone()]), to("service", [ranked[3].clone()])])]);
    assert_eq!(taken(&table, "POST", "/shop.Catalogue/Get"), "service");
    for path in ["/shop.Catalogue", "/shop.Catalogue/a/b", "/shop.catalogue/List", "x/shop.Catalogue/List"] {
        assert_eq!(taken(&table, "POST", path), "none", "{path}");
    }
}

#[test]
fn the_prefix_that_matched_is_the_one_that_is_replaced() {
    let mut rule = to("a", [path(prefix("/")), path(prefix("/long/er/")), path(prefix("/long"))]);
    let edit = PathModifier::Prefix("/new".into());
    rule.filters = vec![Filter::Rewrite(Rewrite { hostname: None, path: Some(edit.clone()) })];
    let table = table([route("r", [rule])]);
    let rewritten = |path: &str| {
        let headers: [(&str, &str); 0] = [];
        let request = RequestView { method: "GET", path: path.as_bytes(), query: None, headers: &headers };
        let Selection::Rule { rule, prefix } = table.select(&request) else { panic!("a rule matches") };
        let backend = rule.pick_backend(0).unwrap();
        String::from_utf8(backend.filters.rewrite.path(request.path, prefix).concat()).unwrap()
    };
    assert_eq!(rewritten("/x"), "/new/x");
    assert_eq!(rewritten("/long/er/a"), "/new/a");
    assert_eq!(rewritten("/longer"), "/new/longer");
    assert_eq!(rewritten("/long/"), "/new/");

    let mut exactly = to("a", [path(exact("/a"))]);
    exactly.filters = vec![Filter::Rewrite(Rewrite { hostname: None, path: Some(edit) })];
    let error = RouteTable::compile(&[route("r", [exactly])]).unwrap_err();
    assert_eq!(error.field, "http_routes[0].rules[0].matches[0].path");
}

#[test]
fn a_mirror_has_its_place_among_the_backends_and_an_unresolved_one_has_none() {
    let key = BackendKey { namespace: "shop".into(), name: "copy".into(), port: 80 };
    let mirror = |backend| Filter::Mirror(Mirror { backend, numerator: 1, denominator: 2 });
    let mut rule = to("a", [path(prefix("/"))]);
    rule.filters =
        vec![mirror(BackendRef::Service(key.clone())), mirror(BackendRef::Unresolved { reason: "gone".into() })];
    rule.backends[0].filters = vec![mirror(BackendRef::Service(key.clone()))];
    let table = table([route("r", [rule])]);
    let backend = table.rules()[0].pick_backend(0).unwrap();
    let indexes: Vec<usize> = backend.filters.mirrors.iter().map(|mirror| mirror.index).collect();
    assert_eq!(indexes, [0, 0]);
    assert_eq!(table.backends()[0], BackendRef::Service(key));
}

#[test]
fn a_rewrite_beside_a_redirect_is_refused() {
    let mut rule = to("a", [path(prefix("/"))]);
    let redirect = Redirect { scheme: None, hostname: None, path: None, port: None, status: 302 };
    rule.filters = vec![Filter::Rewrite(Rewrite::default()), Filter::Redirect(redirect)];
    assert_eq!(RouteTable::compile(&[route("r", [rule])]).unwrap_err().field, "http_routes[0].rules[0].filters[0]");
}
