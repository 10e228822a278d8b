//! The source and identity's keeping against an API server in memory.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use minimesh_api::grpc::CertifyRequest;
use minimesh_api::grpc::identity_server::Identity;
use minimesh_api::model::RotationPhase;
use minimesh_api::wire::Certify;
use minimesh_identity::PrivateKey;
use minimesh_index::{Condition, Event, Index, Kind, ObjectKey, ParentStatus, RouteStatus, Settings};
use minimesh_runtime::drain;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tonic::{Code, Request};

use super::fake::Fake;
use super::{Events, Issuer, IssuerError, Leadership, Lease, Source, Statuses, TrustMaps};
use crate::certify::Certifier;
use crate::issuing::InForce;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::publish::Publisher;
use crate::start::Origin;

/// In paused time: longer than any back-off.
const NEVER: Duration = Duration::from_secs(3_600);

const PODS: &str = "v1/pods";
const SERVICES: &str = "v1/services";
const ROUTES: &str = "gateway.networking.k8s.io/v1/httproutes";
const SECRETS: &str = "v1/secrets";
const SECRET: &str = "minimesh/minimesh-issuer";
const MAPS: &str = "v1/configmaps";

fn named(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": {}})
}

fn service(name: &str, port: u16) -> Value {
    let mut service = named("shop", name);
    service["spec"] = json!({"ports": [{"port": port}]});
    service
}

fn pod(name: &str, account: &str, uid: &str, ip: &str) -> Value {
    let metadata = json!({"namespace": "shop", "name": name, "uid": uid});
    let spec = json!({"serviceAccountName": account, "initContainers": [{"name": "minimesh-proxy"}],
        "containers": [{"name": "app"}]});
    json!({"metadata": metadata, "spec": spec, "status": {"podIP": ip}})
}

async fn next(source: &mut Source) -> Vec<Event> {
    timeout(NEVER, source.events.recv()).await.expect("something happens").expect("it is watched")
}

/// Keys of a complete list.
async fn first(source: &mut Source) -> Vec<String> {
    let batch = next(source).await;
    let [Event::Replace(objects)] = batch.as_slice() else { panic!("no complete list: {batch:?}") };
    objects.iter().map(|object| object.key().to_string()).collect()
}

