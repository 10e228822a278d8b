//! The real data path in one process: a client's sidecar and a server's, each a worker thread with its own fake control, mTLS
//! between them over loopback (or plaintext, to tell TLS' share), a route with matches and a filter on the way, metrics on.
//!
//! What is missing against two pods: interception (original destinations are given), discovery, and the network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
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
use minimesh_proxy::observe::Observe;
use minimesh_proxy::worker::{self, OwnPorts, Patience, WorkerConfig};
use minimesh_route::RouteTable;
use minimesh_runtime::drain;

use crate::application::{self, Carried};

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
    /// As in a mesh.
    MutualTls,
    /// As to a pod without sidecar.
    Plaintext,
}

/// What a pair is for. The default of everything but what it carries: mTLS, a strict port, no access log.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the application speaks.
    pub carried: Carried,
    /// How the two sidecars speak with each other.
    pub link: Link,
    /// Who may connect to the server's port.
    pub policy: DefaultPolicy,
    /// What both sidecars say of single requests.
    pub observe: Observe,
}

impl Setup {
    /// A pair that carries this.
    pub fn new(carried: Carried) -> Setup {
        let policy = DefaultPolicy::AllAuthenticated;
        Setup { carried, link: Link::MutualTls, policy, observe: Observe::default() }
    }

    /// In plaintext, and so with a port that is open to all.
    pub fn plaintext(carried: Carried) -> Setup {
        Setup { link: Link::Plaintext, policy: DefaultPolicy::AllUnauthenticated, ..Setup::new(carried) }
    }

    /// What stands behind the Service's address.
    fn target(&self) -> io::Result<TargetSnapshot> {
        let (protocol, routes) = match self.carried {
            Carried::Grpc | Carried::Http1 | Carried::Http2 => (Protocol::Detect, vec![route()]),
            // a route would make it HTTP
            Carried::Opaque => (Protocol::Opaque, vec![]),
        };
        let routes = RouteTable::compile(&routes).map_err(|error| io::Error::other(format!("{error:?}")))?;
        Ok(TargetSnapshot::Service { service: carts(), protocol, routes: Arc::new(routes), client_affinity: None })
    }

    /// What is declared of the application's port.
    fn port(&self) -> PortPolicy {
        let protocol = match self.carried {
            Carried::Grpc | Carried::Http2 => Protocol::Http2,
            Carried::Http1 => Protocol::Http1,
            Carried::Opaque => Protocol::Opaque,
        };
        PortPolicy { protocol, policy: self.policy }
    }
}

impl Pair {
    /// Starts an application, and a sidecar at either end.
    pub fn start(setup: Setup) -> io::Result<Pair> {
        let application = application::start(setup.carried)?;
        let authority = Authority::create(DOMAIN).map_err(io::Error::other)?;
        let origin = Origin::Fixed { outbound: SERVICE, inbound: application };

        let inbound = TcpListener::bind(LOOPBACK)?;
        let server_address = inbound.local_addr()?;
        let (control, server) = ControlHandle::fake(Metrics::new(CODES), vec![]);
        control.credentials(credentials(&authority, "carts")?);
        control.port(application.port(), setup.port());
        let server_metrics = Arc::clone(server.metrics());
        let server = sidecar(1, (control, server), (vec![], vec![inbound]), origin.clone(), &setup.observe)?;

        let outbound = TcpListener::bind(LOOPBACK)?;
        let client_address = outbound.local_addr()?;
        let transport = match setup.link {
            Link::MutualTls => Transport::MutualTls { identity: format!("spiffe://{DOMAIN}/ns/shop/sa/carts").into() },
            Link::Plaintext => Transport::Plaintext(PlaintextReason::NotMeshed),
        };
        let (control, client) = ControlHandle::fake(Metrics::new(CODES), vec![]);
        control.credentials(credentials(&authority, "front-end")?);
        control.endpoints(&carts(), Endpoints(vec![endpoint(server_address, transport)]));
        control.target(SERVICE, setup.target()?);
        let client_metrics = Arc::clone(client.metrics());
        let client = sidecar(0, (control, client), (vec![outbound], vec![]), origin, &setup.observe)?;
        Ok(Pair { outbound: client_address, client_metrics, server_metrics, _held: (client, server) })
    }
}

fn sidecar(
    index: usize,
    (fake, control): (FakeControl, ControlHandle),
    (outbound, inbound): (Vec<TcpListener>, Vec<TcpListener>),
    origin: Origin,
    observe: &Observe,
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
        max_streams: 4096,
        patience: Patience::default(),
        origin,
        observe: observe.clone(),
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

const DOMAIN: &str = "cluster.local";
const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// The Service that the client believes to talk to.
const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10)), 80);
