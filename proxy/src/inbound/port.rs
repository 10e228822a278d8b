//! Ports of the application: policy, connections kept to it, counters of its peers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use minimesh_api::model::{DefaultPolicy, Direction, EdgeKey, EdgeProtocol, PortPolicy, Protocol};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::peer::Peer;
use crate::control::State;
use crate::error::{Error, Kind, Side};
use crate::http::h1::Conn;
use crate::io::{Buffer, Stream};
use crate::metrics::{Connected, EdgeCells, EdgeLabels};
use crate::worker::Worker;

/// How long the first connections to a port wait for its first policy, and for where the node is.
const FIRST_POLICY: Duration = Duration::from_secs(3);

/// An application closes idle connections when it likes, and a FIN in flight cannot be seen: a second is short enough that
/// it hardly ever happens.
const IDLE: Duration = Duration::from_secs(1);

/// Idle connections kept to one address of the application.
const IDLE_MAX: usize = 64;

/// Between lines about what `audit` let in at one port.
const AUDIT_LOG: Duration = Duration::from_secs(1);

/// A port that nobody dials is forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// Ports known at once: a scan must not grow the map, nor the subscriptions behind it.
const PORTS_MAX: usize = 1000;

/// Peers whose counters are kept at hand for one port.
const PEERS_MAX: usize = 256;

/// Ports of one worker, by original destination.
#[derive(Default)]
pub(crate) struct Ports(RefCell<HashMap<SocketAddr, Rc<Port>>>);

/// One address and port of the application.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    receiver: RefCell<watch::Receiver<State<PortPolicy>>>,
    known: Cell<Option<PortPolicy>>,
    idle: RefCell<Vec<(Conn, Instant)>>,
    counters: RefCell<Vec<Counters>>,
    audited: Audited,
    used: Cell<Instant>,
}

/// Counters of a peer, by what it speaks, who it is, and what let it in.
struct Counters {
    protocol: EdgeProtocol,
    peer: Peer,
    policy: DefaultPolicy,
    cells: Arc<EdgeCells>,
}

/// Connections that `audit` let in since that was last logged, and when it was.
#[derive(Default)]
struct Audited {
    connections: Cell<u64>,
    logged: Cell<Option<Instant>>,
}

impl Ports {
    /// The port of an original destination; waits for its first policy. `None`: too many ports are dialled.
    pub(crate) async fn get(&self, worker: &Worker, address: SocketAddr) -> Option<Rc<Port>> {
        let known = self.0.borrow().get(&address).cloned();
        let port = match known {
            Some(port) => port,
            None => {
                let port = Port::ask(worker, address).await;
                let mut ports = self.0.borrow_mut();
                if ports.len() >= PORTS_MAX {
                    ports.retain(|_, port| Rc::strong_count(port) > 1);
                }
                if ports.len() >= PORTS_MAX {
                    return None;
                }
                Rc::clone(ports.entry(address).or_insert(port))
            }
        };
        port.used.set(Instant::now());
        Some(port)
    }

    /// Closes idle connections, forgets idle ports; true where a policy has changed.
    pub(crate) fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut changed = false;
        self.0.borrow_mut().retain(|_, port| {
            changed |= port.refresh();
            port.sweep(now);
            Rc::strong_count(port) > 1 || now - port.used.get() < FORGET
        });
        changed
    }
}

impl Port {
    async fn ask(worker: &Worker, address: SocketAddr) -> Rc<Port> {
        let mut receiver = worker.control.port(address.port()).await;
        let mut workload = worker.control.workload();
        let first = async {
            // an error is the control thread's end: nothing will come
            let _ = receiver.wait_for(|state| state.known().is_some()).await;
            let _ = workload.wait_for(|state| state.known().is_some()).await;
        };
        // Later connections do not wait again: until the policy comes, the proxy's default holds.
        let _ = timeout(FIRST_POLICY, first).await;
        receiver.mark_changed();
        Rc::new(Port {
            address,
            receiver: RefCell::new(receiver),
            known: Cell::new(None),
            idle: RefCell::default(),
            counters: RefCell::default(),
            audited: Audited::default(),
            used: Cell::new(Instant::now()),
        })
    }

