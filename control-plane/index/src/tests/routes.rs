//! HTTPRoutes: attachment, conversion, conditions.

use std::time::Duration;

use minimesh_api::model::{
    BackendRef, Filter, Header, HeaderMatch, HeaderModifier, HttpMatch, HttpRoute, HttpRule, ObjectRef, PathMatch,
    Protocol, QueryMatch, RuleOrder, StringMatch, Target, Timeouts, WeightedBackend,
};

use super::*;
use crate::{Condition, Truth};

/// The shop, and a second version of its Service with a second port.
pub(super) const SERVICES: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: carts, namespace: shop }
spec: { clusterIP: 10.43.0.1, ports: [{ name: http, port: 80 }, { name: admin, port: 81 }] }
---
apiVersion: v1
kind: Service
metadata: { name: carts-v2, namespace: shop }
spec: { clusterIP: 10.43.0.2, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: audit, namespace: backoffice }
spec: { clusterIP: 10.43.0.3, ports: [{ port: 80 }] }
"#;

/// A route in that namespace of that name with these parents and rules.
pub(super) fn route(namespace: &str, name: &str, parent: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name}, namespace: \
         {namespace} }}\nspec:\n  parentRefs: [{{ group: \"\", kind: Service, {parent} }}]\n  rules: {rules}\n"
    )
}

pub(super) fn with(routes: &[String]) -> Index {
    index(&format!("{SERVICES}{}", routes.concat()))
}

/// Routes that a client of the namespace meets at `carts`.
pub(super) fn met(index: &Index, client_namespace: &str, port: u16) -> Vec<HttpRoute> {
    match index.target(client_namespace, SocketAddr::new("10.43.0.1".parse().unwrap(), port)) {
        Target::Service(target) => target.http_routes,
        other => panic!("{other:?}"),
    }
}

pub(super) fn names(index: &Index, client_namespace: &str, port: u16) -> Vec<String> {
    met(index, client_namespace, port).iter().map(|route| route.object.name.to_string()).collect()
}

pub(super) fn rules_of(rules: &str) -> Vec<HttpRule> {
    met(&with(&[route("shop", "r", "name: carts", rules)]), "shop", 80).remove(0).rules
}

pub(super) fn everything() -> HttpMatch {
    HttpMatch::All { path: PathMatch::Prefix("/".into()), headers: vec![], query: vec![], method: None }
}

pub(super) fn to(namespace: &str, name: &str) -> BackendRef {
    BackendRef::Service(backend(namespace, name, 80))
}

/// (type, status, reason, message) of the only parent of the only route.
pub(super) fn conditions(index: &Index) -> Vec<(&'static str, bool, &'static str, String)> {
    let mut statuses = index.route_statuses();
    assert_eq!(statuses.len(), 1);
    let parent = statuses.remove(0).parents.remove(0);
    let tuple = |condition: Condition| {
        (condition.condition_type, condition.status == Truth::True, condition.reason, condition.message)
    };
    parent.conditions.into_iter().map(tuple).collect()
}

pub(super) fn judged(parent: &str, rules: &str) -> Vec<(&'static str, bool, &'static str, String)> {
    conditions(&with(&[route("shop", "r", parent, rules)]))
}

#[test]
fn whole_route_is_read() {
    let rules = r#"
  - name: checkout
    matches:
    - path: { type: Exact, value: /checkout }
      method: POST
      headers: [{ name: X-Version, value: two }, { type: RegularExpression, name: x-user, value: "a+" }]
      queryParams: [{ name: q, value: "1" }]
    - path: { type: RegularExpression, value: "/c.*" }
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: { set: [{ name: X-Set, value: a }], add: [{ name: X-Add, value: b }], remove: [X-Gone] }
    - type: ResponseHeaderModifier
      responseHeaderModifier: { set: [{ name: X-Back, value: c }] }
    timeouts: { request: 1s500ms, backendRequest: 0s }
    backendRefs:
    - { name: carts, port: 80, weight: 9 }
    - { name: carts-v2, port: 80 }"#;
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.as_bytes().into() };
    let exact = |value: &str| StringMatch::Exact(value.into());
    let expected = HttpRoute {
        object: ObjectRef {
            group: "gateway.networking.k8s.io".into(),
            kind: "HTTPRoute".into(),
            namespace: "shop".into(),
            name: "r".into(),
        },
        order: RuleOrder::Specificity,
        rules: vec![HttpRule {
            name: "checkout".into(),
            matches: vec![
                HttpMatch::All {
                    path: PathMatch::Exact("/checkout".into()),
                    headers: vec![
                        HeaderMatch { name: "x-version".into(), value: exact("two") },
                        HeaderMatch { name: "x-user".into(), value: StringMatch::Regex("a+".into()) },
                    ],
                    query: vec![QueryMatch { name: "q".into(), value: exact("1") }],
                    method: Some("POST".into()),
                },
                HttpMatch::All { path: PathMatch::Regex("/c.*".into()), headers: vec![], query: vec![], method: None },
            ],
            filters: vec![
                Filter::RequestHeaders(HeaderModifier {
                    set: vec![header("X-Set", "a")],
                    add: vec![header("X-Add", "b")],
                    remove: vec!["x-gone".into()],
                }),
                Filter::ResponseHeaders(HeaderModifier { set: vec![header("X-Back", "c")], ..Default::default() }),
            ],
            backends: vec![
                WeightedBackend { weight: 9, backend: to("shop", "carts"), filters: vec![] },
                WeightedBackend { weight: 1, backend: to("shop", "carts-v2"), filters: vec![] },
            ],
            timeouts: Timeouts { request: Some(Duration::from_millis(1_500)), backend_request: None },
            retry: None,
            session: None,
        }],
    };
    let index = with(&[route("shop", "r", "name: carts", rules)]);
    assert_eq!(met(&index, "shop", 80), [expected]);
    let fine =
        vec![("Accepted", true, "Accepted", String::new()), ("ResolvedRefs", true, "ResolvedRefs", String::new())];
    assert_eq!(conditions(&index), fine);
}

