//! Targets: what stands behind the addresses that the application dials, as one worker knows it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{BackendKey, BackendRef, PassthroughReason, Protocol};
use minimesh_balance::Budget;
use minimesh_route::RouteTable;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::backend::{Backend, FIRST_STATE, Family};
use super::endpoint::Endpoint;
use crate::control::{State, TargetSnapshot};
use crate::error::{Error, Kind, Side};
use crate::worker::Worker;

/// A target that nobody dials is forgotten, and with it what was learnt of it.
const FORGET: Duration = Duration::from_secs(600);

/// How long a server-speaks-first verdict holds.
const VERDICT: Duration = Duration::from_secs(600);

/// Targets of one worker.
#[derive(Default)]
pub(crate) struct Targets {
    by_address: RefCell<HashMap<SocketAddr, Rc<Target>>>,
    backends: RefCell<HashMap<(BackendKey, Family), Weak<Backend>>>,
}

/// An address that the application dials.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    receiver: RefCell<watch::Receiver<State<Arc<TargetSnapshot>>>>,
    plan: RefCell<Option<Rc<Plan>>>,
    used: Cell<Instant>,
    server_first: Cell<Option<Instant>>,
    /// Of this worker's requests to it.
    pub(crate) retries: Budget,
}

/// What is done with connections to a target, as of its latest snapshot.
pub(crate) enum Plan {
    /// One pod, by its address.
    Endpoint(Rc<Endpoint>),
    /// The address itself, unchanged.
    Passthrough(Rc<Endpoint>),
    /// A Service port.
    Service(Service),
}

/// A Service port with its routes.
pub(crate) struct Service {
    pub(crate) protocol: Protocol,
    pub(crate) routes: Arc<RouteTable>,
    /// What no route claims.
    pub(crate) own: Rc<Backend>,
    /// By the table's index.
    pub(crate) backends: Vec<Option<Rc<Backend>>>,
}

impl Targets {
    /// The target of an address, asked for when it is new.
    pub(crate) async fn get(&self, worker: &Worker, address: SocketAddr) -> Rc<Target> {
        let known = self.by_address.borrow().get(&address).cloned();
        let target = match known {
            Some(target) => target,
            None => {
                let mut receiver = worker.control.target(address).await;
                receiver.mark_changed();
                let target = Rc::new(Target {
                    address,
                    receiver: RefCell::new(receiver),
                    plan: RefCell::default(),
                    used: Cell::new(Instant::now()),
                    server_first: Cell::default(),
                    retries: Budget::new(Instant::now().into_std()),
                });
                // two connections may have asked at once: the first stays
                Rc::clone(self.by_address.borrow_mut().entry(address).or_insert(target))
            }
        };
        target.used.set(Instant::now());
        target
    }

    /// Closes idle connections, forgets idle targets.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.by_address.borrow_mut().retain(|_, target| {
            if let Some(Plan::Endpoint(endpoint) | Plan::Passthrough(endpoint)) = target.plan.borrow().as_deref() {
                endpoint.sweep();
            }
            Rc::strong_count(target) > 1 || now - target.used.get() < FORGET
        });
        self.backends.borrow_mut().retain(|_, backend| {
            let Some(backend) = backend.upgrade() else { return false };
            backend.sweep();
            true
        });
    }

    async fn backend(&self, worker: &Worker, key: &BackendKey, family: Family) -> Rc<Backend> {
        let place = (key.clone(), family);
        let known = self.backends.borrow().get(&place).and_then(Weak::upgrade);
        if let Some(backend) = known {
            return backend;
        }
        let backend = Backend::new(worker, key, family).await;
        let mut backends = self.backends.borrow_mut();
        // the same race as above
        if let Some(first) = backends.get(&place).and_then(Weak::upgrade) {
            return first;
        }
        backends.insert(place, Rc::downgrade(&backend));
        backend
    }
}

impl Target {
    /// What is to be done now. Waits for the first state of an address inside the cluster; others are passed through until
    /// control says otherwise.
    pub(crate) async fn plan(&self, worker: &Worker) -> Result<Rc<Plan>, Error> {
        let changed = self.receiver.borrow().has_changed().unwrap_or(false);
        if !changed && let Some(plan) = &*self.plan.borrow() {
            return Ok(Rc::clone(plan));
        }
        Box::pin(self.renew(worker)).await
    }

    /// The latest plan, whether or not there is a newer snapshot.
    pub(crate) fn known_plan(&self) -> Option<Rc<Plan>> {
        self.plan.borrow().clone()
    }

    async fn renew(&self, worker: &Worker) -> Result<Rc<Plan>, Error> {
        let mut receiver = self.receiver.borrow().clone();
        if worker.in_cluster(self.address.ip()) {
            let known = timeout(FIRST_STATE, receiver.wait_for(|state| state.known().is_some())).await;
            if !matches!(known, Ok(Ok(_))) {
                return Err(Error::new(Kind::DiscoveryUnavailable, Side::Internal).at(self.address));
            }
        }
        let state = self.receiver.borrow_mut().borrow_and_update().clone();
        let plan = match state.known() {
            Some(snapshot) => Plan::new(worker, self.address, snapshot).await,
            None => Plan::Passthrough(Endpoint::passthrough(self.address, "outside_cluster")),
        };
        let plan = Rc::new(plan);
        *self.plan.borrow_mut() = Some(Rc::clone(&plan));
        Ok(plan)
    }

    /// Whether the server was seen to speak first, lately.
    pub(crate) fn is_server_first(&self) -> bool {
        self.server_first.get().is_some_and(|learnt| learnt.elapsed() < VERDICT)
    }

    /// The server spoke first, in a way that proves it, or the client proved the contrary.
    pub(crate) fn learn_server_first(&self, server_first: bool) {
        self.server_first.set(server_first.then(Instant::now));
    }
}

impl Plan {
    async fn new(worker: &Worker, address: SocketAddr, snapshot: &TargetSnapshot) -> Plan {
        match snapshot {
            TargetSnapshot::Endpoint(endpoint) => {
                let own = worker.place.is_ours(endpoint.address.ip());
                Plan::Endpoint(Endpoint::new(endpoint.clone(), None, own))
            }
            TargetSnapshot::Passthrough(reason) => Plan::Passthrough(Endpoint::passthrough(address, word(*reason))),
            TargetSnapshot::Service { service, protocol, routes, client_affinity } => {
                let family = Family::of(address);
                let own = worker.targets.backend(worker, service, family).await;
                own.stay_for(*client_affinity);
                let mut backends = Vec::with_capacity(routes.backends().len());
                for reference in routes.backends() {
                    backends.push(match reference {
                        BackendRef::Service(key) => Some(worker.targets.backend(worker, key, family).await),
                        BackendRef::Unresolved { .. } => None,
                    });
                }
                Plan::Service(Service { protocol: *protocol, routes: Arc::clone(routes), own, backends })
            }
        }
    }
}

fn word(reason: PassthroughReason) -> &'static str {
    match reason {
        PassthroughReason::OutsideCluster => "outside_cluster",
        PassthroughReason::UndefinedPort => "undefined_port",
        PassthroughReason::UnknownAddress => "unknown_address",
    }
}
