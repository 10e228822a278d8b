//! The real data path in one process: a client's sidecar and a server's, each a worker thread with its own fake control, mTLS
//! between them over loopback (or plaintext, to tell TLS' share), a route with matches and a filter on the way, a strict port at
//! the end, metrics on.
//!
//! What is missing against two pods: interception (original destinations are given), discovery, and the network.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{
    BackendKey, BackendRef, DefaultPolicy, Endpoint, EndpointState, Endpoints, Filter, Header, HeaderMatch,
    HeaderModifier, HttpMatch, HttpRoute, HttpRule, ObjectRef, PathMatch, PlaintextReason, PortPolicy, Protocol,
    RuleOrder, StringMatch, Timeouts, Transport, WeightedBackend, WorkloadRef,
};
use minimesh_identity::authority::Authority;
use minimesh_identity::{Credentials, SpiffeId, TicketKeys};
use minimesh_proxy::Origin;
use minimesh_proxy::control::{ControlHandle, FakeControl, TargetSnapshot};
use minimesh_proxy::error::CODES;
use minimesh_proxy::metrics::Metrics;
use minimesh_proxy::worker::{self, OwnPorts, Patience, WorkerConfig};
use minimesh_route::RouteTable;
use minimesh_runtime::drain;

use crate::counting;

/// Both sidecars and the application behind the server's.
pub struct Pair {
    /// Where the client connects to, as if it had been intercepted.
    pub outbound: SocketAddr,
    /// What the client's sidecar counts.
    pub client_metrics: Arc<Metrics>,
    /// What the server's sidecar counts.
    pub server_metrics: Arc<Metrics>,
    _held: (Sidecar, Sidecar),
}

struct Sidecar {
    _control: FakeControl,
    _drain: drain::Trigger,
    _thread: worker::Running,
}

/// How the two sidecars speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// As in a mesh; the server's port is strict.
    MutualTls,
    /// As to a pod without sidecar; the server's port is open to all.
    Plaintext,
}

impl Pair {
    /// Starts an HTTP application, and a sidecar at either end.
    pub fn start(link: Link) -> io::Result<Pair> {
        let application = application()?;
        let authority = Authority::create(DOMAIN).map_err(io::Error::other)?;

        let inbound = TcpListener::bind(LOOPBACK)?;
        let server_address = inbound.local_addr()?;
        let (control, server) = ControlHandle::fake(Metrics::new(CODES), vec![]);
        control.credentials(credentials(&authority, "carts")?);
        let (transport, policy) = match link {
            Link::MutualTls => {
                let identity = format!("spiffe://{DOMAIN}/ns/shop/sa/carts").into();
                (Transport::MutualTls { identity }, DefaultPolicy::AllAuthenticated)
            }
            Link::Plaintext => (Transport::Plaintext(PlaintextReason::NotMeshed), DefaultPolicy::AllUnauthenticated),
        };
        control.port(application.port(), PortPolicy { protocol: Protocol::Http1, policy });
        let server_metrics = Arc::clone(server.metrics());
        let origin = Origin::Fixed { outbound: SERVICE, inbound: application };
        let server = sidecar(1, control, server, vec![], vec![inbound], origin)?;

        let outbound = TcpListener::bind(LOOPBACK)?;
        let client_address = outbound.local_addr()?;
        let (control, client) = ControlHandle::fake(Metrics::new(CODES), vec![]);
        control.credentials(credentials(&authority, "front-end")?);
        control.endpoints(&carts(), Endpoints(vec![endpoint(server_address, transport)]));
        let routes = Arc::new(RouteTable::compile(&[route()]).map_err(|error| io::Error::other(format!("{error:?}")))?);
        control.target(SERVICE, TargetSnapshot::Service { service: carts(), protocol: Protocol::Detect, routes });
        let client_metrics = Arc::clone(client.metrics());
        let origin = Origin::Fixed { outbound: SERVICE, inbound: application };
        let client = sidecar(0, control, client, vec![outbound], vec![], origin)?;
        Ok(Pair { outbound: client_address, client_metrics, server_metrics, _held: (client, server) })
    }

    /// A client's requests, one after the other on one connection to [`Pair::outbound`], and their answers. Allocates nothing.
    pub fn ask(&self, client: &mut TcpStream, times: u32) -> io::Result<()> {
        for _ in 0..times {
            self.send(client)?;
            self.receive(client)?;
        }
        Ok(())
    }

    /// The first half of that.
    pub fn send(&self, client: &mut TcpStream) -> io::Result<()> {
        client.write_all(REQUEST)
    }