#[test]
fn rule_that_names_no_match_matches_everything_and_a_route_without_rules_has_one() {
    let plain = HttpRule {
        name: "".into(),
        matches: vec![everything()],
        filters: vec![],
        backends: vec![],
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    };
    let expected = [plain];
    assert_eq!(rules_of("[{}]"), expected);
    assert_eq!(rules_of("null"), expected);
}

#[test]
fn producer_route_meets_all_clients_and_a_consumer_route_its_own_namespace_instead() {
    let index = with(&[
        route("shop", "producer", "name: carts", "[{}]"),
        route("web", "consumer", "name: carts, namespace: shop", "[{}]"),
    ]);
    assert_eq!(names(&index, "shop", 80), ["producer"]);
    assert_eq!(names(&index, "elsewhere", 80), ["producer"]);
    assert_eq!(names(&index, "web", 80), ["consumer"]);
}

#[test]
fn port_and_section_name_of_a_parent_choose_the_ports() {
    let index = with(&[
        route("shop", "all", "name: carts", "[{}]"),
        route("shop", "by-number", "name: carts, port: 81", "[{}]"),
        route("shop", "by-section", "name: carts, sectionName: http", "[{}]"),
        route("shop", "by-both", "name: carts, sectionName: http, port: 81", "[{}]"),
    ]);
    assert_eq!(names(&index, "shop", 80), ["all", "by-section"]);
    assert_eq!(names(&index, "shop", 81), ["all", "by-number"]);
}

#[test]
fn routes_are_ordered_by_age_then_name() {
    let aged = |name: &str, time: &str| {
        route("shop", name, "name: carts", "[{}]")
            .replace("namespace: shop", &format!("namespace: shop, creationTimestamp: {time}"))
    };
    let index = with(&[
        aged("ageless-b", "null"),
        aged("ageless-a", "null"),
        aged("young", "2026-01-02T00:00:00Z"),
        aged("old", "2026-01-01T00:00:00Z"),
    ]);
    assert_eq!(names(&index, "shop", 80), ["old", "young", "ageless-a", "ageless-b"]);
}

#[test]
fn pod_addresses_have_no_routes_and_parents_of_other_kinds_are_not_ours() {
    let gateway = route("shop", "r", "name: carts", "[{}]").replace("kind: Service", "kind: Gateway");
    let index = with(&[gateway]);
    assert_eq!(names(&index, "shop", 80), Vec::<String>::new());
    assert_eq!(index.route_statuses(), []);
}

