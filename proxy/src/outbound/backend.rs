//! A Service port as one worker sees it: its endpoints, and the choice among them.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{BackendKey, Direction, EdgeKey, EdgeProtocol, EndpointState, Endpoints, Security};
use minimesh_balance::pick_p2c;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::affinity::Affinity;
use super::endpoint::Endpoint;
use crate::control::State;
use crate::error::{Error, Kind, Side};
use crate::metrics::{EdgeCells, EdgeLabels};
use crate::worker::Worker;

/// First state of a resource of an address inside the cluster.
pub(super) const FIRST_STATE: Duration = Duration::from_secs(3);

/// Attempts after the first.
pub(super) const RETRIES: usize = 3;

/// The family of a target's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: SocketAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Endpoints of a Service port, as targets of one family see them.
pub(crate) struct Backend {
    pub(crate) key: BackendKey,
    /// Of the address that was dialled: a client that came by one family may have no way by the other.
    family: Family,
    receiver: RefCell<watch::Receiver<State<Arc<Endpoints>>>>,
    list: RefCell<List>,
    unsent: OnceCell<Arc<EdgeCells>>,
    /// There may be endpoints that were never asked.
    fresh: Cell<bool>,
    affinity: Affinity,
}

#[derive(Clone, Default)]
struct List {
    known: bool,
    /// Those that are to be asked.
    serving: Rc<[Rc<Endpoint>]>,
    /// The others, whose connections and estimates are kept.
    resting: Rc<[Rc<Endpoint>]>,
}

/// Endpoints that a request was already refused by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    addresses: [Option<SocketAddr>; RETRIES],
    count: usize,
    /// Somebody who was asked before may be asked again, where nobody else is left.
    lenient: bool,
    /// Somebody ended without an answer.
    unanswered: bool,
}

impl Tried {
    /// Counts a failed attempt; false: that was the last. `exclude`: not this endpoint again.
    pub(crate) fn again(&mut self, exclude: Option<SocketAddr>) -> bool {
        if self.count == RETRIES {
            return false;
        }
        self.addresses[self.count] = exclude;
        self.count += 1;
        true
    }

    /// The route wants another attempt, elsewhere if that is possible.
    pub(crate) fn avoid(&mut self, address: SocketAddr) {
        self.addresses.rotate_right(1);
        self.addresses[0] = Some(address);
        self.lenient = true;
    }

    /// Somebody may have got the request, and ended without an answer: that is borne once.
    pub(super) fn note_unanswered(&mut self) {
        self.unanswered = true;
    }

    pub(super) fn was_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Whether this is the first attempt.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && !self.lenient
    }

    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&Some(address))
    }
}

impl Backend {
    pub(crate) async fn new(worker: &Worker, key: &BackendKey, family: Family) -> Rc<Backend> {
        let mut receiver = worker.control.endpoints(key).await;
        receiver.mark_changed();
        Rc::new(Backend {
            key: key.clone(),
            family,
            receiver: RefCell::new(receiver),
            list: RefCell::default(),
            unsent: OnceCell::new(),
            fresh: Cell::new(false),
            affinity: Affinity::default(),
        })
    }

    /// A client stays with the endpoint that it had, for so long since it used it last; `None`: it does not.
    pub(super) fn stay_for(&self, time: Option<Duration>) {
        self.affinity.set(time);
    }

    /// Picks an endpoint, by two random choices and their loads, unless the Service has its clients stay with one.
    pub(crate) async fn pick(&self, worker: &Worker, tried: &Tried) -> Result<Rc<Endpoint>, Error> {
        let mut list = self.current(worker);
        if !list.known {
            Box::pin(self.first_state()).await?;
            list = self.current(worker);
        }
        let serving = &list.serving;
        if let Some(endpoint) = self.affinity.pick(serving, tried, || worker.pod()) {
            return Ok(endpoint);
        }
        let now = Instant::now().into_std();
        let picked = pick_p2c(serving.len(), |index| &serving[index].slot, now, &mut worker.random.borrow_mut());
        // An endpoint that was never asked gets one request, and is then known: any guess of its latency starves or floods it.
        let fresh = || serving.iter().find(|endpoint| !tried.contains(endpoint.address) && endpoint.take_fresh());
        let fresh = self.fresh.get().then(fresh).flatten();
        self.fresh.set(fresh.is_some());
        match fresh.or(picked.map(|index| &serving[index])) {
            Some(endpoint) if !tried.contains(endpoint.address) => Ok(Rc::clone(endpoint)),
            // chosen before: the least loaded of the others
            _ => {
                let least = |wanted: &dyn Fn(&SocketAddr) -> bool| {
                    let others = serving.iter().filter(|endpoint| wanted(&endpoint.address));
                    others.min_by(|a, b| a.slot.load(now).total_cmp(&b.slot.load(now))).cloned()
                };
                let again = || tried.lenient.then(|| least(&|_| true)).flatten();
                least(&|address| !tried.contains(*address))
                    .or_else(again)
                    .ok_or(Error::new(Kind::NoEndpoints, Side::Internal))
            }
        }
    }

