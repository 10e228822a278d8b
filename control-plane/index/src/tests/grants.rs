//! ReferenceGrants: what routes of other namespaces may refer to.

use super::routes::{conditions, met, route, to, with};
use super::*;

/// A route of the shop that sends requests to another namespace's Service.
const RULES: &str = "[{ backendRefs: [{ name: audit, namespace: backoffice, port: 80 }] }]";

/// A grant in the back office.
fn grant(from: &str, to: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{ name: g, namespace: \
         backoffice }}\nspec:\n  from: [{from}]\n  to: [{to}]\n"
    )
}

const SHOPS_ROUTES: &str = "{ group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop }";
const SERVICES: &str = "{ group: \"\", kind: Service }";

/// Reason of `ResolvedRefs` with these grants.
fn reason(grants: &[String]) -> &'static str {
    let mut documents = vec![route("shop", "r", "name: carts", RULES)];
    documents.extend_from_slice(grants);
    conditions(&with(&documents))[1].2
}

#[test]
fn a_grant_permits_the_routes_and_services_that_it_names_and_no_others() {
    let permitted = |from: &str, to: &str| reason(&[grant(from, to)]) == "ResolvedRefs";
    let named = |name: &str| format!("{{ group: \"\", kind: Service, name: {name} }}");
    assert!(permitted(SHOPS_ROUTES, SERVICES));
    assert!(permitted(SHOPS_ROUTES, &named("audit")));
    assert!(permitted(&format!("{}, {SHOPS_ROUTES}", SHOPS_ROUTES.replace("shop", "web")), &named("audit")));
    assert!(!permitted(SHOPS_ROUTES, &named("ledger")));
    assert!(!permitted(&SHOPS_ROUTES.replace("shop", "web"), SERVICES));
    assert!(!permitted(&SHOPS_ROUTES.replace("HTTPRoute", "GRPCRoute"), SERVICES));
    assert!(!permitted(&SHOPS_ROUTES.replace("gateway.networking.k8s.io", "example.com"), SERVICES));
    assert!(!permitted(SHOPS_ROUTES, "{ group: \"\", kind: Secret }"));
    assert!(!permitted(SHOPS_ROUTES, ""));
    let elsewhere = grant(SHOPS_ROUTES, SERVICES).replace("namespace: backoffice", "namespace: shop");
    assert_eq!(reason(&[elsewhere]), "RefNotPermitted", "a grant is for its own namespace");
}

#[test]
fn what_may_not_be_referred_to_answers_500_for_its_share_and_is_not_said_to_exist() {
    let unknown = RULES.replace("audit", "unknown");
    let index = with(&[route("shop", "r", "name: carts", &unknown)]);
    let (kind, status, reason, message) = conditions(&index).remove(1);
    assert_eq!((kind, status, reason), ("ResolvedRefs", false, "RefNotPermitted"));
    assert!(message.starts_with("spec.rules[0].backendRefs[0]: no ReferenceGrant in backoffice "), "{message}");
    let index = with(&[route("shop", "r", "name: carts", &unknown), grant(SHOPS_ROUTES, SERVICES)]);
    assert_eq!(conditions(&index)[1].2, "BackendNotFound");
}

#[test]
fn a_grant_that_comes_or_goes_changes_the_parents_target() {
    let mut index = with(&[route("shop", "r", "name: carts", RULES)]);
    let granted = objects(&grant(SHOPS_ROUTES, SERVICES)).remove(0);
    let backend = |index: &Index| met(index, "shop", 80)[0].rules[0].backends[0].backend.clone();
    let changes = index.apply(Event::Apply(granted.clone()));
    assert!(changes.routes && changes.addresses.contains(&"10.43.0.1".parse().unwrap()), "{changes:?}");
    assert_eq!(backend(&index), to("backoffice", "audit"));
    let changes = index.apply(Event::Delete(granted.key()));
    assert!(changes.routes && changes.addresses.contains(&"10.43.0.1".parse().unwrap()), "{changes:?}");
    assert!(matches!(backend(&index), minimesh_api::model::BackendRef::Unresolved { .. }));
}

#[test]
fn mirrors_need_a_grant_as_well() {
    let rules = "[{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: audit, namespace: backoffice, \
                 port: 80 } } }] }]";
    let index = with(&[route("shop", "r", "name: carts", rules)]);
    assert_eq!(conditions(&index)[1].2, "RefNotPermitted");
    let index = with(&[route("shop", "r", "name: carts", rules), grant(SHOPS_ROUTES, SERVICES)]);
    assert_eq!(conditions(&index)[1].2, "ResolvedRefs");
}
