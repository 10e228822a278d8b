//! Services over real TLS: who may call what, and what a certificate is given for. `folder` tests the whole with manifests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use minimesh_api::grpc::discovery_client::DiscoveryClient;
use minimesh_api::grpc::identity_client::IdentityClient;
use minimesh_api::grpc::identity_server::IdentityServer;
use minimesh_api::grpc::operator_client::OperatorClient;
use minimesh_api::grpc::operator_server::OperatorServer;
use minimesh_api::grpc::telemetry_client::TelemetryClient;
use minimesh_api::grpc::telemetry_server::TelemetryServer;
use minimesh_api::grpc::{CertifyRequest, EdgesRequest, ReportRequest, WatchRequest};
use minimesh_api::model::{BackendKey, Endpoints, ReportedEdge, ResourceKey, TrustBundle};
use minimesh_api::wire::{CHUNK_BYTES, Certified, Certify, Hello, Report, Request, Response, State};
use minimesh_identity::authority::Authority;
use minimesh_identity::{CertificateDer, Leaf, PrivateKey, SpiffeId, peer_id};
use minimesh_runtime::drain;
use tokio_stream::StreamExt;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::answers::{Answers, Keeper};
use crate::certify::{Certifier, Tokens};
use crate::issuing::InForce;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::own;
use crate::places::Places;
use crate::serve::{Server, serve_local};
use crate::telemetry::{Collector, Reports};
use crate::testing::{self, Fake, POD_IP, id, pod};
use crate::watch::Discovery;

mod folder;

const TOKEN: &str = "the pod's token";
const LIFETIME: Duration = Duration::from_secs(3_600);

struct World {
    authority: Arc<Authority>,
    server: Server,
    metrics: Arc<Metrics>,
    answers: Answers,
    fake: Arc<Fake>,
    trigger: drain::Trigger,
}

impl World {
    fn new() -> World {
        let authority = Arc::new(Authority::create("cluster.local").expect("an authority"));
        let (publisher, fake) =
            Fake::new([ResourceKey::Trust, carts()]).with_pod(pod("carts", TOKEN.as_bytes())).spawn();
        let (metrics, _) = Metrics::new();
        let (trigger, drain) = drain::channel();
        let reports = Reports::spawn(Arc::clone(&metrics));
        let in_force = InForce::fixed(Authority::from_parts("cluster.local", &authority.to_parts()).expect("the same"));
        let ledger = Ledger::new();
        let certifier = Certifier {
            in_force: in_force.clone(),
            tokens: Tokens::Folder,
            ledger: ledger.clone(),
            publisher: publisher.clone(),
            lifetime: LIFETIME,
            metrics: Arc::clone(&metrics),
        };
        let collector = Collector { reports: reports.clone(), publisher: publisher.clone() };
        let discovery = Discovery::new(publisher.clone(), [9; 16], Arc::clone(&metrics), ledger.clone(), drain.clone());
        let routes = Routes::new(discovery)
            .add_service(IdentityServer::new(certifier))
            .add_service(TelemetryServer::new(collector));
        let own = own::id("cluster.local", own::NAMESPACE).expect("valid");
        let tls = own::spawn(in_force.clone(), own, LIFETIME).expect("a certificate");
        let (places, counted) = (Places::new(), Arc::clone(&metrics));
        let server = Server { routes, tls, in_force: in_force.clone(), places, metrics: counted, drain };
        let answers = Answers { reports, publisher, in_force, ledger, keeper: Keeper::Folder };
        World { authority, server, metrics, answers, fake, trigger }
    }

    /// A connection from the pod's address, with a certificate of `account` by `authority`.
    async fn dial(&self, authority: &Authority, account: Option<&SpiffeId>) -> Result<Channel, String> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let address = SocketAddr::new(POD_IP, 40_000);
        tokio::spawn(self.server.clone().connection(theirs, address, None));
        testing::connect(ours, authority, account).await.map_err(|error| format!("{error:?}"))
    }

    async fn connect(&self, account: Option<&str>) -> Channel {
        self.dial(&self.authority, account.map(id).as_ref()).await.expect("connected")
    }

    async fn certify(&self, csr: Vec<u8>, token: &str) -> Result<Certified, Status> {
        let request = CertifyRequest::from(Certify { csr, token: token.to_owned() });
        let response = IdentityClient::new(self.connect(None).await).certify(request).await?;
        Ok(Certified::try_from(response.into_inner()).expect("a valid answer"))
    }
}

#[tokio::test]
async fn a_proxy_or_a_stranger_that_holds_many_connections_gets_no_more_and_others_do() {
    let world = World::new();
    for account in [Some(id("carts")), None] {
        let mut held = Vec::new();
        for _ in 0..10 {
            // refused before the handshake, or after it
            let Ok(channel) = world.dial(&world.authority, account.as_ref()).await else { continue };
            let call = IdentityClient::new(channel.clone()).certify(CertifyRequest::default()).await;
            if call.expect_err("asks for nothing").code() == Code::InvalidArgument {
                held.push(channel);
            }
        }
        assert_eq!(held.len(), 8);
    }
    assert_eq!(world.metrics.connections_refused.value(), 4);
}

