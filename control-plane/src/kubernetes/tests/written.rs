//! What the replica that leads writes, and which one that is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::ResourceKey;
use minimesh_api::wire::Invalid;
use minimesh_index::{Condition, Kind, ObjectKey, ParentStatus, RouteStatus};
use minimesh_runtime::drain;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::super::fake::Fake;
use super::super::{Events, Leadership, Lease, Problem, Statuses, TrustMaps};
use super::{Desk, MAPS, NEVER, PODS, ROUTES, SERVICES, eventually, first, issuer, named, pod, quiet, review, service};
use crate::publish::Subscriber;
use crate::testing;
use crate::watch::Refused;

async fn leads(leadership: &mut Leadership) {
    timeout(NEVER, leadership.gained()).await.expect("it leads");
}

#[tokio::test(start_paused = true)]
async fn one_replica_writes_and_another_takes_over_when_it_is_silent() {
    let fake = Fake::new();
    let mut first = Lease::new(&fake.cluster().client, "minimesh", "a").spawn(quiet());
    leads(&mut first).await;
    let mut second = Lease::new(&fake.cluster().client, "minimesh", "b").spawn(quiet());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(first.leads() && !second.leads());
    drop(first);
    leads(&mut second).await;
    let lease = fake.get("coordination.k8s.io/v1/leases", "minimesh/minimesh-control-plane").expect("a Lease");
    assert_eq!((&lease["spec"]["holderIdentity"], &lease["spec"]["leaseTransitions"]), (&json!("b"), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_stops_writing_before_another_begins() {
    let fake = Fake::new();
    let mut first = Lease::new(&fake.cluster().client, "minimesh", "a").spawn(quiet());
    leads(&mut first).await;
    fake.fail("coordination.k8s.io/v1/leases", Some(500));
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert!(!first.leads());
}

#[tokio::test(start_paused = true)]
async fn who_ends_lets_go_and_another_writes_soon() {
    let fake = Fake::new();
    let (trigger, drain) = drain::channel();
    let mut first = Lease::new(&fake.cluster().client, "minimesh", "a").spawn(drain);
    leads(&mut first).await;
    let mut second = Lease::new(&fake.cluster().client, "minimesh", "b").spawn(quiet());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let began = Instant::now();
    trigger.start();
    leads(&mut second).await;
    assert!(!first.leads() && began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// Who writes statuses, and what it goes by.
struct Scribe {
    judged: watch::Sender<Option<Arc<[RouteStatus]>>>,
    _problems: watch::Sender<Arc<[Problem]>>,
    _unread: watch::Sender<Arc<[RouteStatus]>>,
}

impl Scribe {
    fn begin(fake: &Fake, judged: Option<Arc<[RouteStatus]>>) -> Scribe {
        let client = fake.cluster().client;
        let (judged, routes) = watch::channel(judged);
        let (_problems, problems) = watch::channel(Arc::from([]));
        let (_unread, unread) = watch::channel(Arc::from([]));
        let statuses = Statuses { client, routes, problems, unread };
        tokio::spawn(statuses.run(Leadership::fixed(true)));
        Scribe { judged, _problems, _unread }
    }
}

/// What was judged of the route `carts`.
fn judged(uid: &str, generation: i64, accepted: bool) -> Option<Arc<[RouteStatus]>> {
    let parent = minimesh_index::resource::ParentRef { name: "carts".to_owned(), ..Default::default() };
    let (status, message) = (accepted.into(), String::new());
    let condition = Condition { condition_type: "Accepted", status, reason: "Accepted", message };
    let parents = vec![ParentStatus { parent, conditions: vec![condition] }];
    let route = ObjectKey::new(Kind::HttpRoute, "shop", "carts");
    Some(Arc::from([RouteStatus { route, uid: Some(uid.into()), generation: Some(generation), parents }]))
}

/// The route `carts`, with entries in its status.
fn route(uid: &str, generation: i64, parents: Value) -> Value {
    let mut route = named("shop", "carts");
    (route["metadata"]["uid"], route["metadata"]["generation"]) = (json!(uid), json!(generation));
    route["status"] = json!({ "parents": parents });
    route
}

fn foreign() -> Value {
    json!({"controllerName": "example.com/other", "parentRef": {"name": "g"}, "conditions": []})
}

#[tokio::test(start_paused = true)]
async fn a_word_of_ours_from_another_life_is_taken_back_once_everything_is_read() {
    let fake = Fake::new();
    fake.serve("v1/HTTPRoute", true);
    let ours = json!({"controllerName": "minimesh.io/control-plane", "parentRef": {"name": "carts"}, "conditions": []});
    fake.apply(ROUTES, route("u-1", 2, json!([ours, foreign()])));
    let scribe = Scribe::begin(&fake, None);
    let parents = || fake.get(ROUTES, "shop/carts").expect("there")["status"]["parents"].clone();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(parents(), json!([ours, foreign()]), "nothing was judged yet");
    scribe.judged.send_replace(Some(Arc::from([])));
    eventually(|| (parents() == json!([foreign()])).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_was_made_anew_gets_its_status_although_nothing_else_is_different() {
    let fake = Fake::new();
    fake.serve("v1/HTTPRoute", true);
    fake.apply(ROUTES, route("u-1", 1, json!([])));
    let scribe = Scribe::begin(&fake, judged("u-1", 1, true));
    let is_written = || fake.get(ROUTES, "shop/carts").is_some_and(|route| route["status"]["parents"] != json!([]));
    eventually(|| is_written().then_some(())).await;
    fake.apply(ROUTES, route("u-2", 1, json!([])));
    scribe.judged.send_replace(judged("u-2", 1, true));
    // before everything is written afresh
    let soon = async {
        while !is_written() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), soon).await.expect("written");
}

#[tokio::test(start_paused = true)]
async fn conditions_of_routes_are_written_for_the_generation_that_was_judged() {
    let fake = Fake::new();
    fake.serve("v1/HTTPRoute", true);
    let foreign = foreign();
    fake.apply(ROUTES, route("u-1", 2, json!([foreign])));
    let scribe = Scribe::begin(&fake, judged("u-1", 1, false));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let parents = || fake.get(ROUTES, "shop/carts").expect("there")["status"]["parents"].clone();
    assert_eq!(parents(), json!([foreign]), "generation 1 is not what is there");
    scribe.judged.send_replace(judged("u-1", 2, true));
    let written = eventually(|| parents().as_array().filter(|parents| parents.len() == 2).cloned()).await;
    let condition = &written[1]["conditions"][0];
    assert_eq!(
        (&written[0], &condition["status"], &condition["observedGeneration"]),
        (&foreign, &json!("True"), &json!(2))
    );
    let writes = || fake.count(&format!("PUT {ROUTES}"));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(writes(), 1, "what is there is not written again");
    scribe.judged.send_replace(Some(Arc::from([])));
    eventually(|| (parents() == json!([foreign])).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_in_force_gets_one_event() {
    let fake = Fake::new();
    let mut broken = service("broken", 0);
    broken["metadata"]["uid"] = json!("u-9");
    fake.apply(SERVICES, broken);
    let cluster = fake.cluster();
    let mut source = cluster.watch();
    first(&mut source).await;
    let events = Events { client: cluster.client, replica: "a".into() };
    tokio::spawn(events.of_objects(Leadership::fixed(true), source.problems.clone()));
    let events = || fake.all("events.k8s.io/v1/events");
    let event = eventually(|| events().first().cloned()).await;
    assert_eq!(
        (&event["regarding"]["kind"], &event["regarding"]["name"], &event["regarding"]["uid"], &event["type"]),
        (&json!("Service"), &json!("broken"), &json!("u-9"), &json!("Warning"))
    );
    assert!(event["note"].as_str().is_some_and(|note| note.starts_with("spec.ports[0].port: ")), "{event}");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_a_proxy_refuses_is_told_once_beside_its_pod() {
    let fake = Fake::new();
    fake.apply(PODS, pod("carts-1", "carts", "u-1", "10.42.0.7"));
    let (publisher, _) = testing::Fake::new([]).with_pod(testing::pod("carts", b"")).spawn();
    let (refused, told) = mpsc::channel(8);
    let events = Events { client: fake.cluster().client, replica: "a".into() };
    let teller = tokio::spawn(events.of_proxies(publisher, told));
    for (ip, field) in [(testing::POD_IP, "rules[0]"), (testing::POD_IP, "rules[0]"), ([10, 9, 9, 9].into(), "x")] {
        let subscriber = Subscriber { ip, id: testing::id("carts") };
        let invalid = Invalid::new(field, "is not known");
        refused.send(Refused { subscriber, resource: ResourceKey::Trust, invalid }).await.expect("it listens");
    }
    drop(refused);
    teller.await.expect("it ends with the last stream");
    let events = fake.all("events.k8s.io/v1/events");
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(
        (&events[0]["regarding"]["name"], &events[0]["regarding"]["uid"], &events[0]["reason"], &events[0]["note"]),
        (
            &json!("carts-1"),
            &json!("u-1"),
            &json!("UpdateRefused"),
            &json!("rules[0]: is not known; the proxy keeps the last good state of Trust")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_missed_is_told_once_and_the_meshs_own_never() {
    let fake = Fake::new();
    for namespace in ["shop", "minimesh"] {
        let labels = json!({"minimesh.io/inject": "enabled"});
        fake.apply("v1/namespaces", json!({"metadata": {"name": namespace, "labels": labels}}));
        let mut pod = pod("old", "carts", "u-1", "10.42.0.7");
        pod["metadata"]["namespace"] = json!(namespace);
        pod["spec"]["initContainers"] = json!([]);
        fake.apply(PODS, pod);
    }
    fake.apply(PODS, pod("new", "carts", "u-2", "10.42.0.8"));
    let _desk = Desk::open(&fake, "a").await;
    let event = eventually(|| fake.all("events.k8s.io/v1/events").first().cloned()).await;
    assert_eq!(
        (&event["regarding"]["namespace"], &event["regarding"]["name"], &event["reason"]),
        (&json!("shop"), &json!("old"), &json!("NotMeshed"))
    );
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(fake.all("events.k8s.io/v1/events").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_lead_answers_like_the_one_that_does_and_without_any_leader() {
    let fake = Fake::new();
    fake.apply(PODS, pod("carts-1", "carts", "u-1", "10.42.0.7"));
    fake.token("good", review("carts", "carts-1", "u-1"));
    let leads = Desk::open(&fake, "a").await;
    let stands_by = Desk::open(&fake, "b").await;
    let first = leads.certified("good").await;
    assert_eq!(stands_by.certified("good").await.trust, first.trust);
    // long enough for any Lease to run out
    fake.fail("coordination.k8s.io/v1/leases", Some(500));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stands_by.certified("good").await.trust, first.trust);
    assert_eq!(leads.certified("good").await.trust, first.trust);
}

#[tokio::test(start_paused = true)]
async fn the_public_roots_are_written_where_pods_are_meshed_and_come_back() {
    let fake = Fake::new();
    let (in_force, _) = issuer(&fake, true).in_force().await;
    let (meshed, namespaces) = watch::channel(Arc::new(BTreeSet::from(["shop".into()])));
    let maps = TrustMaps { client: fake.cluster().client, in_force: in_force.clone(), namespaces };
    tokio::spawn(maps.run(Leadership::fixed(true)));
    let pem = in_force.now().authority.bundle().expect("a bundle").to_pem();
    let written = async |namespace: &str| {
        let look = async {
            loop {
                let map = fake.get(MAPS, &format!("{namespace}/minimesh-trust"));
                match map {
                    Some(map) => break map["data"]["trust-bundle.pem"].as_str().unwrap_or_default().to_owned(),
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(NEVER, look).await.expect("written")
    };
    assert_eq!(written("shop").await, pem);
    meshed.send_replace(Arc::new(BTreeSet::from(["shop".into(), "other".into()])));
    assert_eq!(written("other").await, pem);
    fake.delete(MAPS, "shop/minimesh-trust");
    assert_eq!(written("shop").await, pem, "after five minutes at the latest");
    assert_eq!(fake.get(MAPS, "default/minimesh-trust"), None);
}
