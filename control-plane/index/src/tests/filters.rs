//! Filters, repetition and sessions of HTTPRoutes: conversion, conditions, fields without effect.

use std::time::Duration;

use minimesh_api::model::{
    BackendRef, Cors, Filter, Mirror, PathModifier, Redirect, Retry, Rewrite, RuleOrder, Scheme, Session, SessionKind,
};

use super::routes::{conditions, judged, met, names, route, rules_of, to, with};
use super::*;

#[test]
fn every_filter_is_read() {
    let rules = r#"
  - filters:
    - type: RequestRedirect
      requestRedirect:
        { scheme: https, hostname: a.example, port: 8443, statusCode: 308, path: { type: ReplacePrefixMatch, replacePrefixMatch: /b } }
    - type: CORS
      cors: { allowOrigins: ["https://*.example"], allowCredentials: true, allowMethods: [GET], allowHeaders: [x-a], exposeHeaders: [x-b] }
  - filters:
    - { type: URLRewrite, urlRewrite: { hostname: b.example, path: { type: ReplaceFullPath, replaceFullPath: "" } } }
    - { type: RequestMirror, requestMirror: { backendRef: { name: carts-v2, port: 80 }, percent: 25 } }
    - { type: RequestMirror, requestMirror: { backendRef: { name: carts, port: 80 }, fraction: { numerator: 1, denominator: 3 } } }
    backendRefs: [{ name: carts, port: 80, filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: carts-v2, port: 80 } } }] }]"#;
    let read = rules_of(rules);
    let mirror =
        |name, numerator, denominator| Filter::Mirror(Mirror { backend: to("shop", name), numerator, denominator });
    let redirect = Redirect {
        scheme: Some(Scheme::Https),
        hostname: Some("a.example".into()),
        path: Some(PathModifier::Prefix("/b".into())),
        port: Some(8443),
        status: 308,
    };
    let cors = Cors {
        origins: vec!["https://*.example".into()],
        credentials: true,
        methods: vec!["GET".into()],
        headers: vec!["x-a".into()],
        expose: vec!["x-b".into()],
        max_age: 5,
    };
    assert_eq!(read[0].filters, [Filter::Redirect(redirect), Filter::Cors(cors)]);
    let rewrite = Rewrite { hostname: Some("b.example".into()), path: Some(PathModifier::Full("/".into())) };
    assert_eq!(read[1].filters, [Filter::Rewrite(rewrite), mirror("carts-v2", 25, 100), mirror("carts", 1, 3)]);
    assert_eq!(read[1].backends[0].filters, [mirror("carts-v2", 100, 100)]);
    assert_eq!(judged("name: carts", rules)[0], ("Accepted", true, "Accepted", String::new()));
}