fn csr(named: Option<&SpiffeId>) -> Vec<u8> {
    PrivateKey::generate().expect("a key").csr(named).expect("a request")
}

#[tokio::test]
async fn a_token_becomes_a_certificate_of_the_pods_service_account() {
    let world = World::new();
    let key = PrivateKey::generate().expect("a key");
    let certified = world.certify(key.csr(None).expect("a request"), TOKEN).await.expect("issued");
    let chain: Vec<_> = certified.chain.into_iter().map(CertificateDer::from).collect();
    assert_eq!(peer_id(&chain[0]).expect("an identity"), id("carts"));
    let leaf = Leaf::new(chain, key).expect("the key's certificate");
    let left = leaf.not_after().duration_since(SystemTime::now()).expect("not expired");
    assert!(left <= LIFETIME && left > LIFETIME - Duration::from_secs(60), "{left:?}");
    let expires_in = LIFETIME - Duration::from_secs(1);
    assert_eq!((certified.expires_in, certified.renew_in), (expires_in, expires_in / 3));
    assert_eq!(certified.trust.roots, [world.authority.bundle().expect("a root").roots()[0].to_vec()]);
    assert_eq!(world.metrics.certified.value(), 1);
}

#[tokio::test]
async fn a_request_that_names_the_pods_own_identity_is_served_and_any_other_refused() {
    let world = World::new();
    assert!(world.certify(csr(Some(&id("carts"))), TOKEN).await.is_ok());
    let foreign = [id("payment"), SpiffeId::new("cluster.local", "other", "carts").expect("valid")];
    for id in foreign {
        let status = world.certify(csr(Some(&id)), TOKEN).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    assert_eq!((world.metrics.certified.value(), world.metrics.certify_refused.value()), (1, 2));
}

#[tokio::test]
async fn a_token_that_no_pod_has_is_refused() {
    let world = World::new();
    for token in ["another pod's token", "x", &TOKEN[1..], &TOKEN.to_uppercase()] {
        let status = world.certify(csr(None), token).await.expect_err("refused");
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        assert!(!status.message().contains(token), "a token must not be shown: {status:?}");
    }
    let status = world.certify(csr(None), "").await.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "token: empty"));
}

