//! The data path in one process: an outbound worker, inbound workers, applications and clients over loopback TCP.
//!
//! `Mesh` is the world of a test: a Service address whose endpoints are inbound proxies in front of `App`s. Original
//! destinations are injected (`Origin::Fixed`); everything else is what runs in production.

mod affinity;
mod chaos;
mod churn;
mod edges;
mod endings;
mod hostile;
mod http;
mod http2;
mod identity;
mod late;
mod lingering;
mod observe;
mod opaque;
mod own_headers;
mod policy;
mod repeats;
mod replay;
mod retry;
mod routes;
pub(crate) mod sizes;
mod transparent;
mod unanswered;
mod uploads;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{
    BackendKey, DefaultPolicy, Direction, EdgeReport, Endpoint, EndpointState, Endpoints, HttpProbe, HttpRoute,
    PlaintextReason, PortPolicy, Protocol, Transport, Workload,
};
use minimesh_identity::authority::Authority;
use minimesh_identity::{Credentials, Leaf, PrivateKey, SpiffeId, TicketKeys};
use minimesh_route::RouteTable;
use minimesh_runtime::drain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::control::{ControlHandle, FakeControl, TargetSnapshot};
use crate::error::CODES;
use crate::metrics::Metrics;
use crate::net::Origin;
use crate::observe::Observe;
use crate::worker::{OwnPorts, Patience, WorkerConfig, crew, run};

const DOMAIN: &str = "cluster.local";
const SERVICE: &str = "10.43.0.1:80";
/// HTTP/2 streams on a worker, above which a connection gets no more than its share; fewer than by default, as tests open them all.
const MAX_STREAMS: usize = 1024;

/// A proxy of the test: one worker and the control that tells it what to do.
struct Proxy {
    address: SocketAddr,
    control: FakeControl,
    metrics: Arc<Metrics>,
    drain: Option<drain::Trigger>,
    identity: SpiffeId,
}

struct Mesh {
    authority: Authority,
    tickets: TicketKeys,
    client: Proxy,
    generation: Cell<u64>,
    observe: Observe,
}

/// An inbound proxy in front of an application.
struct Server {
    proxy: Proxy,
    app: SocketAddr,
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::new(DOMAIN, "shop", account).expect("valid")
}

impl Mesh {
    fn new() -> Mesh {
        Mesh::observed(Observe::default())
    }

    /// Every proxy records as `observe` says.
    fn observed(observe: Observe) -> Mesh {
        let authority = Authority::create(DOMAIN).expect("authority");
        let tickets = TicketKeys::new().expect("keys");
        let origin =
            Origin::Fixed { outbound: SERVICE.parse().expect("address"), inbound: SERVICE.parse().expect("address") };
        let policy = DefaultPolicy::AllUnauthenticated;
        let client = Proxy::start(Direction::Outbound, origin, id("front-end"), policy, &observe);
        let mesh = Mesh { authority, tickets, client, generation: Cell::new(0), observe };
        mesh.certify(&mesh.client);
        mesh
    }

    /// New credentials for a proxy.
    fn certify(&self, proxy: &Proxy) {
        proxy.control.credentials(self.credentials(&self.authority, &proxy.identity, Duration::from_secs(3600)));
    }

    fn credentials(&self, authority: &Authority, id: &SpiffeId, life: Duration) -> Arc<Credentials> {
        let key = PrivateKey::generate().expect("key");
        let csr = key.csr(None).expect("csr");
        let leaf = Leaf::new(authority.issue(&csr, id, life).expect("issued"), key).expect("leaf");
        self.generation.set(self.generation.get() + 1);
        let bundle = authority.bundle().expect("bundle");
        Arc::new(Credentials::new(leaf, bundle, &self.tickets, self.generation.get()).expect("credentials"))
    }

    /// An inbound proxy in front of `app`.
    fn server(&self, account: &str, app: SocketAddr) -> Server {
        self.server_with(account, app, DefaultPolicy::AllUnauthenticated)
    }

    fn server_with(&self, account: &str, app: SocketAddr, policy: DefaultPolicy) -> Server {
        let origin = Origin::Fixed { outbound: app, inbound: app };
        let proxy = Proxy::start(Direction::Inbound, origin, id(account), policy, &self.observe);
        proxy.control.port(app.port(), PortPolicy { protocol: Protocol::Detect, policy });
        self.certify(&proxy);
        Server { proxy, app }
    }