#[test]
fn route_wins_over_a_declaration_that_the_port_is_opaque() {
    let yaml = format!("{SERVICES}{}", route("shop", "r", "name: carts", "[{}]"));
    let index = index(&yaml.replace("{ name: http, port: 80 }", "{ name: http, port: 80, appProtocol: tcp }"));
    let Target::Service(target) = index.target("shop", address("10.43.0.1:80")) else { panic!() };
    assert_eq!(target.protocol, Protocol::Detect);
}

#[test]
fn backends_that_cannot_be_resolved_keep_their_share_and_are_named() {
    let rules = "[{ backendRefs: [{ name: carts, port: 80 }, { name: gone, port: 80 }, { name: carts-v2, port: 99 }, \
                 { name: carts-v2 }, { name: b, kind: Bucket, group: example.com }, { name: audit, namespace: \
                 backoffice, port: 80 }] }]";
    let reasons: Vec<String> = rules_of(rules)[0]
        .backends
        .iter()
        .map(|weighted| match &weighted.backend {
            BackendRef::Service(key) => key.to_string(),
            BackendRef::Unresolved { reason } => reason.to_string(),
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "shop/carts:80",
            "BackendNotFound: Service shop/gone does not exist",
            "BackendNotFound: Service shop/carts-v2 has no TCP port 99",
            "BackendNotFound: the port of Service shop/carts-v2 is missing",
            "InvalidKind: Bucket of group \"example.com\" is no backend; a Service is",
            "RefNotPermitted: no ReferenceGrant in backoffice lets HTTPRoute shop/r refer to Service backoffice/audit",
        ]
    );
    let judged = judged("name: carts", rules);
    assert_eq!(judged[0], ("Accepted", true, "Accepted", String::new()));
    let (kind, status, reason, message) = judged[1].clone();
    assert_eq!((kind, status, reason), ("ResolvedRefs", false, "BackendNotFound"));
    assert!(message.starts_with("spec.rules[0].backendRefs[1]: Service shop/gone does not exist; "), "{message}");
    assert_eq!(message.matches("spec.rules[0]").count(), 5);
}

#[test]
fn consumer_route_may_send_traffic_back_to_its_parents_namespace() {
    let rules = "[{ backendRefs: [{ name: carts, namespace: shop, port: 80 }] }]";
    let index = with(&[route("web", "r", "name: carts, namespace: shop", rules)]);
    assert_eq!(met(&index, "web", 80)[0].rules[0].backends[0].backend, to("shop", "carts"));
}

#[test]
fn backend_that_appears_is_resolved_and_changes_the_parents_target() {
    let mut index = with(&[route("shop", "r", "name: carts", "[{ backendRefs: [{ name: new, port: 80 }] }]")]);
    let service = objects(&SERVICES.replace("carts-v2", "new").replace("10.43.0.2", "10.43.0.4")).remove(1);
    let changes = index.apply(Event::Apply(service));
    let addresses: Vec<String> = changes.addresses.iter().map(ToString::to_string).collect();
    assert_eq!((addresses, changes.routes), (vec!["10.43.0.1".to_owned(), "10.43.0.4".to_owned()], true));
    assert_eq!(met(&index, "shop", 80)[0].rules[0].backends[0].backend, to("shop", "new"));
}

#[test]
fn parent_that_does_not_exist_or_has_no_such_port_is_said() {
    let refused = |parent: &str, message: &str| {
        let judged = judged(parent, "[{}]");
        assert_eq!(judged[0], ("Accepted", false, "NoMatchingParent", message.to_owned()));
        assert_eq!(judged[1].0, "ResolvedRefs");
    };
    refused("name: gone", "Service shop/gone does not exist");
    refused("name: carts, port: 99", "Service shop/carts has no TCP port that fits port and sectionName");
    refused("name: carts, sectionName: none", "Service shop/carts has no TCP port that fits port and sectionName");
}