#[tokio::test]
async fn a_broken_signing_request_is_refused() {
    let world = World::new();
    let mut signature_broken = csr(None);
    let last = signature_broken.len() - 1;
    signature_broken[last] ^= 1;
    for csr in [Vec::new(), vec![0x30, 0x03], signature_broken] {
        let status = world.certify(csr, TOKEN).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

#[tokio::test]
async fn everything_but_certify_needs_a_client_certificate() {
    let world = World::new();
    let channel = world.connect(None).await;
    let status = DiscoveryClient::new(channel.clone()).watch(tokio_stream::empty::<WatchRequest>()).await;
    assert_eq!(status.expect_err("refused").code(), Code::Unauthenticated);
    let status = TelemetryClient::new(channel.clone()).report(ReportRequest::default()).await;
    assert_eq!(status.expect_err("refused").code(), Code::Unauthenticated);
    // What operators ask is not served to the network at all.
    let status = OperatorClient::new(channel).edges(EdgesRequest::default()).await;
    assert_eq!(status.expect_err("refused").code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let world = World::new();
    let foreign = Authority::create("cluster.local").expect("an authority");
    // Trusts the right root, presents the wrong leaf.
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(world.server.clone().connection(theirs, SocketAddr::new(POD_IP, 1), None));
    let channel = testing::connect_with_leaf_of(ours, &world.authority, &foreign, &id("carts")).await;
    if let Ok(channel) = channel {
        // TLS 1.3: the client hears of the refusal with its first answer.
        TelemetryClient::new(channel).report(ReportRequest::default()).await.expect_err("refused");
    }
    assert_eq!(world.metrics.handshakes_failed.value(), 1);
}

#[tokio::test]
async fn a_client_of_another_bundle_does_not_talk_to_this_control_plane() {
    let world = World::new();
    let foreign = Authority::create("cluster.local").expect("an authority");
    assert!(world.dial(&foreign, None).await.is_err());
}

#[tokio::test]
async fn a_watch_stream_over_tls_gets_updates_and_ends_with_the_drain() {
    let world = World::new();
    let bundle = TrustBundle { trust_domain: "cluster.local".to_owned(), roots: vec![vec![1]], issuing: None };
    let version = world.fake.publish(&ResourceKey::Trust, State::Trust(bundle.clone()));
    let hello = Request::Hello(Hello::new([1; 16]));
    let subscribe = Request::Subscribe { key: ResourceKey::Trust, held_version: None };
    let ack = Request::Ack { key: ResourceKey::Trust, version };
    let requests: Vec<WatchRequest> = [&hello, &subscribe, &ack].map(Into::into).to_vec();
    let requests = tokio_stream::iter(requests).chain(tokio_stream::pending());
    let mut client = DiscoveryClient::new(world.connect(Some("carts")).await);
    let mut responses = client.watch(requests).await.expect("accepted").into_inner();
    let mut next = async || responses.message().await.expect("no status").map(Response::try_from);
    assert!(matches!(next().await, Some(Ok(Response::Hello(_)))));
    let Some(Ok(Response::Update(update))) = next().await else { panic!("no update") };
    assert_eq!((update.version, update.state), (version, State::Trust(bundle)));
    world.trigger.start();
    assert_eq!(next().await, None);
}

fn carts() -> ResourceKey {
    ResourceKey::Endpoints(BackendKey { namespace: "shop".into(), name: "carts".into(), port: 80 })
}

/// So many that they fill every buffer between here and a proxy several times.
fn many() -> Endpoints {
    let ports = 1..=400u16;
    let one = |port| {
        testing::endpoints(0..=255).0.into_iter().map(move |mut endpoint| {
            endpoint.address.set_port(port);
            endpoint
        })
    };
    Endpoints::new(ports.flat_map(one).collect())
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_never_reads_is_cut_off_with_what_waits_for_it_and_nobody_else_notices() {
    let world = World::new();
    world.fake.publish(&carts(), testing::full(many()));
    let subscribe = |key| [Request::Hello(Hello::new([1; 16])), Request::Subscribe { key, held_version: None }];
    let open = async |requests: Vec<WatchRequest>| {
        let requests = tokio_stream::iter(requests).chain(tokio_stream::pending());
        let mut client = DiscoveryClient::new(world.connect(Some("carts")).await);
        client.watch(requests).await.expect("accepted").into_inner()
    };
    let _unread = open(subscribe(carts()).iter().map(Into::into).collect()).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let waits = world.metrics.update_bytes.value();
    let bound = u64::from(testing::WINDOW) + 3 * CHUNK_BYTES as u64;
    assert!(waits > 0 && waits <= bound, "{waits} bytes are on their way to nobody");

    let bundle =
        |root| TrustBundle { trust_domain: "cluster.local".to_owned(), roots: vec![vec![root]], issuing: None };
    let version = world.fake.publish(&ResourceKey::Trust, State::Trust(bundle(1)));
    let ack = Request::Ack { key: ResourceKey::Trust, version };
    let requests = subscribe(ResourceKey::Trust).iter().chain([&ack]).map(Into::into).collect();
    let mut reading = open(requests).await;
    let mut next = async || Response::try_from(reading.message().await.expect("no status").expect("open"));
    assert!(matches!(next().await, Ok(Response::Hello(_))));
    assert!(matches!(next().await, Ok(Response::Update(update)) if update.version == version));
    assert_eq!((world.metrics.streams.value(), world.metrics.connections.value()), (2, 2));

    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((world.metrics.streams.value(), world.metrics.connections.value()), (1, 1));
    assert_eq!((world.metrics.stalled.value(), world.metrics.update_bytes.value() - waits < 1_024), (1, true));
    world.fake.publish(&ResourceKey::Trust, State::Trust(bundle(2)));
    let Ok(Response::Update(update)) = next().await else { panic!("no update") };
    assert_eq!(update.state, State::Trust(bundle(2)));
}

#[tokio::test]
async fn a_report_over_tls_is_seen_by_the_operator_under_the_reporters_own_name() {
    let world = World::new();
    let edges = Vec::new();
    let report = Report { instance: [1; 16], uptime: Duration::from_secs(5), edges, complete: false };
    let mut telemetry = TelemetryClient::new(world.connect(Some("carts")).await);
    assert!(telemetry.report(ReportRequest::from(&report)).await.expect("taken").into_inner().resend_all);
    let report = Report { edges: vec![crate::telemetry::an_edge(80, 7)], complete: true, ..report };
    assert!(!telemetry.report(ReportRequest::from(&report)).await.expect("taken").into_inner().resend_all);

    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let answers = OperatorServer::new(world.answers.clone());
    tokio::spawn(serve_local(Routes::new(answers), theirs, None, world.server.drain.clone()));
    let channel = testing::connect_plainly(ours).await;
    let edges = OperatorClient::new(channel).edges(EdgesRequest::from(Duration::from_secs(60))).await;
    let edges: Vec<ReportedEdge> = edges.expect("answered").into_inner().try_into().expect("valid");
    assert_eq!(edges.len(), 1);
    assert_eq!(edges[0].reporter, pod("carts", b"").workload);
    assert_eq!(*edges[0].reporter_identity, *id("carts").as_str());
    assert_eq!((edges[0].edge.requests, edges[0].total_requests), (7, 7));
}
