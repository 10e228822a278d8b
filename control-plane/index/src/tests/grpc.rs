//! GRPCRoutes: conversion, and how they stand beside HTTPRoutes.

use minimesh_api::model::{Filter, HeaderMatch, HttpMatch, HttpRoute, HttpRule, PathMatch, StringMatch};

use super::routes::{met, names, route, to, with};
use super::*;

/// A GRPCRoute at `carts`.
fn grpc(name: &str, created: &str, parent: &str, rules: &str) -> String {
    let at = format!("name: {name}, creationTimestamp: {created}");
    let written = route("shop", name, parent, rules).replacen("kind: HTTPRoute", "kind: GRPCRoute", 1);
    written.replacen(&format!("name: {name}"), &at, 1)
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-02-01T00:00:00Z";

#[test]
fn whole_route_is_read() {
    let rules = r#"
  - name: canary
    matches:
    - method: { service: shop.Carts, method: Get }
      headers: [{ name: X-Version, value: two }]
    - method: { method: Get }
    - method: { type: RegularExpression, service: "shop[.].*" }
    - {}
    filters:
    - { type: RequestHeaderModifier, requestHeaderModifier: { remove: [x] } }
    - { type: URLRewrite, urlRewrite: {} }
    backendRefs: [{ name: carts-v2, port: 80, weight: 7 }]"#;
    let HttpRoute { object, rules, .. } = met(&with(&[grpc("r", EARLY, "name: carts", rules)]), "shop", 80).remove(0);
    assert_eq!((&*object.kind, &*object.name), ("GRPCRoute", "r"));
    let HttpRule { name, matches, filters, backends, .. } = &rules[0];
    let all = |path, headers| HttpMatch::All { path, headers, query: vec![], method: None };
    let method = |service: Option<&str>, method: Option<&str>| PathMatch::GrpcMethod {
        service: service.map(Into::into),
        method: method.map(Into::into),
    };
    let version = HeaderMatch { name: "x-version".into(), value: StringMatch::Exact("two".into()) };
    let wanted = [
        all(method(Some("shop.Carts"), Some("Get")), vec![version]),
        all(method(None, Some("Get")), vec![]),
        all(PathMatch::Regex("/(?:shop[.].*)/(?:[^/]+)".into()), vec![]),
        all(method(None, None), vec![]),
    ];
    assert_eq!((&**name, matches.as_slice()), ("canary", &wanted[..]));
    assert!(matches!(filters[..], [Filter::RequestHeaders(_), Filter::Unsupported]), "{filters:?}");
    assert_eq!((backends[0].weight, &backends[0].backend), (7, &to("shop", "carts-v2")));
}

#[test]
fn of_two_kinds_at_one_port_the_older_route_is_in_force_and_the_other_is_refused() {
    let http = |created: &str| {
        let at = format!("name: h, creationTimestamp: {created}");
        route("shop", "h", "name: carts", "[{}]").replacen("name: h", &at, 1)
    };
    let accepted = |index: &Index| -> Vec<(String, bool)> {
        let one = |status: crate::RouteStatus| {
            let accepted = &status.parents[0].conditions[0];
            (status.route.name.to_string(), accepted.status == crate::Truth::True)
        };
        index.route_statuses().into_iter().map(one).collect()
    };
    let index = with(&[grpc("g", EARLY, "name: carts", "[{}]"), http(LATE)]);
    assert_eq!(names(&index, "shop", 80), ["g"]);
    assert_eq!(accepted(&index), [("h".to_owned(), false), ("g".to_owned(), true)]);

    let index = with(&[grpc("g", LATE, "name: carts", "[{}]"), http(EARLY)]);
    assert_eq!(names(&index, "shop", 80), ["h"]);
    assert_eq!(accepted(&index), [("h".to_owned(), true), ("g".to_owned(), false)]);

    // each at a port of its own: both
    let index = with(&[grpc("g", EARLY, "name: carts, port: 81", "[{}]"), http(LATE)]);
    assert_eq!((names(&index, "shop", 80), names(&index, "shop", 81)), (vec!["h".to_owned()], vec!["g".to_owned()]));
    assert_eq!(accepted(&index), [("h".to_owned(), true), ("g".to_owned(), true)]);
}

#[test]
fn routes_of_two_kinds_may_share_a_name() {
    let mut index =
        with(&[grpc("r", LATE, "name: carts, port: 81", "[{}]"), route("shop", "r", "name: carts, port: 80", "[{}]")]);
    assert_eq!((names(&index, "shop", 80).len(), names(&index, "shop", 81).len()), (1, 1));
    index.apply(Event::Delete(crate::ObjectKey::new(Kind::GrpcRoute, "shop", "r")));
    assert_eq!((names(&index, "shop", 80).len(), names(&index, "shop", 81).len()), (1, 0));
}
