//! The whole control plane with a folder of manifests: certificate, discovery, changes, a broken file, a restart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::Parser;
use minimesh_api::grpc::discovery_client::DiscoveryClient;
use minimesh_api::grpc::identity_client::IdentityClient;
use minimesh_api::grpc::{self, CertifyRequest};
use minimesh_api::model::{
    BackendKey, DefaultPolicy, EndpointState, Endpoints, PathMatch, PortPolicy, ResourceKey, Target, Transport,
};
use minimesh_api::wire::{Assembly, Certified, Certify, Hello, Request, Response, State, Update};
use minimesh_identity::{CertificateDer, Credentials, Leaf, PrivateKey, TicketKeys, TrustBundle};
use minimesh_runtime::drain;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::app;
use crate::testing;

/// What has not come by then never will: it ends a test that fails.
const NEVER: Duration = Duration::from_secs(60);

/// The proxy's pod: an address from which a test can connect.
const FRONT_END: &str = "127.0.0.2";

/// The pod behind the Service.
const CARTS: &str = "10.42.0.9";

const SERVICES: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: carts, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: carts, namespace: shop}
spec:
  clusterIP: 10.43.0.9
  selector: {name: carts}
  ports: [{name: http, port: 80, targetPort: 8080}]
"#;

fn pod(name: &str, ip: &str, token: &str) -> String {
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let sha256: String = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: {name}-1
  namespace: shop
  labels: {{name: {name}}}
  annotations: {{minimesh.io/token-sha256: "{sha256}"}}
spec:
  serviceAccountName: {name}
  containers:
  - {{name: {name}, image: x, ports: [{{containerPort: 8080}}]}}
  - {{name: minimesh-proxy, image: x}}
status:
  phase: Running
  podIP: {ip}
  podIPs: [{{ip: {ip}}}]
  conditions: [{{type: Ready, status: "True"}}]
"#
    )
}

fn slice(ips: &[&str]) -> String {
    let endpoint = |ip: &&str| {
        // The first is the pod's, others are addresses that no pod has.
        let target = if *ip == CARTS { ", targetRef: {kind: Pod, name: carts-1, namespace: shop}" } else { "" };
        format!("- {{addresses: [{ip}], conditions: {{ready: true, serving: true, terminating: false}}{target}}}\n")
    };
    let endpoints: String = ips.iter().map(endpoint).collect();
    format!(
        r#"
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: carts-1
  namespace: shop
  labels: {{kubernetes.io/service-name: carts}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints:
{endpoints}"#
    )
}

fn route(path: &str) -> String {
    format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: carts, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: carts}}]
  rules:
  - matches: [{{path: {{type: Exact, value: {path}}}}}]
    backendRefs: [{{name: carts, port: 80}}]
"#
    )
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: crate::Args,
}

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("minimesh-control-plane-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir_all(folder.0.join("manifests")).expect("a folder");
        folder.write("services.yaml", SERVICES);
        folder.write("front-end.yaml", &pod("front-end", FRONT_END, "front-end's token"));
        folder.write("carts.yaml", &pod("carts", CARTS, "carts' token"));
        folder.write("slice.yaml", &slice(&[CARTS]));
        folder
    }

    /// As a careful writer does: a new file, renamed.
    fn write(&self, file: &str, text: &str) {
        let new = self.0.join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, self.0.join("manifests").join(file)).expect("renamed");
    }

    async fn start(&self, drain: drain::Watch) -> SocketAddr {
        let path = |name: &str| self.0.join(name).display().to_string();
        let words = [
            "control-plane",
            "--manifests",
            &path("manifests"),
            "--ca-dir",
            &path("ca"),
            "--listen",
            "127.0.0.1:0",
            "--admin-port",
            "0",
        ];
        app::start(Cli::parse_from(words).args, drain).await.expect("started").address
    }

    fn bundle(&self) -> TrustBundle {
        let pem = std::fs::read(self.0.join("ca/trust-bundle.pem")).expect("written at the start");
        TrustBundle::from_pem("cluster.local", &pem).expect("a bundle")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // In the system's folder for such things; what stays harms nobody.
        let _ = std::fs::remove_dir_all(&self.0 as &Path);
    }
}