    /// The Service, without routes.
    fn service(&self, protocol: Protocol, endpoints: Vec<Endpoint>) {
        self.routed(protocol, &[], endpoints);
    }

    fn routed(&self, protocol: Protocol, routes: &[HttpRoute], endpoints: Vec<Endpoint>) {
        let routes = Arc::new(RouteTable::compile(routes).expect("routes"));
        let snapshot = TargetSnapshot::Service { service: key(), protocol, routes, client_affinity: None };
        self.client.control.target(SERVICE.parse().expect("address"), snapshot);
        self.endpoints(endpoints);
    }

    fn endpoints(&self, mut endpoints: Vec<Endpoint>) {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        self.client.control.endpoints(&key(), Endpoints(endpoints));
    }

    /// A connection of the application to the Service.
    async fn connect(&self) -> Client {
        let tcp = TcpStream::connect(self.client.address).await.expect("outbound listener");
        tcp.set_nodelay(true).expect("nodelay");
        Client { tcp, left: Vec::new() }
    }
}

fn key() -> BackendKey {
    BackendKey { namespace: "shop".into(), name: "catalogue".into(), port: 80 }
}

impl Proxy {
    fn start(
        direction: Direction,
        origin: Origin,
        identity: SpiffeId,
        policy: DefaultPolicy,
        observe: &Observe,
    ) -> Proxy {
        let (proxy, mut config) = Proxy::prepare(direction, origin, identity, policy);
        config.observe = observe.clone();
        tokio::task::spawn_local(run(config));
        proxy
    }

    fn prepare(
        direction: Direction,
        origin: Origin,
        identity: SpiffeId,
        policy: DefaultPolicy,
    ) -> (Proxy, WorkerConfig) {
        let metrics = Metrics::new(CODES);
        let (control, handle): (FakeControl, ControlHandle) =
            ControlHandle::fake(Arc::clone(&metrics), vec!["10.0.0.0/8".parse().expect("network")]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("bound");
        let (trigger, watch) = drain::channel();
        let (outbound, inbound) = match direction {
            Direction::Outbound => (vec![listener], vec![]),
            Direction::Inbound => (vec![], vec![listener]),
        };
        let config = WorkerConfig {
            index: 0,
            seat: crew(1).pop().expect("one seat"),
            outbound,
            inbound,
            control: handle,
            drain: watch,
            mark: None,
            ports: OwnPorts::default(),
            default_policy: policy,
            head_limit: 64 * 1024,
            max_streams: MAX_STREAMS,
            patience: Patience::default(),
            origin,
            observe: Observe::default(),
        };
        let proxy = Proxy { address, control, metrics, drain: Some(trigger), identity };
        (proxy, config)
    }

    /// What control says of the proxy's own pod.
    fn own(&self) -> Workload {
        FakeControl::own_workload(vec!["10.0.0.0/8".parse().expect("network")])
    }

    /// The pod is marked for deletion.
    fn leaving(&self) {
        self.control.workload(Workload { draining: true, ..self.own() });
    }

    /// The test's clients, which all come from this machine, come from the pod's node.
    fn on_this_node(&self) {
        self.control.workload(Workload { node_ips: vec![std::net::Ipv4Addr::LOCALHOST.into()], ..self.own() });
    }

    fn edge(&self) -> EdgeReport {
        let mut reports: Vec<_> = self.metrics.reports().into_iter().filter(|report| report.requests > 0).collect();
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.remove(0)
    }
}

impl Server {
    /// As the control plane describes it: meshed, with the identity that it has.
    fn endpoint(&self) -> Endpoint {
        self.endpoint_as(&self.proxy.identity)
    }