#[test]
fn invalid_route_is_not_attached_and_the_field_is_named() {
    let refused = |rules: &str, field: &str| {
        let index = with(&[route("shop", "r", "name: carts", rules)]);
        let (kind, status, reason, message) = conditions(&index).remove(0);
        assert_eq!((kind, status, reason), ("Accepted", false, "UnsupportedValue"));
        assert!(message.starts_with(&format!("spec.{field}: ")), "{message}");
        assert_eq!(names(&index, "shop", 80), Vec::<String>::new());
    };
    refused("[{}, { matches: [{ path: { type: RegularExpression, value: \"(\" } }] }]", "rules[1].matches[0].path");
    refused("[{ matches: [{ path: { value: no-slash } }] }]", "rules[0].matches[0].path");
    refused("[{ matches: [{ headers: [{ name: \"a b\", value: c }] }] }]", "rules[0].matches[0].headers[0].name");
    refused("[{ matches: [{ queryParams: [{ name: \"\", value: c }] }] }]", "rules[0].matches[0].queryParams[0].name");
    refused("[{ timeouts: { request: 1d } }]", "rules[0].timeouts.request");
    refused("[{ timeouts: { request: 1s, backendRequest: 2s } }]", "rules[0].timeouts.backendRequest");
    refused("[{ backendRefs: [{ name: carts, port: 80, weight: -1 }] }]", "rules[0].backendRefs[0].weight");
    refused("[{ filters: [{ type: RequestHeaderModifier }] }]", "rules[0].filters[0].requestHeaderModifier");
}

#[test]
fn filter_that_is_not_supported_fails_its_rule_and_is_said() {
    let custom = "{ filters: [{ type: ExtensionRef, extensionRef: { name: x } }] }";
    assert_eq!(rules_of(&format!("[{custom}, {{}}]"))[0].filters, [Filter::Unsupported]);
    let message = "spec.rules[0].filters[0]: filter ExtensionRef is not supported; the rule answers 500".to_owned();
    let judged_partly = judged("name: carts", &format!("[{custom}, {{}}]"));
    assert_eq!(judged_partly[0], ("Accepted", true, "Accepted", String::new()));
    assert_eq!(judged_partly[2], ("PartiallyInvalid", true, "UnsupportedValue", message.clone()));
    let judged_wholly = judged("name: carts", &format!("[{custom}]"));
    assert_eq!(judged_wholly[0], ("Accepted", false, "UnsupportedValue", message));
}

#[test]
fn route_of_which_no_rule_is_supported_is_attached_so_that_requests_are_refused() {
    assert_eq!(rules_of("[{ matches: [{ path: { type: Fuzzy, value: /a } }] }]")[0].matches, [HttpMatch::Unsupported]);
    assert_eq!(rules_of("[{ matches: [{ headers: [{ type: Fuzzy, name: a, value: b }] }] }]").len(), 1);
}

#[test]
fn rule_with_a_match_or_filter_that_says_more_than_is_read_answers_500_and_the_others_do_not() {
    let filter = "{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [a] } }";
    let backends = format!("[{{ name: carts, port: 80, filters: [{filter}] }}]");
    let rules = format!(
        "[{{ matches: [{{}}, {{ method: GET }}] }}, {{ filters: [{filter}] }}, {{ backendRefs: {backends} }}, {{}}]"
    );
    for (kind, rules) in
        [("HTTPRoute", rules.clone()), ("GRPCRoute", rules.replace("method: GET", "method: { method: Get }"))]
    {
        let yaml = route("shop", "r", "name: carts", &rules).replace("HTTPRoute", kind);
        let mut read = objects(&yaml).remove(0);
        let fields = ["matches[1].tls", "filters[0].when", "backendRefs[0].filters[0].when", "speed"];
        let fields = fields.iter().enumerate().map(|(rule, field)| format!("spec.rules[{rule}].{field}"));
        read.note_unread(fields.collect());
        let said: Vec<String> = crate::faults(&read).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "spec.rules[0].matches[1].tls: is not known to this version; the rule answers 500",
                "spec.rules[1].filters[0].when: is not known to this version; the rule answers 500",
                "spec.rules[2].backendRefs[0].filters[0].when: is not known to this version; the rule answers 500",
                "spec.rules[3].speed: is not known to this version and has no effect",
            ]
        );
        let mut index = index(SERVICES);
        index.apply(Event::Apply(read));
        let [first, second, third, fourth] = &met(&index, "shop", 80)[0].rules[..] else { panic!("four rules") };
        assert!(first.matches[0] != HttpMatch::Unsupported && first.matches[1] == HttpMatch::Unsupported, "{first:?}");
        assert_eq!(
            (&second.filters[..], &third.backends[0].filters[..]),
            (&[Filter::Unsupported][..], &[Filter::Unsupported][..])
        );
        assert!(!fourth.matches.contains(&HttpMatch::Unsupported) && fourth.filters.is_empty(), "{fourth:?}");
        let partial = &conditions(&index)[2];
        assert_eq!((partial.0, partial.1, &partial.3), ("PartiallyInvalid", true, &said[..3].join("; ")));
    }
}
