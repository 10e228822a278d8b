//! The source and identity's keeping against an API server in memory.

mod bad_input;
mod written;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use minimesh_api::grpc::identity_server::Identity;
use minimesh_api::grpc::{CertifyRequest, CertifyResponse};
use minimesh_api::model::RotationPhase;
use minimesh_api::wire::Certify;
use minimesh_identity::PrivateKey;
use minimesh_index::{Event, Index, Kind, ObjectKey, Settings};
use minimesh_runtime::drain;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

use super::fake::Fake;
use super::{Issuer, IssuerError, Leadership, Source};
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

/// Identity as proxies find it in a cluster.
struct Desk {
    certifier: Certifier,
    ledger: Ledger,
    metrics: Arc<Metrics>,
}

impl Desk {
    async fn open(fake: &Fake, replica: &str) -> Desk {
        let metrics = Metrics::new().0;
        let args = Cli::parse_from(["control-plane", "--kubernetes"]).args;
        let origin = Origin::of_cluster(&args, &metrics, fake.cluster(), replica, &quiet()).await.expect("an origin");
        let settings = Settings {
            mesh_namespace: args.namespace.clone(),
            trust_domain: "cluster.local".to_owned(),
            cluster_networks: Vec::new(),
            session_key: origin.session_key,
            default_policy: args.default_inbound_policy,
        };
        let in_force = origin.in_force.clone();
        let publisher = Publisher::spawn(Index::new(settings), in_force.clone(), origin.events, Arc::clone(&metrics));
        let publisher = publisher.expect("a publisher");
        origin.cluster.expect("in a cluster").write_back(&in_force, &publisher);
        let ledger = Ledger::new();
        let certifier = Certifier {
            in_force,
            tokens: origin.tokens,
            publisher,
            lifetime: args.leaf_lifetime,
            ledger: ledger.clone(),
            metrics: Arc::clone(&metrics),
        };
        Desk { certifier, ledger, metrics }
    }

    async fn certify(&self, token: &str) -> Result<Response<CertifyResponse>, Status> {
        self.certify_from([10, 42, 0, 7], token).await
    }

    async fn certify_from(&self, ip: [u8; 4], token: &str) -> Result<Response<CertifyResponse>, Status> {
        let csr = PrivateKey::generate().expect("a key").csr(None).expect("a request");
        let mut request = Request::new(CertifyRequest::from(Certify { csr, token: token.to_owned() }));
        let address = SocketAddr::from((ip, 40_000));
        request.extensions_mut().insert(Peer { address, id: None, certificate: None });
        self.certifier.certify(request).await
    }

    /// As a proxy does: until the first list is read, the answer is "unavailable".
    async fn certified(&self, token: &str) -> CertifyResponse {
        let answer = async {
            loop {
                match self.certify(token).await {
                    Err(status) if status.code() == Code::Unavailable => {
                        tokio::time::sleep(Duration::from_millis(10)).await
                    }
                    answer => break answer,
                }
            }
        };
        timeout(NEVER, answer).await.expect("read").expect("issued").into_inner()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pods_token_becomes_a_certificate_and_nothing_else_does() {
    let fake = Fake::new();
    fake.apply(PODS, pod("carts-1", "carts", "u-1", "10.42.0.7"));
    fake.token("good", review("carts", "carts-1", "u-1"));
    fake.token("of another account", review("payment", "carts-1", "u-1"));
    fake.token("of a pod that was there before", review("carts", "carts-1", "u-0"));
    let desk = Desk::open(&fake, "a").await;
    let answer = desk.certified("good").await;
    assert_eq!(
        (answer.chain.len(), desk.ledger.all()[0].0.id.as_str()),
        (2, "spiffe://cluster.local/ns/shop/sa/carts")
    );
    let code = async |token: &str| desk.certify(token).await.expect_err("refused").code();
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