    fn endpoint_as(&self, identity: &SpiffeId) -> Endpoint {
        endpoint(self.proxy.address, Transport::MutualTls { identity: identity.as_str().into() })
    }
}

fn endpoint(address: SocketAddr, transport: Transport) -> Endpoint {
    Endpoint { address, transport, state: EndpointState::Serving, workload: None, zone: None }
}

/// An application without a proxy.
fn unmeshed(address: SocketAddr) -> Endpoint {
    endpoint(address, Transport::Plaintext(PlaintextReason::NotMeshed))
}

/// An address where nobody listens, and nobody will: a port that was only looked up would soon be somebody else's.
async fn nobody() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("loopback")).expect("a port");
    let address = socket.local_addr().expect("bound");
    // bound, as long as the tests run
    std::mem::forget(socket);
    address
}

/// An application: `handle` is called for every connection.
async fn app<F: Future<Output = ()> + 'static>(handle: impl Fn(Client) -> F + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::task::spawn_local(async move {
        loop {
            let (tcp, _) = listener.accept().await.expect("accept");
            tcp.set_nodelay(true).expect("nodelay");
            tokio::task::spawn_local(handle(Client { tcp, left: Vec::new() }));
        }
    });
    address
}

/// Answers every request with what it received, head and body, as the body.
async fn echo() -> SocketAddr {
    app(|mut peer| async move {
        while let Some(message) = peer.message().await {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", message.len());
            peer.send(head.as_bytes()).await;
            peer.send(&message).await;
        }
    })
    .await
}

/// Always answers with the same bytes.
async fn canned(response: &'static [u8]) -> SocketAddr {
    app(move |mut peer| async move {
        while peer.message().await.is_some() {
            peer.send(response).await;
        }
    })
    .await
}

/// One end of a TCP connection, with a naive idea of HTTP.
struct Client {
    tcp: TcpStream,
    left: Vec<u8>,
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        // a peer that has gone shows in what is read
        let _ = self.tcp.write_all(bytes).await;
    }

    /// Reads until `enough` says how many bytes it wanted; `None` at the end.
    async fn read_until(&mut self, enough: impl Fn(&[u8]) -> Option<usize>) -> Option<Vec<u8>> {
        loop {
            if let Some(count) = enough(&self.left) {
                return Some(self.left.drain(..count).collect());
            }
            if self.tcp.read_buf(&mut self.left).await.ok()? == 0 {
                return None;
            }
        }
    }

    async fn head(&mut self) -> Option<String> {
        let head = self.read_until(|bytes| Some(bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4)).await?;
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    /// A message with Content-Length, chunked, or without a body.
    async fn message(&mut self) -> Option<Vec<u8>> {
        let head = self.head().await?;
        let lower = head.to_ascii_lowercase();
        let body = if let Some((_, rest)) = lower.split_once("content-length:") {
            let length: usize = rest.split("\r\n").next()?.trim().parse().ok()?;
            self.exactly(length).await?
        } else if lower.contains("transfer-encoding: chunked") {
            self.read_until(|bytes| Some(bytes.windows(7).position(|end| end == b"\r\n0\r\n\r\n")? + 7)).await?
        } else {
            Vec::new()
        };
        Some([head.into_bytes(), body].concat())
    }

    async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        self.read_until(|bytes| (bytes.len() >= count).then_some(count)).await
    }

    /// Everything until the end, which must be a clean one.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.left);
        self.tcp.read_to_end(&mut rest).await.expect("a clean end");
        rest
    }

    /// Sends a request and reads the response as text.
    async fn ask(&mut self, request: &str) -> String {
        self.send(request.as_bytes()).await;
        let response = self.message().await.expect("a response");
        String::from_utf8_lossy(&response).into_owned()
    }

    async fn get(&mut self) -> String {
        self.ask("GET / HTTP/1.1\r\nHost: catalogue\r\n\r\n").await
    }

    /// Waits for the connection's end and says whether it was an RST.
    async fn is_reset(&mut self) -> bool {
        let mut sink = Vec::new();
        self.tcp.read_to_end(&mut sink).await.is_err()
    }
}

/// A connection of a peer without a proxy.
async fn direct(server: &Server) -> Client {
    Client { tcp: TcpStream::connect(server.proxy.address).await.expect("inbound listener"), left: Vec::new() }
}

/// A mesh with one echo server behind the Service.
async fn one_server() -> (Mesh, Server) {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", echo().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    (mesh, server)
}

fn counter() -> (Rc<Cell<usize>>, Rc<Cell<usize>>) {
    let count = Rc::new(Cell::new(0));
    (Rc::clone(&count), count)
}