    /// The policy in force.
    pub(crate) fn policy(&self, worker: &Worker) -> DefaultPolicy {
        self.refresh();
        self.known.get().map_or(worker.default_policy, |known| known.policy)
    }

    /// `audit` let somebody in whom `deny` would not have.
    pub(super) fn note_audited(&self, peer: &Peer, address: IpAddr) {
        let Audited { connections, logged } = &self.audited;
        connections.set(connections.get() + 1);
        let now = Instant::now();
        if logged.get().is_none_or(|logged| now - logged >= AUDIT_LOG) {
            logged.set(Some(now));
            let (port, connections) = (self.address.port(), connections.take());
            info!(port, %peer, %address, connections, "let in by audit, would be refused by deny");
        }
    }

    /// Whether something else than HTTP has no business here.
    pub(crate) fn is_http_only(&self) -> bool {
        matches!(self.protocol(), Protocol::Http1 | Protocol::Http2)
    }

    /// The protocol declared.
    pub(crate) fn protocol(&self) -> Protocol {
        self.refresh();
        self.known.get().map_or(Protocol::Detect, |known| known.protocol)
    }

    fn refresh(&self) -> bool {
        let mut receiver = self.receiver.borrow_mut();
        // after the end of control the last value stays, also one that was never looked at
        if !receiver.has_changed().unwrap_or(self.known.get().is_none()) {
            return false;
        }
        let known = receiver.borrow_and_update().known().copied();
        self.known.replace(known) != known
    }

    /// Dials the application: its own address, never loopback.
    pub(crate) async fn dial(&self, worker: &Worker) -> Result<Conn, Error> {
        let began = Instant::now();
        let connected = worker.dialer.connect(self.address).await;
        let result = connected.map_err(|error| Error::new(Kind::of_connect(&error), Side::Upstream).because(error));
        let outcome = match &result {
            Ok(_) => Connected::Ok,
            Err(error) if error.kind == Kind::ConnectRefused => Connected::Refused,
            Err(_) => Connected::Unreachable,
        };
        worker.cells.connect(Direction::Inbound, outcome, began.elapsed());
        let tcp = result.map_err(|error| error.at(self.address))?;
        Ok(Conn { stream: Stream::Plain(tcp), buffer: Buffer::default() })
    }

    /// The idle connection used last, if the application has not closed it. To be polled without tokio's budget, as the
    /// endpoints' is.
    pub(crate) fn reuse(&self, cx: &mut Context<'_>) -> Option<Conn> {
        let now = Instant::now();
        loop {
            let (mut conn, since) = self.idle.borrow_mut().pop()?;
            if now - since < IDLE && conn.stream.poll_usable(cx) {
                return Some(conn);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, mut conn: Conn) {
        conn.buffer.release();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push((conn, Instant::now()));
        }
    }

    /// Where a peer's traffic is counted.
    pub(crate) fn cells(&self, worker: &Worker, protocol: EdgeProtocol, peer: &Peer) -> Arc<EdgeCells> {
        let policy = self.policy(worker);
        let mut counters = self.counters.borrow_mut();
        let same = |known: &&Counters| known.protocol == protocol && known.peer == *peer && known.policy == policy;
        if let Some(known) = counters.iter().find(same) {
            return Arc::clone(&known.cells);
        }
        // of a policy that is no longer in force, and of nobody who is still connected
        counters.retain(|known| known.policy == policy || Arc::strong_count(&known.cells) > 1);
        if counters.len() >= PEERS_MAX {
            counters.retain(|known| Arc::strong_count(&known.cells) > 1);
        }
        let key = EdgeKey {
            direction: Direction::Inbound,
            protocol,
            service: None,
            peer: None,
            port: self.address.port(),
            security: peer.security(),
        };
        let labels = EdgeLabels { target: Some(self.address), zone: None, policy: Some(policy.into()) };
        let cells = worker.control.metrics().edge(key, labels);
        counters.push(Counters { protocol, peer: peer.clone(), policy, cells: Arc::clone(&cells) });
        cells
    }

    fn sweep(&self, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        self.idle.borrow_mut().retain_mut(|(conn, since)| now - *since < IDLE && conn.stream.poll_usable(&mut cx));
    }
}