    /// The endpoint that is asked for by a session, if it serves.
    pub(crate) fn find(&self, worker: &Worker, is_it: impl Fn(&Endpoint) -> bool) -> Option<Rc<Endpoint>> {
        self.current(worker).serving.iter().find(|endpoint| is_it(endpoint)).cloned()
    }

    /// Whether there is another endpoint to ask: one that [`Backend::pick`] would give.
    pub(crate) fn has_other(&self, worker: &Worker, endpoint: &Endpoint, tried: &Tried) -> bool {
        let left = |other: SocketAddr| other != endpoint.address && (tried.lenient || !tried.contains(other));
        self.current(worker).serving.iter().any(|other| left(other.address))
    }

    /// Where requests are counted that found no endpoint.
    pub(crate) fn unsent_cells(&self, worker: &Worker) -> &Arc<EdgeCells> {
        self.unsent.get_or_init(|| {
            let key = EdgeKey {
                direction: Direction::Outbound,
                protocol: EdgeProtocol::Http,
                service: Some(self.key.clone()),
                peer: None,
                port: self.key.port,
                security: Security::None("not_sent".into()),
            };
            worker.control.metrics().edge(key, EdgeLabels::default())
        })
    }

    /// All endpoints, for housekeeping.
    pub(super) fn sweep(&self) {
        let list = self.list.borrow().clone();
        list.serving.iter().chain(list.resting.iter()).for_each(|endpoint| endpoint.sweep());
    }

    /// The state in force. Endpoints that stay keep their connections and estimates.
    fn current(&self, worker: &Worker) -> List {
        let mut receiver = self.receiver.borrow_mut();
        if receiver.has_changed().unwrap_or(false) {
            let state = receiver.borrow_and_update().clone();
            if let State::Known(endpoints) = state {
                let list = self.build(worker, &endpoints);
                *self.list.borrow_mut() = list;
                self.fresh.set(true);
            }
        }
        self.list.borrow().clone()
    }

    fn build(&self, worker: &Worker, endpoints: &Endpoints) -> List {
        let before = self.list.borrow();
        let known = || before.serving.iter().chain(before.resting.iter());
        // a dual-stack pod is listed twice; a Service without selector may have endpoints of the other family only
        let of_family = endpoints.0.iter().filter(|endpoint| Family::of(endpoint.address) == self.family);
        let mut endpoints_here: Vec<_> = of_family.collect();
        if endpoints_here.is_empty() {
            endpoints_here = endpoints.0.iter().collect();
        }
        let endpoints = endpoints_here;
        let all: Vec<Rc<Endpoint>> = endpoints
            .iter()
            .map(|&described| {
                // the state alone says who is asked: it does not make another endpoint
                let same = |other: &&Rc<Endpoint>| {
                    other.address == described.address
                        && other.described.transport == described.transport
                        && other.described.workload == described.workload
                };
                known().find(same).cloned().unwrap_or_else(|| {
                    let own = worker.place.is_ours(described.address.ip());
                    Endpoint::new(described.clone(), Some(self.key.clone()), own)
                })
            })
            .collect();
        let is_serving = |index: &usize| endpoints[*index].state == EndpointState::Serving;
        let any = (0..all.len()).any(|index| is_serving(&index));
        let (serving, resting): (Vec<_>, Vec<_>) = (0..all.len()).partition(|index| !any || is_serving(index));
        let of = |indexes: Vec<usize>| indexes.into_iter().map(|index| Rc::clone(&all[index])).collect();
        List { known: true, serving: of(serving), resting: of(resting) }
    }

    async fn first_state(&self) -> Result<(), Error> {
        let mut receiver = self.receiver.borrow().clone();
        let known = timeout(FIRST_STATE, receiver.wait_for(|state| state.known().is_some()));
        match known.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::new(Kind::DiscoveryUnavailable, Side::Internal)),
        }
    }
}