/// What happened, in words.
async fn happened(source: &mut Source) -> Vec<String> {
    let word = |event: Event| match event {
        Event::Apply(object) => format!("+{}", object.key()),
        Event::Delete(key) => format!("-{key}"),
        Event::Replace(_) => "all".to_owned(),
    };
    next(source).await.into_iter().map(word).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_word_is_everything_there_is_and_changes_follow() {
    let fake = Fake::new();
    for number in 0..250 {
        fake.apply(PODS, pod(&format!("p{number:03}"), "a", "u", "10.42.0.1"));
    }
    fake.apply(SERVICES, service("carts", 80));
    let mut source = fake.cluster().watch();
    let all = first(&mut source).await;
    assert_eq!(all.len(), 251, "more than two pages");
    fake.apply(SERVICES, service("orders", 80));
    assert_eq!(happened(&mut source).await, ["+Service shop/orders"]);
    fake.delete(PODS, "shop/p000");
    assert_eq!(happened(&mut source).await, ["-Pod shop/p000"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_anything_while_one_kind_cannot_be_listed() {
    let fake = Fake::new();
    fake.apply(SERVICES, service("carts", 80));
    fake.fail("v1/nodes", Some(403));
    let mut source = fake.cluster().watch();
    assert!(timeout(Duration::from_secs(600), source.events.recv()).await.is_err());
    fake.fail("v1/nodes", None);
    assert_eq!(first(&mut source).await, ["Service shop/carts"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_while_versions_were_forgotten_is_found_by_another_list() {
    let fake = Fake::new();
    fake.apply(SERVICES, service("carts", 80));
    fake.apply(SERVICES, service("orders", 80));
    let mut source = fake.cluster().watch();
    assert_eq!(first(&mut source).await.len(), 2);
    fake.fail(SERVICES, Some(500));
    fake.delete(SERVICES, "shop/carts");
    fake.apply(SERVICES, service("user", 80));
    fake.compact();
    fake.fail(SERVICES, None);
    let mut seen = BTreeSet::new();
    while !(seen.contains("-Service shop/carts") && seen.contains("+Service shop/user")) {
        seen.extend(happened(&mut source).await);
    }
    assert!(!seen.contains("all") && !seen.contains("-Service shop/orders"), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn routes_are_picked_up_when_their_kind_appears_and_gone_with_it() {
    let fake = Fake::new();
    let mut source = fake.cluster().watch();
    assert_eq!(first(&mut source).await, Vec::<String>::new(), "a cluster without Gateway API");
    fake.apply(ROUTES, named("shop", "carts"));
    fake.serve("v1/HTTPRoute", true);
    assert_eq!(happened(&mut source).await, ["+HTTPRoute shop/carts"]);
    fake.serve("v1/HTTPRoute", false);
    assert_eq!(happened(&mut source).await, ["-HTTPRoute shop/carts"]);
}

#[tokio::test(start_paused = true)]
async fn an_older_version_of_a_route_is_read_where_it_alone_is_served() {
    let fake = Fake::new();
    fake.serve("v1beta1/HTTPRoute", true);
    fake.apply("gateway.networking.k8s.io/v1beta1/httproutes", named("shop", "carts"));
    let mut source = fake.cluster().watch();
    assert_eq!(first(&mut source).await, ["HTTPRoute shop/carts"]);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_object_is_named_and_everything_else_goes_on() {
    let fake = Fake::new();
    fake.apply(SERVICES, service("carts", 80));
    fake.apply(SERVICES, service("broken", 0));
    let mut source = fake.cluster().watch();
    assert_eq!(first(&mut source).await, ["Service shop/carts"]);
    let said = |source: &Source| source.problems.borrow().iter().map(ToString::to_string).collect::<Vec<_>>();
    let broken = said(&source);
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].starts_with("Service shop/broken: spec.ports[0].port: "), "{broken:?}");
    fake.apply(SERVICES, service("carts", 0));
    source.problems.wait_for(|problems| problems.len() == 2).await.expect("watched");
    assert!(said(&source)[1].ends_with("the object's last good state stays in force"), "{:?}", said(&source));
    fake.apply(SERVICES, service("carts", 81));
    assert_eq!(happened(&mut source).await, ["+Service shop/carts"], "and nothing before");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_is_heard_of_all_the_time_and_a_silent_one_is_not() {
    let fake = Fake::new();
    let cluster = fake.cluster();
    let mut source = cluster.watch();
    first(&mut source).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(cluster.heard.silent(), None);
    fake.fail(PODS, Some(500));
    tokio::time::sleep(Duration::from_secs(240)).await;
    assert_eq!(cluster.heard.silent().as_deref(), Some("/api/v1/pods"));
    fake.fail(PODS, None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.heard.silent(), None);
}

/// Nothing ends.
fn quiet() -> drain::Watch {
    drain::channel().1
}

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

/// Looks every 10 ms, in paused time.
async fn eventually<T>(look: impl Fn() -> Option<T>) -> T {
    let found = async {
        loop {
            match look() {
                Some(found) => break found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(NEVER, found).await.expect("it happens")
}

#[tokio::test(start_paused = true)]
async fn conditions_of_routes_are_written_for_the_generation_that_was_judged() {
    let fake = Fake::new();
    fake.serve("v1/HTTPRoute", true);
    let mut route = named("shop", "carts");
    route["metadata"]["generation"] = json!(2);
    let foreign = json!({"controllerName": "example.com/other", "parentRef": {"name": "g"}, "conditions": []});
    route["status"] = json!({"parents": [foreign]});
    fake.apply(ROUTES, route);
    let status = |generation, accepted| {
        let parent = minimesh_index::resource::ParentRef { name: "carts".to_owned(), ..Default::default() };
        let message = String::new();
        let condition = Condition { condition_type: "Accepted", status: accepted, reason: "Accepted", message };
        let parents = vec![ParentStatus { parent, conditions: vec![condition] }];
        let route = ObjectKey::new(Kind::HttpRoute, "shop", "carts");
        Arc::from([RouteStatus { route, generation: Some(generation), parents }])
    };
    let (judged, routes) = watch::channel(status(1, false));
    let client = fake.cluster().client;
    tokio::spawn(Statuses { client, leadership: Leadership::fixed(true), routes }.run());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let parents = || fake.get(ROUTES, "shop/carts").expect("there")["status"]["parents"].clone();
    assert_eq!(parents(), json!([foreign]), "generation 1 is not what is there");
    judged.send_replace(status(2, true));
    let written = eventually(|| parents().as_array().filter(|parents| parents.len() == 2).cloned()).await;
    let condition = &written[1]["conditions"][0];
    assert_eq!(
        (&written[0], &condition["status"], &condition["observedGeneration"]),
        (&foreign, &json!("True"), &json!(2))
    );
    let writes = || fake.count(&format!("PUT {ROUTES}"));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(writes(), 1, "what is there is not written again");
    judged.send_replace(Arc::from([]));
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
    let (leadership, problems) = (Leadership::fixed(true), source.problems.clone());
    tokio::spawn(Events { client: cluster.client, leadership, replica: "a".into(), problems }.run());
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

fn issuer(fake: &Fake, leads: bool) -> Issuer {
    let day = Duration::from_secs(86_400);
    Issuer::new(&fake.cluster().client, "minimesh", "cluster.local", day, Leadership::fixed(leads))
}

#[tokio::test(start_paused = true)]
async fn the_authority_is_made_once_by_the_one_that_leads_and_read_by_all() {
    let fake = Fake::new();
    let mut follower = tokio::spawn(issuer(&fake, false).in_force());
    assert!(timeout(Duration::from_secs(60), &mut follower).await.is_err(), "nobody leads");
    let (leader, key) = issuer(&fake, true).in_force().await;
    let (follower, same_key) = timeout(NEVER, follower).await.expect("it is there").expect("no panic");
    assert_eq!(leader.now().authority.root(), follower.now().authority.root());
    assert_eq!((key.len(), &key), (32, &same_key));
    let (again, _) = issuer(&fake, true).in_force().await;
    assert_eq!(again.now().authority.root(), leader.now().authority.root(), "a restart keeps it");
    assert_eq!(fake.count("POST v1/secrets"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_breaks_or_goes_leaves_the_last_good_keys_in_force() {
    let fake = Fake::new();
    let (mut in_force, _) = issuer(&fake, true).in_force().await;
    let root = in_force.now().authority.root().clone();
    let mut secret = fake.get(SECRETS, SECRET).expect("made");
    let good = secret.clone();
    secret["data"]["issuer.pem"] = json!("bm9uc2Vuc2U=");
    fake.apply(SECRETS, secret);
    fake.delete(SECRETS, SECRET);
    assert!(
        timeout(Duration::from_secs(120), async {
            loop {
                assert_eq!(*in_force.changed().await.authority.root(), root);
            }
        })
        .await
        .is_err()
    );
    fake.apply(SECRETS, good);
    assert_eq!(*in_force.now().authority.root(), root);
}

#[tokio::test(start_paused = true)]
async fn the_root_is_replaced_in_three_steps_that_every_replica_follows() {
    let fake = Fake::new();
    let leader = issuer(&fake, true);
    leader.clone().in_force().await;
    let (mut follower, _) = issuer(&fake, false).in_force().await;
    let old = follower.now().authority.root().clone();
    assert!(matches!(issuer(&fake, false).rotate(RotationPhase::Steady).await, Err(IssuerError::NotLeading)));
    let mut phases = vec![];
    for from in [RotationPhase::Steady, RotationPhase::Added, RotationPhase::Switched] {
        let to = leader.rotate(from).await.expect("a step");
        let seen = async { while follower.changed().await.phase != to {} };
        timeout(NEVER, seen).await.expect("followed");
        let now = follower.now();
        let trust = now.trust().expect("a bundle");
        phases.push((trust.roots.len(), trust.issuing.is_some(), *now.authority.root() == old));
    }
    assert_eq!(phases, [(2, true, true), (2, true, false), (1, false, false)]);
    assert!(leader.rotate(RotationPhase::Added).await.is_err(), "a step is not taken twice");
}

#[tokio::test(start_paused = true)]
async fn the_public_roots_are_written_where_pods_are_meshed_and_come_back() {
    let fake = Fake::new();
    let (in_force, _) = issuer(&fake, true).in_force().await;
    let (meshed, namespaces) = watch::channel(Arc::new(BTreeSet::from(["shop".into()])));
    let maps = TrustMaps {
        client: fake.cluster().client,
        leadership: Leadership::fixed(true),
        in_force: in_force.clone(),
        namespaces,
    };
    tokio::spawn(maps.run());
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

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: crate::Args,
}

fn review(account: &str, pod: &str, uid: &str) -> Value {
    let user = json!({"username": format!("system:serviceaccount:shop:{account}"), "extra": {
        "authentication.kubernetes.io/pod-name": [pod], "authentication.kubernetes.io/pod-uid": [uid]}});
    json!({"authenticated": true, "audiences": ["identity.minimesh.io"], "user": user})
}

#[tokio::test(start_paused = true)]
async fn a_pods_token_becomes_a_certificate_and_nothing_else_does() {
    let fake = Fake::new();
    fake.apply(PODS, pod("carts-1", "carts", "u-1", "10.42.0.7"));
    fake.token("good", review("carts", "carts-1", "u-1"));
    fake.token("of another account", review("payment", "carts-1", "u-1"));
    fake.token("of a pod that was there before", review("carts", "carts-1", "u-0"));
    let metrics = Metrics::new().0;
    let args = Cli::parse_from(["control-plane", "--kubernetes"]).args;
    let origin = Origin::of_cluster(&args, &metrics, fake.cluster(), "a", &quiet()).await.expect("an origin");
    let settings = Settings {
        trust_domain: "cluster.local".to_owned(),
        cluster_networks: Vec::new(),
        session_key: origin.session_key,
        default_policy: args.default_inbound_policy,
    };
    let in_force = origin.in_force.clone();
    let publisher = Publisher::spawn(Index::new(settings), in_force.clone(), origin.events, Arc::clone(&metrics));
    let publisher = publisher.expect("a publisher");
    let ledger = Ledger::new();
    let certifier = Certifier {
        in_force,
        tokens: origin.tokens,
        publisher,
        lifetime: args.leaf_lifetime,
        ledger: ledger.clone(),
        metrics,
    };
    let certify = async |token: &str| {
        let csr = PrivateKey::generate().expect("a key").csr(None).expect("a request");
        let mut request = Request::new(CertifyRequest::from(Certify { csr, token: token.to_owned() }));
        let address = SocketAddr::from(([10, 42, 0, 7], 40_000));
        request.extensions_mut().insert(Peer { address, id: None, certificate: None });
        certifier.certify(request).await
    };
    // until the first list is read, the answer is "unavailable"
    let answer = async {
        loop {
            match certify("good").await {
                Err(status) if status.code() == Code::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(10)).await
                }
                answer => break answer,
            }
        }
    };
    let answer = timeout(NEVER, answer).await.expect("read").expect("issued").into_inner();
    assert_eq!((answer.chain.len(), ledger.all()[0].0.id.as_str()), (2, "spiffe://cluster.local/ns/shop/sa/carts"));
    let code = async |token: &str| certify(token).await.expect_err("refused").code();
    assert_eq!(code("unknown").await, Code::Unauthenticated);
    assert_eq!(code("of another account").await, Code::PermissionDenied);
    assert_eq!(code("of a pod that was there before").await, Code::Unavailable);
}

#[test]
fn folder_and_cluster_do_not_go_together() {
    let parses = |words: &str| Cli::try_parse_from(words.split(' ')).is_ok();
    assert!(parses("x --kubernetes") && parses("x --manifests m --ca-dir c"));
    for bad in ["x", "x --manifests m", "x --ca-dir c", "x --kubernetes --manifests m", "x --kubernetes --ca-dir c"] {
        assert!(!parses(bad), "{bad}");
    }
}

#[test]
fn problems_are_named_by_object_and_field() {
    let object = ObjectKey::new(Kind::Pod, "shop", "carts-1");
    let problem = |field: &str| super::Problem { object: object.clone(), field: field.into(), reason: "no".into() };
    assert_eq!(problem("spec.x").to_string(), "Pod shop/carts-1: spec.x: no");
    assert_eq!(problem("").to_string(), "Pod shop/carts-1: no");
}

/// Silences nothing: a fixed authority says so by never changing.
#[tokio::test(start_paused = true)]
async fn an_authority_that_is_kept_in_a_folder_never_changes() {
    let authority = minimesh_identity::authority::Authority::create("cluster.local").expect("an authority");
    let mut in_force = InForce::fixed(authority);
    assert!(timeout(NEVER, in_force.changed()).await.is_err());
}