#[test]
fn values_that_are_not_known_fail_their_rule() {
    for filter in [
        "{ type: RequestRedirect, requestRedirect: { scheme: gopher } }",
        "{ type: RequestRedirect, requestRedirect: { statusCode: 300 } }",
        "{ type: URLRewrite, urlRewrite: { path: { type: ReplaceRegex } } }",
        "{ type: ExternalAuth, externalAuth: {} }",
    ] {
        let rules = format!("[{{ filters: [{filter}] }}, {{}}]");
        assert_eq!(rules_of(&rules)[0].filters, [Filter::Unsupported], "{filter}");
        let partly = &judged("name: carts", &rules)[2];
        assert_eq!((partly.0, partly.1), ("PartiallyInvalid", true));
        assert!(partly.3.starts_with("spec.rules[0].filters[0]: "), "{}", partly.3);
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_the_field_is_named() {
    let refused = |rule: &str, field: &str| {
        let index = with(&[route("shop", "r", "name: carts", &format!("[{rule}]"))]);
        let (kind, status, reason, message) = conditions(&index).remove(0);
        assert_eq!((kind, status, reason), ("Accepted", false, "UnsupportedValue"));
        assert!(message.starts_with(&format!("spec.rules[0].{field}")), "{message}");
        assert_eq!(names(&index, "shop", 80), Vec::<String>::new());
    };
    let filters = |filters: &str| format!("{{ filters: [{filters}] }}");
    let redirect = |fields: &str| filters(&format!("{{ type: RequestRedirect, requestRedirect: {{ {fields} }} }}"));
    refused(&filters("{ type: URLRewrite }"), "filters[0].urlRewrite: is required");
    refused(&filters("{ type: CORS, cors: {}, urlRewrite: {} }"), "filters[0].urlRewrite: does not belong");
    refused(&redirect("port: 0"), "filters[0].requestRedirect.port: ");
    refused(&redirect("hostname: \"a/b\""), "filters[0].requestRedirect.hostname: ");
    refused(&redirect("path: { type: ReplaceFullPath }"), "filters[0].requestRedirect.path: ");
    let exact = "matches: [{ path: { type: Exact, value: /a } }]";
    let prefix = "{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /b } } }";
    refused(&format!("{{ {exact}, filters: [{prefix}] }}"), "matches[0].path: ");
    refused(&filters(&format!("{prefix}, {{ type: RequestRedirect, requestRedirect: {{}} }}")), "filters[0]: ");
    refused(&filters("{ type: CORS, cors: { allowOrigins: [nothing] } }"), "filters[0].cors.allowOrigins[0]: ");
    let mirror = |fields: &str| {
        filters(&format!(
            "{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: carts, port: 80 }}, {fields} }} }}"
        ))
    };
    refused(&mirror("percent: 101"), "filters[0].requestMirror: ");
    refused(&mirror("percent: 1, fraction: { numerator: 1 }"), "filters[0].requestMirror.fraction: ");
    refused(&mirror("fraction: { numerator: 1, denominator: 0 }"), "filters[0].requestMirror: ");
    refused("{ retry: { codes: [500, 200] } }", "retry.codes[1]: ");
    refused("{ retry: { backoff: soon } }", "retry.backoff: ");
    refused("{ sessionPersistence: { type: Header } }", "sessionPersistence: ");
    refused("{ sessionPersistence: { cookie: { lifetimeType: Permanent } } }", "sessionPersistence.absoluteTimeout: ");
    refused("{ sessionPersistence: { cookie: { path: nowhere } } }", "sessionPersistence.cookie.path: ");
}

#[test]
fn a_mirror_that_cannot_be_resolved_is_said_and_comes_to_life_with_its_service() {
    let rules = "[{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: new, port: 80 } } }] }]";
    let mut index = with(&[route("shop", "r", "name: carts", rules)]);
    let resolved = conditions(&index).remove(1);
    assert_eq!((resolved.1, resolved.2), (false, "BackendNotFound"));
    assert!(resolved.3.starts_with("spec.rules[0].filters[0].requestMirror.backendRef: "), "{}", resolved.3);
    let backend = |index: &Index| match &met(index, "shop", 80)[0].rules[0].filters[0] {
        Filter::Mirror(mirror) => mirror.backend.clone(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(backend(&index), BackendRef::Unresolved { .. }));
    let service = super::routes::SERVICES.replace("carts-v2", "new").replace("10.43.0.2", "10.43.0.4");
    let changes = index.apply(Event::Apply(objects(&service).remove(1)));
    assert!(changes.addresses.contains(&"10.43.0.1".parse().unwrap()));
    assert_eq!(backend(&index), to("shop", "new"));
}

#[test]
fn retry_and_session_are_read_in_both_shapes_with_their_defaults() {
    let read = |rule: &str| rules_of(&format!("[{rule}]")).remove(0);
    let retry = read("{ retry: { codes: [500, 503], attempts: 3, backoff: 100ms } }").retry;
    let backoff = Some(Duration::from_millis(100));
    assert_eq!(retry, Some(Retry { codes: vec![500, 503], attempts: 3, backoff }));
    assert_eq!(read("{ retry: {} }").retry, Some(Retry { codes: vec![], attempts: 1, backoff: None }));
    let none = Some(Retry { codes: vec![500], attempts: 0, backoff: None });
    assert_eq!(read("{ retry: { codes: [500], attempts: 0 } }").retry, none, "an explicit zero is said");

    let key = settings().session_key;
    let session = |name: &str, kind, absolute_timeout, idle_timeout| {
        let key = key.clone();
        Some(Session { name: name.into(), kind, absolute_timeout, idle_timeout, key })
    };
    let cookie = |path: &str, permanent| SessionKind::Cookie { path: path.into(), permanent };
    let (minute, hour) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(3_600)));
    let unnamed = session("session-shop-r-0", cookie("/", false), None, None);
    assert_eq!(read("{ sessionPersistence: {} }").session, unnamed);
    assert_eq!(
        read("{ sessionPersistence: { sessionName: s, absoluteTimeout: 1h, idleTimeout: 1m, cookieConfig: { lifetimeType: Permanent } } }").session,
        session("s", cookie("/", true), hour, minute)
    );
    assert_eq!(
        read("{ sessionPersistence: { type: Cookie, cookie: { name: c, path: /a } } }").session,
        session("c", cookie("/a", false), None, None)
    );
    let header = session("x-session", SessionKind::Header, None, None);
    assert_eq!(read("{ sessionPersistence: { type: Header, sessionName: x-session } }").session, header);
    assert_eq!(read("{ sessionPersistence: { type: Header, header: { name: x-session } } }").session, header);
}

#[test]
fn the_order_of_rules_is_the_routes_own_word() {
    let annotated = |value: &str| {
        let annotations = format!("name: r, annotations: {{ minimesh.io/rule-order: {value} }}");
        route("shop", "r", "name: carts", "[{}]").replacen("name: r", &annotations, 1)
    };
    let order = |value: &str| met(&with(&[annotated(value)]), "shop", 80)[0].order;
    assert_eq!(order("written"), RuleOrder::Written);
    assert_eq!(order("specificity"), RuleOrder::Specificity);
    assert_eq!(order("random"), RuleOrder::Specificity);
    let fault = &crate::faults(&objects(&annotated("random"))[0])[0];
    assert_eq!(fault.field, "metadata.annotations[minimesh.io/rule-order]");
}

#[test]
fn hostnames_are_said_to_have_no_effect_on_a_service() {
    let written = route("shop", "r", "name: carts", "[{}]");
    let with_hostnames = written.replace("spec:\n", "spec:\n  hostnames: [a.example]\n");
    assert_eq!(crate::faults(&objects(&with_hostnames)[0])[0].field, "spec.hostnames");
    let on_a_gateway = with_hostnames.replace("kind: Service", "kind: Gateway");
    assert_eq!(crate::faults(&objects(&on_a_gateway)[0]), []);
}
