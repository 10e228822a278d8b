//! What a worker holds of the control thread.
//!
//! Cold path only: a worker asks once per new target, backend or port and then reads its `watch` receiver. Dropping the
//! last receiver of a resource ends its subscription after 60 s. Nothing here blocks or waits for the control plane:
//! a resource that is not known yet is [`State::Pending`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use minimesh_api::model::{
    BackendKey, Endpoint, Endpoints, PassthroughReason, PortPolicy, Protocol, ResourceKey, Workload, WorkloadRef,
};
use minimesh_identity::Credentials;
use minimesh_route::RouteTable;
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::Metrics;

/// A worker's way to the control thread. Cheap to clone.
#[derive(Clone)]
pub struct ControlHandle {
    source: Source,
    workload: watch::Receiver<State<Arc<Workload>>>,
    credentials: watch::Receiver<Option<Arc<Credentials>>>,
    bootstrap_networks: Arc<[IpNet]>,
    metrics: Arc<Metrics>,
}

/// What is known of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State<T> {
    /// The last good state; kept while disconnected.
    Known(T),
    /// Nothing known yet.
    Pending,
}

impl<T> State<T> {
    /// The last good state, if there is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            State::Known(value) => Some(value),
            State::Pending => None,
        }
    }
}

/// What stands behind an address, compiled once on the control thread.
pub enum TargetSnapshot {
    /// The address of one pod: its identity, no routes.
    Endpoint(Endpoint),
    /// Passed through unchanged.
    Passthrough(PassthroughReason),
    /// A Service port.
    Service {
        /// The Service dialled; its endpoints serve what no route claims.
        service: BackendKey,
        /// Declared protocol.
        protocol: Protocol,
        /// Attached routes; empty: everything goes to `service`.
        routes: Arc<RouteTable>,
        /// Without a route: a client stays with the endpoint that it had, for so long since it used it last.
        client_affinity: Option<Duration>,
    },
}

impl ControlHandle {
    /// What stands behind `address`.
    pub async fn target(&self, address: SocketAddr) -> watch::Receiver<State<Arc<TargetSnapshot>>> {
        self.ask(ResourceKey::Target(address), |receiver| match receiver {
            Receiver::Target(receiver) => Some(receiver),
            _ => None,
        })
        .await
    }

    /// The endpoints of a Service port.
    pub async fn endpoints(&self, backend: &BackendKey) -> watch::Receiver<State<Arc<Endpoints>>> {
        self.ask(ResourceKey::Endpoints(backend.clone()), |receiver| match receiver {
            Receiver::Endpoints(receiver) => Some(receiver),
            _ => None,
        })
        .await
    }

    /// Inbound policy of a port of this pod.
    pub async fn port(&self, port: u16) -> watch::Receiver<State<PortPolicy>> {
        self.ask(ResourceKey::Port(port), |receiver| match receiver {
            Receiver::Port(receiver) => Some(receiver),
            _ => None,
        })
        .await
    }

    /// This pod's own workload: drain notice, cluster networks.
    pub fn workload(&self) -> watch::Receiver<State<Arc<Workload>>> {
        self.workload.clone()
    }

    /// The credentials in force; `None` until the first certificate.
    pub fn credentials(&self) -> watch::Receiver<Option<Arc<Credentials>>> {
        self.credentials.clone()
    }

    /// The cluster networks given as an argument: they judge connections until the first `Workload` arrives.
    pub fn bootstrap_networks(&self) -> &[IpNet] {
        &self.bootstrap_networks
    }

    /// Where the workers count.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    async fn ask<T>(
        &self,
        key: ResourceKey,
        pick: fn(Receiver) -> Option<watch::Receiver<State<T>>>,
    ) -> watch::Receiver<State<T>> {
        let receiver = match &self.source {
            Source::Control(requests) => subscribe(requests, key).await,
            Source::Fake(fake) => Some(fake.receiver(&key)),
        };
        // A control thread that has ended, or refuses one subscription too many, leaves the resource pending for good.
        receiver.and_then(pick).unwrap_or_else(|| watch::channel(State::Pending).1)
    }
}

async fn subscribe(requests: &mpsc::Sender<Request>, key: ResourceKey) -> Option<Receiver> {
    let (reply, answer) = oneshot::channel();
    requests.send(Request { key, reply }).await.ok()?;
    answer.await.ok()
}

/// Where a handle finds its resources.
#[derive(Clone)]
enum Source {
    Control(mpsc::Sender<Request>),
    Fake(Arc<FakeResources>),
}

/// A worker asks for a resource.
pub(crate) struct Request {
    pub(crate) key: ResourceKey,
    pub(crate) reply: oneshot::Sender<Receiver>,
}

/// The receiver of one resource.
pub(crate) enum Receiver {
    Endpoints(watch::Receiver<State<Arc<Endpoints>>>),
    Port(watch::Receiver<State<PortPolicy>>),
    Target(watch::Receiver<State<Arc<TargetSnapshot>>>),
}

/// The sender of one resource, and with it the state in force.
pub(crate) enum Publisher {
    Endpoints(watch::Sender<State<Arc<Endpoints>>>),
    Port(watch::Sender<State<PortPolicy>>),
    Target(watch::Sender<State<Arc<TargetSnapshot>>>),
}

impl Publisher {
    /// A pending resource of the kind that `key` names; `None` where the kind is not subscribed to by workers.
    pub(crate) fn pending(key: &ResourceKey) -> Option<Publisher> {
        Some(match key {
            ResourceKey::Endpoints(_) => Publisher::Endpoints(watch::Sender::new(State::Pending)),
            ResourceKey::Port(_) => Publisher::Port(watch::Sender::new(State::Pending)),
            ResourceKey::Target(_) => Publisher::Target(watch::Sender::new(State::Pending)),
            ResourceKey::Trust | ResourceKey::Workload => return None,
        })
    }