/// The front-end's proxy.
struct Proxy {
    requests: mpsc::Sender<grpc::WatchRequest>,
    responses: Streaming<grpc::WatchResponse>,
}

impl Proxy {
    async fn connect(to: SocketAddr, bundle: &TrustBundle, credentials: Option<Credentials>) -> Channel {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(FRONT_END.parse().expect("an address"), 0)).expect("bound");
        let stream = socket.connect(to).await.expect("connected");
        testing::secure(stream, bundle, credentials).await.expect("a channel")
    }

    async fn certify(to: SocketAddr, bundle: &TrustBundle) -> Credentials {
        let key = PrivateKey::generate().expect("a key");
        let request = Certify { csr: key.csr(None).expect("a request"), token: "front-end's token".to_owned() };
        let mut client = IdentityClient::new(Proxy::connect(to, bundle, None).await);
        // Until the manifests are read, the answer is "unavailable".
        let ask = async {
            loop {
                match client.certify(CertifyRequest::from(request.clone())).await {
                    Ok(answer) => break answer.into_inner(),
                    Err(status) if status.code() == tonic::Code::Unavailable => tokio::task::yield_now().await,
                    Err(status) => panic!("{status:?}"),
                }
            }
        };
        let answer = tokio::time::timeout(NEVER, ask).await.expect("the manifests are read");
        let certified = Certified::try_from(answer).expect("valid");
        let chain = certified.chain.into_iter().map(CertificateDer::from).collect();
        let leaf = Leaf::new(chain, key).expect("the key's");
        Credentials::new(leaf, bundle.clone(), &TicketKeys::new().expect("keys"), 1).expect("credentials")
    }

    async fn watch(to: SocketAddr, bundle: &TrustBundle) -> Proxy {
        let credentials = Proxy::certify(to, bundle).await;
        let mut client = DiscoveryClient::new(Proxy::connect(to, bundle, Some(credentials)).await);
        let (requests, receiver) = mpsc::channel(16);
        let responses = client.watch(ReceiverStream::new(receiver)).await.expect("accepted").into_inner();
        let mut proxy = Proxy { requests, responses };
        proxy.say(Request::Hello(Hello::new([1; 16]))).await;
        assert!(matches!(proxy.next().await, Response::Hello(_)));
        proxy
    }

    async fn say(&self, request: Request) {
        self.requests.send((&request).into()).await.expect("open");
    }

    async fn next(&mut self) -> Response {
        let message = tokio::time::timeout(NEVER, self.responses.message())
            .await
            .expect("an answer")
            .expect("no status")
            .expect("open");
        Response::try_from(message).expect("valid")
    }

    async fn update(&mut self) -> Update {
        let Response::Update(update) = self.next().await else { panic!("no update") };
        self.say(Request::Ack { key: update.key.clone(), version: update.version }).await;
        *update
    }

    async fn subscribe(&mut self, key: ResourceKey) -> Update {
        self.say(Request::Subscribe { key: key.clone(), held_version: None }).await;
        let update = self.update().await;
        assert_eq!(update.key, key);
        update
    }
}

fn carts() -> BackendKey {
    BackendKey { namespace: "shop".into(), name: "carts".into(), port: 80 }
}

fn carts_address() -> ResourceKey {
    ResourceKey::Target("10.43.0.9:80".parse().expect("an address"))
}

fn endpoints(update: Update, held: Option<(u64, &Endpoints)>) -> Endpoints {
    let State::Endpoints(part) = update.state else { panic!("no endpoints") };
    let change = Assembly::default().push(update.version, part).expect("one chunk").expect("one chunk");
    change.apply(held).expect("on the right base")
}

fn paths(update: Update) -> Vec<minimesh_api::model::HttpMatch> {
    let State::Target(Target::Service(service)) = update.state else { panic!("no service") };
    service.http_routes.into_iter().flat_map(|route| route.rules).flat_map(|rule| rule.matches).collect()
}

fn exactly(path: &str) -> Vec<minimesh_api::model::HttpMatch> {
    let path = PathMatch::Exact(path.into());
    vec![minimesh_api::model::HttpMatch::All { path, headers: Vec::new(), query: Vec::new(), method: None }]
}

