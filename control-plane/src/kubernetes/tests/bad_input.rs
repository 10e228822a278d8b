//! Tokens that prove nothing, objects that make no sense, an API server that fails: each is refused in words and counted, and
//! everything else goes on.

use std::sync::Arc;
use std::time::Duration;

use minimesh_index::{Condition, Event, Kind, Object, ObjectKey, ParentStatus, RouteStatus, Truth};
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::Code;

use super::super::fake::Fake;
use super::super::{Leadership, Source, Statuses};
use super::{Desk, PODS, ROUTES, SERVICES, eventually, first, happened, named, next, pod, review, service};

#[tokio::test(start_paused = true)]
async fn tokens_that_are_expired_or_for_others_are_refused_in_words_and_counted() {
    let fake = Fake::new();
    fake.apply(PODS, pod("carts-1", "carts", "u-1", "10.42.0.7"));
    fake.token("good", review("carts", "carts-1", "u-1"));
    fake.token("old", json!({"authenticated": false, "error": "service account token has expired"}));
    let mut of_the_api_server = review("carts", "carts-1", "u-1");
    of_the_api_server["audiences"] = json!(["https://kubernetes.default.svc"]);
    fake.token("for the API server", of_the_api_server);
    let mut of_no_pod = review("carts", "carts-1", "u-1");
    of_no_pod["user"]["extra"] = json!({});
    fake.token("made by hand", of_no_pod);
    let desk = Desk::open(&fake, "a").await;
    desk.certified("good").await;
    let before = desk.metrics.certify_refused.value();
    let cases = [
        ("old", "service account token has expired"),
        ("for the API server", "not for the audience identity.minimesh.io"),
        ("made by hand", "not bound to a pod"),
        ("no token at all", "invalid bearer token"),
    ];
    for (token, says) in cases {
        let status = desk.certify(token).await.expect_err("refused");
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        assert!(status.message().contains(says) && !status.message().contains(token), "{status:?}");
    }
    assert_eq!(desk.metrics.certify_refused.value() - before, cases.len() as u64);
    desk.certified("good").await;
    assert_eq!(desk.metrics.certified.value(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_cannot_have_the_api_server_review_tokens_without_end_and_others_are_served() {
    let fake = Fake::new();
    fake.apply(PODS, pod("carts-1", "carts", "u-1", "10.42.0.7"));
    fake.token("good", review("carts", "carts-1", "u-1"));
    let desk = Desk::open(&fake, "a").await;
    desk.certified("good").await;
    let stranger = [10, 42, 9, 9];
    let before = desk.metrics.reviews.value();
    for _ in 0..1_000 {
        desk.certify_from(stranger, "made up").await.expect_err("refused");
    }
    let (reviews, refused) = (desk.metrics.reviews.value() - before, desk.metrics.reviews_refused.value());
    assert!(reviews + refused == 1_000 && reviews < 200, "{reviews} reviews, {refused} refused");
    assert_eq!(desk.certify_from(stranger, "made up").await.expect_err("refused").code(), Code::ResourceExhausted);
    desk.certified("good").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(desk.certify_from(stranger, "made up").await.expect_err("refused").code(), Code::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_reviews_no_tokens_makes_proxies_wait_and_refuses_none_for_good() {
    let fake = Fake::new();
    fake.apply(PODS, pod("carts-1", "carts", "u-1", "10.42.0.7"));
    fake.token("good", review("carts", "carts-1", "u-1"));
    let desk = Desk::open(&fake, "a").await;
    desk.certified("good").await;
    fake.fail(REVIEWS, Some(500));
    assert_eq!(desk.certify("good").await.expect_err("not now").code(), Code::Unavailable);
    fake.fail(REVIEWS, None);
    desk.certified("good").await;
}

/// A route of generation 3 to the Service `carts`.
fn route(rules: Value) -> Value {
    let mut route = named("shop", "carts");
    route["metadata"]["generation"] = json!(3);
    let parent = json!({"group": "", "kind": "Service", "name": "carts"});
    let gateway = json!({"name": "a-gateway"});
    route["spec"] = json!({"parentRefs": [gateway, parent], "rules": rules});
    route
}

/// Writes statuses of what a source finds, beside what the index judged.
fn statuses(fake: &Fake, source: &Source, judged: &watch::Sender<Option<Arc<[RouteStatus]>>>) -> Statuses {
    Statuses {
        client: fake.cluster().client,
        routes: judged.subscribe(),
        problems: source.problems.clone(),
        unread: source.unread.clone(),
    }
}

fn written(fake: &Fake) -> Option<Value> {
    let parents = fake.get(ROUTES, "shop/carts")?["status"]["parents"].clone();
    parents.as_array().and_then(|parents| parents.first()).cloned()
}

#[tokio::test(start_paused = true)]
async fn a_route_that_cannot_be_read_says_so_in_its_status_until_it_can() {
    let fake = Fake::new();
    fake.serve("v1/HTTPRoute", true);
    fake.apply(SERVICES, service("carts", 80));
    fake.apply(ROUTES, route(json!("everything")));
    let mut source = fake.cluster().watch();
    assert_eq!(first(&mut source).await, ["Service shop/carts"], "and nothing else waits for it");
    let judged = watch::channel(Some(Arc::from([]))).0;
    tokio::spawn(statuses(&fake, &source, &judged).run(Leadership::fixed(true)));
    let entry = eventually(|| written(&fake)).await;
    let condition = &entry["conditions"][0];
    assert_eq!(entry["parentRef"]["kind"], "Service", "{entry}");
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"], &condition["observedGeneration"]),
        (&json!("Accepted"), &json!("False"), &json!("UnsupportedValue"), &json!(3))
    );
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("spec.rules: ") && message.ends_with("; it is not in force"), "{message}");
    let resolved = &entry["conditions"][1];
    assert_eq!((&resolved["type"], &resolved["status"]), (&json!("ResolvedRefs"), &json!("Unknown")));
    fake.apply(ROUTES, route(json!([])));
    assert_eq!(happened(&mut source).await, ["+HTTPRoute shop/carts"]);
    eventually(|| written(&fake).is_none().then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_field_that_nobody_reads_stands_in_the_routes_status() {
    let fake = Fake::new();
    fake.serve("v1/HTTPRoute", true);
    fake.apply(ROUTES, route(json!([{"speed": 5, "matches": [{"tls": {}, "ports": [1]}]}])));
    let mut source = fake.cluster().watch();
    let batch = next(&mut source).await;
    let [Event::Replace(objects)] = &batch[..] else { panic!("no complete list: {batch:?}") };
    let [Object::HttpRoute(read)] = &objects[..] else { panic!("not in force: {objects:?}") };
    let fields = ["spec.rules[0].matches[0].ports", "spec.rules[0].speed"];
    assert_eq!(read.unread, fields, "for the rule to answer 500");
    let parent = minimesh_index::resource::ParentRef { name: "carts".to_owned(), ..Default::default() };
    let message = String::new();
    let accepted = Condition { condition_type: "Accepted", status: Truth::True, reason: "Accepted", message };
    let message = format!("{}: is not known to this version; the rule answers 500", fields[0]);
    let partial =
        Condition { condition_type: "PartiallyInvalid", status: Truth::True, reason: "UnsupportedValue", message };
    let parents = vec![ParentStatus { parent, conditions: vec![accepted, partial] }];
    let route = ObjectKey::new(Kind::HttpRoute, "shop", "carts");
    let judged = RouteStatus { route, uid: None, generation: Some(3), parents };
    let judged = watch::channel(Some(Arc::from([judged]))).0;
    tokio::spawn(statuses(&fake, &source, &judged).run(Leadership::fixed(true)));
    let entry = eventually(|| written(&fake)).await;
    assert_eq!(
        (&entry["conditions"][0]["status"], &entry["conditions"][0]["message"]),
        (&json!("True"), &json!("spec.rules[0].speed: is not known to this version and has no effect")),
        "and what another condition says stands there alone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_grant_with_a_field_that_nobody_reads_grants_nothing() {
    let fake = Fake::new();
    fake.serve("v1beta1/ReferenceGrant", true);
    let mut grant = named("shop", "of-misspelt-name");
    grant["spec"] = json!({"from": [], "to": [{"group": "", "kind": "Service", "nmae": "carts"}]});
    fake.apply("gateway.networking.k8s.io/v1beta1/referencegrants", grant);
    fake.apply(SERVICES, service("carts", 80));
    let mut source = fake.cluster().watch();
    assert_eq!(first(&mut source).await, ["Service shop/carts"]);
    let said: Vec<String> = source.problems.borrow().iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("ReferenceGrant shop/of-misspelt-name: spec.to[0].nmae: "), "{said:?}");
    // silence is part of the answer: half an hour later there is still no grant
    assert!(tokio::time::timeout(Duration::from_secs(1_800), source.events.recv()).await.is_err());
}

const REVIEWS: &str = "authentication.k8s.io/v1/tokenreviews";