    pub(crate) fn subscribe(&self) -> Receiver {
        match self {
            Publisher::Endpoints(sender) => Receiver::Endpoints(sender.subscribe()),
            Publisher::Port(sender) => Receiver::Port(sender.subscribe()),
            Publisher::Target(sender) => Receiver::Target(sender.subscribe()),
        }
    }

    pub(crate) fn receivers(&self) -> usize {
        match self {
            Publisher::Endpoints(sender) => sender.receiver_count(),
            Publisher::Port(sender) => sender.receiver_count(),
            Publisher::Target(sender) => sender.receiver_count(),
        }
    }
}

/// The control thread's ends of what a [`ControlHandle`] holds.
pub(crate) struct ControlEnds {
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) workload: watch::Sender<State<Arc<Workload>>>,
    pub(crate) credentials: watch::Sender<Option<Arc<Credentials>>>,
}

impl ControlHandle {
    pub(crate) fn new(metrics: Arc<Metrics>, bootstrap_networks: Arc<[IpNet]>) -> (ControlHandle, ControlEnds) {
        let (request_sender, requests) = mpsc::channel(REQUESTS);
        let (workload, workload_receiver) = watch::channel(State::Pending);
        let (credentials, credentials_receiver) = watch::channel(None);
        let handle = ControlHandle {
            source: Source::Control(request_sender),
            workload: workload_receiver,
            credentials: credentials_receiver,
            bootstrap_networks,
            metrics,
        };
        (handle, ControlEnds { requests, workload, credentials })
    }

    /// A handle without a control thread: whoever holds the [`FakeControl`] pushes the states. The pod's own workload is
    /// known from the start.
    pub fn fake(metrics: Arc<Metrics>, bootstrap_networks: Vec<IpNet>) -> (FakeControl, ControlHandle) {
        let resources = Arc::new(FakeResources::default());
        let own = FakeControl::own_workload(bootstrap_networks.clone());
        let (workload, workload_receiver) = watch::channel(State::Known(Arc::new(own)));
        let (credentials, credentials_receiver) = watch::channel(None);
        let handle = ControlHandle {
            source: Source::Fake(resources.clone()),
            workload: workload_receiver,
            credentials: credentials_receiver,
            bootstrap_networks: bootstrap_networks.into(),
            metrics,
        };
        (FakeControl { resources, workload, credentials }, handle)
    }
}

/// Pushes states in place of a control thread: tests and budgets of the data path. States may be pushed before or after
/// a worker asks.
pub struct FakeControl {
    resources: Arc<FakeResources>,
    workload: watch::Sender<State<Arc<Workload>>>,
    credentials: watch::Sender<Option<Arc<Credentials>>>,
}

impl FakeControl {
    /// What a handle says of its pod before anything is pushed.
    pub fn own_workload(cluster_networks: Vec<IpNet>) -> Workload {
        let own = || Arc::from("fake");
        let workload = WorkloadRef { namespace: own(), kind: "Pod".into(), name: own(), pod: own() };
        Workload {
            workload,
            draining: false,
            cluster_networks,
            node_ips: Vec::new(),
            probes: Vec::new(),
            grpc_probes: Vec::new(),
        }
    }

    /// Publishes what stands behind an address.
    pub fn target(&self, address: SocketAddr, snapshot: TargetSnapshot) {
        self.resources.publish(&ResourceKey::Target(address), |publisher| {
            if let Publisher::Target(sender) = publisher {
                sender.send_replace(State::Known(Arc::new(snapshot)));
            }
        });
    }

    /// Publishes the endpoints of a Service port.
    pub fn endpoints(&self, backend: &BackendKey, endpoints: Endpoints) {
        self.resources.publish(&ResourceKey::Endpoints(backend.clone()), |publisher| {
            if let Publisher::Endpoints(sender) = publisher {
                sender.send_replace(State::Known(Arc::new(endpoints)));
            }
        });
    }

    /// Publishes the policy of a port.
    pub fn port(&self, port: u16, policy: PortPolicy) {
        self.resources.publish(&ResourceKey::Port(port), |publisher| {
            if let Publisher::Port(sender) = publisher {
                sender.send_replace(State::Known(policy));
            }
        });
    }

    /// Publishes the pod's own workload.
    pub fn workload(&self, workload: Workload) {
        self.workload.send_replace(State::Known(Arc::new(workload)));
    }

    /// Publishes credentials.
    pub fn credentials(&self, credentials: Arc<Credentials>) {
        self.credentials.send_replace(Some(credentials));
    }
}

#[derive(Default)]
struct FakeResources {
    // allowed: a test's stand-in for the control thread, never on a request's path
    #[allow(clippy::disallowed_types)]
    publishers: std::sync::Mutex<HashMap<ResourceKey, Publisher>>,
}

impl FakeResources {
    fn receiver(&self, key: &ResourceKey) -> Receiver {
        let mut receiver = None;
        self.publish(key, |publisher| receiver = Some(publisher.subscribe()));
        receiver.expect("publish calls its closure once")
    }

    fn publish(&self, key: &ResourceKey, publish: impl FnOnce(&Publisher)) {
        let mut publishers = self.publishers.lock().expect("no holder of this lock panics");
        let publisher = publishers
            .entry(key.clone())
            .or_insert_with(|| Publisher::pending(key).expect("workers ask for targets, endpoints and ports only"));
        publish(publisher);
    }
}

/// Requests of workers under way: one per connection that waits for a new target, so far more than ever wait at once.
const REQUESTS: usize = 256;