    /// And the other.
    pub fn receive(&self, client: &mut TcpStream) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"0.00\"}") {
            let count = client.read(&mut buffer[filled..])?;
            filled += count;
            if count == 0 || !buffer[..filled].starts_with(&RESPONSE[..15.min(filled)]) {
                let got = String::from_utf8_lossy(&buffer[..filled]);
                return Err(io::Error::other(format!("not the answer: {got:?}")));
            }
        }
        Ok(())
    }
}

fn sidecar(
    index: usize,
    fake: FakeControl,
    control: ControlHandle,
    outbound: Vec<TcpListener>,
    inbound: Vec<TcpListener>,
    origin: Origin,
) -> io::Result<Sidecar> {
    for listener in outbound.iter().chain(&inbound) {
        listener.set_nonblocking(true)?;
    }
    let (trigger, watch) = drain::channel();
    let seat = worker::crew(1).pop().ok_or_else(|| io::Error::other("a crew of one has a seat"))?;
    let thread = worker::spawn(WorkerConfig {
        index,
        seat,
        outbound,
        inbound,
        control,
        drain: watch,
        mark: None,
        ports: OwnPorts::default(),
        default_policy: DefaultPolicy::Deny,
        head_limit: 64 * 1024,
        patience: Patience::default(),
        origin,
        observe: Default::default(),
    })?;
    Ok(Sidecar { _control: fake, _drain: trigger, _thread: thread })
}

fn credentials(authority: &Authority, name: &str) -> io::Result<Arc<Credentials>> {
    let id = SpiffeId::new(DOMAIN, "shop", name).map_err(io::Error::other)?;
    let leaf = authority.issue_leaf(&id, Duration::from_secs(86_400)).map_err(io::Error::other)?;
    let bundle = authority.bundle().map_err(io::Error::other)?;
    let tickets = TicketKeys::new().map_err(io::Error::other)?;
    Ok(Arc::new(Credentials::new(leaf, bundle, &tickets, 1).map_err(io::Error::other)?))
}

fn carts() -> BackendKey {
    BackendKey { namespace: "shop".into(), name: "carts".into(), port: 80 }
}

fn endpoint(address: SocketAddr, transport: Transport) -> Endpoint {
    Endpoint {
        address,
        transport,
        state: EndpointState::Serving,
        workload: Some(WorkloadRef {
            namespace: "shop".into(),
            kind: "Deployment".into(),
            name: "carts".into(),
            pod: "carts-1".into(),
        }),
        zone: None,
    }
}

/// A rule that has to look at path and headers, and that writes one.
fn route() -> HttpRoute {
    let version = HeaderMatch { name: "x-version".into(), value: StringMatch::Exact("2".into()) };
    let any = |path, headers| HttpMatch::All { path, headers, query: vec![], method: None };
    let set = HeaderModifier {
        set: vec![Header { name: "x-route".into(), value: (*b"carts").into() }],
        ..Default::default()
    };
    let rule = |name: &str, found, filters| HttpRule {
        name: name.into(),
        matches: vec![found],
        filters,
        backends: vec![WeightedBackend { weight: 1, backend: BackendRef::Service(carts()), filters: vec![] }],
        timeouts: Timeouts { request: Some(Duration::from_secs(15)), backend_request: None },
        retry: None,
        session: None,
    };
    HttpRoute {
        object: ObjectRef {
            group: "gateway.networking.k8s.io".into(),
            kind: "HTTPRoute".into(),
            namespace: "shop".into(),
            name: "carts".into(),
        },
        order: RuleOrder::Specificity,
        rules: vec![
            rule("canary", any(PathMatch::Prefix("/carts".into()), vec![version]), vec![]),
            rule("all", any(PathMatch::Prefix("/".into()), vec![]), vec![Filter::RequestHeaders(set)]),
        ],
    }
}

/// Answers every request on every connection with [`RESPONSE`]; threads of this test, so nothing of it counts.
fn application() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(LOOPBACK)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        counting::ignore_this_thread();
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                counting::ignore_this_thread();
                let _ = serve(connection);
            });
        }
    });
    Ok(address)
}

fn serve(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = [0; 16 * 1024];
    let mut filled = 0;
    loop {
        let count = connection.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            connection.write_all(RESPONSE)?;
            filled = 0;
        }
    }
}

const REQUEST: &[u8] =
    b"GET /carts/57a98d98e4b00679b4a830b2/items HTTP/1.1\r\nHost: carts\r\nUser-Agent: front-end\r\n\
    Accept: application/json\r\nx-version: 1\r\n\r\n";

/// What the application answers.
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: carts\r\ncontent-length: 27\r\n\r\n\
    {\"items\":[],\"total\":\"0.00\"}";

const DOMAIN: &str = "cluster.local";
const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// The Service that the client believes to talk to.
const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10)), 80);