#[tokio::test]
async fn a_proxy_is_told_what_the_manifests_say() {
    let (folder, (_trigger, drain)) = (Folder::new(), drain::channel());
    let address = folder.start(drain).await;
    let mut proxy = Proxy::watch(address, &folder.bundle()).await;

    let State::Workload(workload) = proxy.subscribe(ResourceKey::Workload).await.state else { panic!("no workload") };
    assert_eq!((&*workload.workload.namespace, &*workload.workload.pod), ("shop", "front-end-1"));
    assert!(!workload.draining);

    let State::Trust(trust) = proxy.subscribe(ResourceKey::Trust).await.state else { panic!("no bundle") };
    assert_eq!(trust.roots, [folder.bundle().roots()[0].to_vec()]);

    let State::Port(port) = proxy.subscribe(ResourceKey::Port(8080)).await.state else { panic!("no port") };
    assert_eq!(port, PortPolicy { policy: DefaultPolicy::AllUnauthenticated, ..port });

    let State::Target(Target::Service(service)) = proxy.subscribe(carts_address()).await.state else {
        panic!("no service")
    };
    assert_eq!((service.service, service.http_routes), (carts(), Vec::new()));

    let update = proxy.subscribe(ResourceKey::Endpoints(carts())).await;
    let endpoints = endpoints(update, None);
    let [endpoint] = endpoints.0.as_slice() else { panic!("not one: {endpoints:?}") };
    assert_eq!(endpoint.address, "10.42.0.9:8080".parse().expect("an address"));
    let identity = testing::id("carts").to_shared();
    assert_eq!((&endpoint.transport, endpoint.state), (&Transport::MutualTls { identity }, EndpointState::Serving));
}

#[tokio::test]
async fn a_changed_file_reaches_the_proxy_and_a_broken_one_leaves_the_last_good_state() {
    let (folder, (_trigger, drain)) = (Folder::new(), drain::channel());
    let address = folder.start(drain).await;
    let mut proxy = Proxy::watch(address, &folder.bundle()).await;
    assert_eq!(paths(proxy.subscribe(carts_address()).await), []);

    folder.write("route.yaml", &route("/carts"));
    assert_eq!(paths(proxy.update().await), exactly("/carts"));

    let held = proxy.subscribe(ResourceKey::Endpoints(carts())).await;
    let version = held.version;
    let held = endpoints(held, None);
    folder.write("slice.yaml", &slice(&[CARTS, "10.42.0.10"]));
    let update = proxy.update().await;
    assert_eq!(endpoints(update, Some((version, &held))).0.len(), 2);

    // Had the broken file taken its route away, an update would say so before the next one.
    folder.write("route.yaml", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: [");
    folder.write("slice.yaml", &slice(&[CARTS]));
    assert_eq!(proxy.update().await.key, ResourceKey::Endpoints(carts()));
    folder.write("route.yaml", &route("/basket"));
    assert_eq!(paths(proxy.update().await), exactly("/basket"));
}

#[tokio::test]
async fn a_restart_is_harmless() {
    let (folder, (trigger, drain)) = (Folder::new(), drain::channel());
    let address = folder.start(drain).await;
    let (bundle, key) = (folder.bundle(), ResourceKey::Endpoints(carts()));
    let mut proxy = Proxy::watch(address, &bundle).await;
    let held = proxy.subscribe(key.clone()).await.version;
    trigger.drain(Duration::from_secs(5)).await;

    let (_trigger, drain) = drain::channel();
    let address = folder.start(drain).await;
    assert_eq!(folder.bundle(), bundle, "the authority is the same");
    let mut proxy = Proxy::watch(address, &bundle).await;
    // What is held is still current: the first thing that comes is the answer to the second question.
    proxy.say(Request::Subscribe { key: key.clone(), held_version: Some(held) }).await;
    assert_eq!(proxy.subscribe(carts_address()).await.key, carts_address());
    folder.write("slice.yaml", &slice(&[]));
    assert_eq!(proxy.update().await.key, key);
}
