//! A worker: one thread, one tokio `LocalRuntime`, and everything mutable of the data path.
//!
//! `app` spawns N of them. Nothing here is shared between workers but the crew's counts of open connections; control
//! publishes immutable snapshots, workers read them. With one worker no connection ever crosses a thread.

mod connections;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use minimesh_api::model::{DefaultPolicy, Direction, Workload};
use minimesh_balance::Rng;
use minimesh_identity::Credentials;
use minimesh_runtime::drain;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep};
use tracing::debug;

pub(crate) use self::connections::{Connections, Open};
use crate::code_pages;
use crate::control::{ControlHandle, State};
use crate::error::{Error, Kind, Side};
use crate::inbound::{self, Ports};
use crate::metrics::WorkerCells;
use crate::net::{Dialer, Dialled, Origin, Place, serve, tune};
use crate::observe::{Observe, Observer};
use crate::outbound::{self, Targets};

/// What a worker is given at its start.
pub struct WorkerConfig {
    /// Its number, from 0.
    pub index: usize,
    /// Its place among the workers, from [`crew`].
    pub seat: Seat,
    /// Listeners for the application's connections. Only one worker accepts; it hands sockets to the least loaded.
    pub outbound: Vec<std::net::TcpListener>,
    /// Listeners for peers' connections.
    pub inbound: Vec<std::net::TcpListener>,
    /// The way to the control thread.
    pub control: ControlHandle,
    /// Held while there are connections.
    pub drain: drain::Watch,
    /// SO_MARK of what the proxy dials, where interception exempts by mark.
    pub mark: Option<u32>,
    /// Ports of the proxy itself.
    pub ports: OwnPorts,
    /// Inbound policy of ports that the control plane has not said anything of.
    pub default_policy: DefaultPolicy,
    /// Largest HTTP head, bytes; 64 KiB by default.
    pub head_limit: usize,
    /// HTTP/2 streams of clients, beyond which a connection with its share gets no more; 4096 by default.
    pub max_streams: usize,
    /// How long clients may take.
    pub patience: Patience,
    /// How original destinations are learnt.
    pub origin: Origin,
    /// What is said of single requests; by default nothing.
    pub observe: Observe,
}

/// The mark for deletion is heeded so long after the last change. At once would be better; but a GOAWAY in the midst of answers has
/// been seen to cut one HTTP/2 answer in 200 000 (tests/tests/requests.rs in turmoil, 2 runs of 3; none of 2 with this pause).
const HEED: Duration = Duration::from_millis(500);

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of an HTTP head to its end. Honest clients send a head in one piece; this is for lost packets, and
    /// against those who hold connections by sending a byte now and then. nginx allows as much.
    pub head: Duration,
    /// For the next request on a connection. The default is longer than any server keeps an idle connection (nginx 75 s, Go
    /// none, JVMs 20 s to 10 min), so that a client that counts on its own time-out never meets ours; dead peers are found by
    /// TCP's keepalive before. Counted in minutes, rounded up.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { head: Duration::from_secs(60), idle: Duration::from_secs(3600) }
    }
}

/// The proxy's own ports: connections meant for them would come back.
#[derive(Clone, Debug, Default)]
pub struct OwnPorts(pub Vec<u16>);

impl OwnPorts {
    pub(crate) fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

/// A worker's place among its peers: the sockets that it is handed, and everyone's load.
pub struct Seat {
    index: usize,
    handed: mpsc::UnboundedReceiver<Handed>,
    desks: Arc<[Desk]>,
}

/// Where a worker is handed sockets.
struct Desk {
    socket: mpsc::UnboundedSender<Handed>,
    open: AtomicUsize,
}

/// A socket that another worker accepted.
pub(crate) struct Handed {
    tcp: std::net::TcpStream,
    peer: SocketAddr,
    direction: Direction,
}

/// Seats for `count` workers.
pub fn crew(count: usize) -> Vec<Seat> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    let desks: Arc<[Desk]> =
        senders.into_iter().map(|socket| Desk { socket, open: AtomicUsize::new(0) }).collect::<Vec<_>>().into();
    let seats = receivers.into_iter().enumerate();
    seats.map(|(index, handed)| Seat { index, handed, desks: Arc::clone(&desks) }).collect()
}

/// A worker's thread.
pub struct Running {
    thread: Option<JoinHandle<()>>,
    ended: oneshot::Receiver<std::convert::Infallible>,
}

impl Running {
    /// Waits, blocking, for the thread's end.
    pub fn join(mut self) -> std::thread::Result<()> {
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }

    /// Resolves at the thread's end with what is known of its cause.
    pub async fn died(&mut self) -> String {
        // an error is the message: the sender went with the thread
        let _ = (&mut self.ended).await;
        let panic = self.thread.take().and_then(|thread| thread.join().err());
        let text = panic.as_ref().and_then(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| panic.downcast_ref::<&str>().copied())
        });
        text.unwrap_or("it ended by itself").to_owned()
    }
}

/// Starts a worker's thread; it ends when the drain has started and its connections are gone.
pub fn spawn(config: WorkerConfig) -> io::Result<Running> {
    let (report, started) = std::sync::mpsc::channel();
    let (alive, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("worker-{}", config.index)).spawn(move || {
        let _alive = alive;
        let mut builder = tokio::runtime::Builder::new_current_thread();
        match builder.enable_all().build_local(Default::default()) {
            Ok(runtime) => {
                let _ = report.send(Ok(()));
                runtime.block_on(run(config));
            }
            Err(error) => drop(report.send(Err(error))),
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the worker's thread ended at once")))?;
    Ok(Running { thread: Some(thread), ended })
}

/// The life of a worker; must run inside a `LocalRuntime`.
pub(crate) async fn run(config: WorkerConfig) {
    let WorkerConfig { seat, outbound, inbound, .. } = &config;
    debug!(
        worker = config.index,
        outbound = outbound.len(),
        inbound = inbound.len(),
        workers = seat.desks.len(),
        "started"
    );
    let (worker, handed, listeners) = Worker::new(config);
    let mut tasks = JoinSet::new();
    for (listener, direction) in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let accepting = Rc::clone(&worker);
                let take = move |tcp, peer| accepting.take(tcp, peer, direction);
                tasks.spawn_local(serve(listener, Rc::clone(&worker), take));
            }
            Err(error) => {
                tracing::error!(%error, "cannot use a listener");
                return;
            }
        }
    }
    tasks.spawn_local(Rc::clone(&worker).take_handed(handed));
    tasks.spawn_local(Rc::clone(&worker).heed());
    tasks.spawn_local(Rc::clone(&worker).sweep());
    tasks.spawn_local(Rc::clone(&worker).keep_flushing());

    tokio::select! {
        () = worker.drain.started() => {}
        ended = tasks.join_next() => if let Some(Err(error)) = ended
            && error.is_panic()
            && !worker.drain.is_started()
        {
            // Without its accept loop or its sweep a worker is a trap for connections: `app` ends the process.
            std::panic::resume_unwind(error.into_panic());
        }
    }
    worker.drain.started().await;
    worker.end_connections().await;
    worker.observer.end().await;
}

/// What the connections of one worker share.
pub(crate) struct Worker {
    pub(crate) control: ControlHandle,
    pub(crate) cells: Arc<WorkerCells>,
    pub(crate) dialer: Dialer,
    pub(crate) dialled: Dialled,
    pub(crate) place: Place,
    pub(crate) targets: Targets,
    pub(crate) ports: Ports,
    pub(crate) random: RefCell<Rng>,
    pub(crate) default_policy: DefaultPolicy,
    pub(crate) head_limit: usize,
    pub(crate) max_streams: usize,
    pub(crate) head_timeout: Duration,
    /// Minutes that a connection may be idle.
    idle_limit: u32,
    /// Everything ends at once. Whoever sets it wakes all connections.
    pub(crate) stopped: Cell<bool>,
    /// The proxy drains: idle connections are closed, the others after their request.
    pub(crate) closing: Cell<bool>,
    /// The pod is marked for deletion: inbound connections are closed after their request.
    pub(crate) leaving: Cell<bool>,
    /// Counts what may have turned a decision about an open connection: policies, networks.
    pub(crate) turns: Cell<u64>,
    pub(crate) connections: Connections,
    pub(crate) observer: Observer,
    /// Since the start, by the sweep's count: the clock of connections that are idle.
    minutes: Cell<u32>,
    /// Copies of requests on their way.
    pub(crate) mirrors: Cell<usize>,
    drain: drain::Watch,
    credentials: RefCell<Published<Option<Arc<Credentials>>>>,
    workload: RefCell<Published<State<Arc<Workload>>>>,
    index: usize,
    desks: Arc<[Desk]>,
}

/// A published value, read again only when it has changed: asking costs one atomic load.
struct Published<T> {
    receiver: watch::Receiver<T>,
    value: T,
}

impl<T: Clone> Published<T> {
    fn new(mut receiver: watch::Receiver<T>) -> Published<T> {
        let value = receiver.borrow_and_update().clone();
        Published { receiver, value }
    }

    fn get(&mut self) -> &T {
        // an error means that control is gone: the last state stays
        if self.receiver.has_changed().unwrap_or(false) {
            self.value = self.receiver.borrow_and_update().clone();
        }
        &self.value
    }
}

type Listeners = Vec<(std::net::TcpListener, Direction)>;

impl Worker {
    pub(crate) fn new(config: WorkerConfig) -> (Rc<Worker>, mpsc::UnboundedReceiver<Handed>, Listeners) {
        let seed = std::collections::hash_map::RandomState::new();
        let worker = Worker {
            cells: config.control.metrics().worker(),
            dialer: Dialer { mark: config.mark },
            dialled: Dialled::default(),
            place: Place::new(config.origin, config.ports),
            targets: Targets::default(),
            ports: Ports::default(),
            random: RefCell::new(Rng::new(std::hash::BuildHasher::hash_one(&seed, config.index))),
            default_policy: config.default_policy,
            head_limit: config.head_limit,
            max_streams: config.max_streams,
            head_timeout: config.patience.head,
            idle_limit: u32::try_from(config.patience.idle.as_secs().div_ceil(60)).unwrap_or(u32::MAX),
            stopped: Cell::new(false),
            closing: Cell::new(false),
            leaving: Cell::new(false),
            turns: Cell::new(0),
            connections: Connections::default(),
            observer: config.observe.observer(std::hash::BuildHasher::hash_one(&seed, ("span", config.index))),
            minutes: Cell::new(0),
            mirrors: Cell::new(0),
            drain: config.drain,
            credentials: RefCell::new(Published::new(config.control.credentials())),
            workload: RefCell::new(Published::new(config.control.workload())),
            control: config.control,
            index: config.seat.index,
            desks: config.seat.desks,
        };
        let inbound = config.inbound.into_iter().map(|listener| (listener, Direction::Inbound));
        let outbound = config.outbound.into_iter().map(|listener| (listener, Direction::Outbound));
        (Rc::new(worker), config.seat.handed, outbound.chain(inbound).collect())
    }

    /// Resolves when the drain starts.
    pub(crate) async fn drain_started(&self) {
        self.drain.started().await;
    }

    /// Lets connections finish, and makes them once the drain is forced.
    async fn end_connections(&self) {
        self.closing.set(true);
        self.connections.wake_all();
        tokio::select! {
            () = self.connections.none() => return,
            () = self.drain.forced() => {}
        }
        self.stopped.set(true);
        self.connections.wake_all();
        // Every connection sees `stopped` at its next poll; what does not answer must not keep the process.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.connections.none()).await;
    }

    async fn keep_flushing(self: Rc<Self>) {
        self.observer.keep_flushing().await;
    }

    /// This pod's own identity, as logs name it.
    pub(crate) fn own_identity(&self) -> Option<Arc<str>> {
        self.credentials().ok().map(|credentials| credentials.id().to_shared())
    }

    /// When a connection becomes idle, for [`Worker::is_idle_too_long`].
    pub(crate) fn idle_since(&self) -> u32 {
        self.minutes.get()
    }

    /// Whether a client's connection has been idle for so long that nobody will miss it. Idle connections are woken for this
    /// once a minute: they need no timer of their own.
    pub(crate) fn is_idle_too_long(&self, since: u32) -> bool {
        self.minutes.get().wrapping_sub(since) > self.idle_limit
    }

    /// The credentials in force.
    pub(crate) fn credentials(&self) -> Result<Arc<Credentials>, Error> {
        self.credentials.borrow_mut().get().clone().ok_or(Error::new(Kind::NoCredentials, Side::Internal))
    }

    /// Their generation; 0 without any.
    pub(crate) fn generation(&self) -> u64 {
        self.credentials.borrow_mut().get().as_ref().map_or(0, |credentials| credentials.generation())
    }

    /// Whether an address is inside the cluster.
    pub(crate) fn in_cluster(&self, address: std::net::IpAddr) -> bool {
        let mut workload = self.workload.borrow_mut();
        match workload.get() {
            State::Known(workload) => workload.cluster_networks.iter().any(|network| network.contains(&address)),
            State::Pending => self.control.bootstrap_networks().iter().any(|network| network.contains(&address)),
        }
    }

    /// Whether an address is the pod's own node's. False while the control plane has not said where that is.
    pub(crate) fn is_node(&self, address: std::net::IpAddr) -> bool {
        let mut workload = self.workload.borrow_mut();
        workload.get().known().is_some_and(|workload| workload.node_ips.contains(&address))
    }

    /// Name of this pod, once it is known.
    pub(crate) fn pod(&self) -> Option<Arc<str>> {
        let mut workload = self.workload.borrow_mut();
        workload.get().known().map(|own| Arc::clone(&own.workload.pod))
    }

    /// Whether the pod's own spec has the node ask anything of a port.
    pub(crate) fn is_probed(&self, port: u16) -> bool {
        let mut workload = self.workload.borrow_mut();
        let Some(own) = workload.get().known() else { return false };
        own.probes.iter().any(|probe| probe.port == port) || own.grpc_probes.contains(&port)
    }

    /// Whether it has the node ask exactly this.
    pub(crate) fn is_probe(&self, port: u16, method: &str, path: &[u8], query: &[u8]) -> bool {
        let mut workload = self.workload.borrow_mut();
        let Some(own) = workload.get().known() else { return false };
        let http = || {
            let mut probes = own.probes.iter().filter(|probe| probe.port == port);
            probes.any(|probe| probe.path.as_bytes() == path && probe.query.as_bytes() == query)
        };
        match method {
            "GET" => http(),
            "POST" => path == GRPC_HEALTH && query.is_empty() && own.grpc_probes.contains(&port),
            _ => false,
        }
    }

    /// A connection was accepted: it goes to the least loaded worker.
    fn take(self: &Rc<Self>, tcp: TcpStream, peer: SocketAddr, direction: Direction) {
        let open = |desk: &Desk| desk.open.load(Ordering::Relaxed);
        let own = open(&self.desks[self.index]);
        let least = self.desks.iter().min_by_key(|desk| open(desk)).filter(|desk| open(desk) < own);
        match least {
            None => self.begin(tcp, peer, direction),
            Some(desk) => {
                if let Ok(tcp) = tcp.into_std() {
                    // counted here, so that a burst does not all go to the same worker
                    desk.open.fetch_add(1, Ordering::Relaxed);
                    if desk.socket.send(Handed { tcp, peer, direction }).is_err() {
                        desk.open.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    async fn take_handed(self: Rc<Self>, mut handed: mpsc::UnboundedReceiver<Handed>) {
        while let Some(Handed { tcp, peer, direction }) = handed.recv().await {
            self.desks[self.index].open.fetch_sub(1, Ordering::Relaxed);
            if let Ok(tcp) = TcpStream::from_std(tcp) {
                self.begin(tcp, peer, direction);
            }
        }
    }

    /// Starts the task of a connection.
    fn begin(self: &Rc<Self>, tcp: TcpStream, peer: SocketAddr, direction: Direction) {
        if let Err(error) = tune(&tcp) {
            debug!(%error, "cannot set socket options");
        }
        let worker = Rc::clone(self);
        self.cells.accepted();
        self.desks[self.index].open.fetch_add(1, Ordering::Relaxed);
        // two tasks and not one for both: what peers' connections need is in boxes, and they would pay for the other's size
        match direction {
            Direction::Inbound => {
                tokio::task::spawn_local(worker.carry_in(tcp, peer));
            }
            Direction::Outbound => {
                tokio::task::spawn_local(worker.carry_out(tcp));
            }
        }
    }

    /// The task of a peer's connection.
    async fn carry_in(self: Rc<Self>, tcp: TcpStream, peer: SocketAddr) {
        let _open = Open::new(&self).await;
        inbound::serve(&self, tcp, peer).await;
    }

    /// The task of a connection of the application. Its size is what an idle connection costs: a test holds it.
    pub(crate) async fn carry_out(self: Rc<Self>, tcp: TcpStream) {
        let _open = Open::new(&self).await;
        outbound::serve(&self, tcp).await;
    }

    /// What control says of this pod reaches its connections soon: from the moment in which a pod is marked for deletion, each
    /// request that goes elsewhere is one that its application cannot take with it.
    async fn heed(self: Rc<Self>) {
        let mut workload = self.control.workload();
        loop {
            self.leaving.set(workload.borrow_and_update().known().is_some_and(|workload| workload.draining));
            self.turn();
            if workload.changed().await.is_err() {
                // the end of control: nothing will come
                return std::future::pending().await;
            }
            sleep(HEED).await;
        }
    }

    /// A decision about an open connection may have turned.
    fn turn(&self) {
        self.turns.set(self.turns.get() + 1);
        self.connections.wake_all();
    }

    /// Once a second: what has become too old goes, and what control has published of ports reaches connections that are idle.
    async fn sweep(self: Rc<Self>) {
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = 0;
        for second in 1u64.. {
            tick.tick().await;
            let minute = second.is_multiple_of(60);
            if minute {
                self.minutes.set(self.minutes.get().wrapping_add(1));
            }
            let changed = self.ports.sweep();
            self.targets.sweep();
            if second.is_multiple_of(UNHEARD_SWEEPS) {
                self.dialled.sweep();
            }
            if changed {
                self.turn();
            } else if minute {
                self.connections.wake_all();
            }
            quiet = if self.connections.take_activity() { 0 } else { quiet + 1 };
            match quiet {
                QUIET => crate::io::trim(),
                ASLEEP => code_pages::unmap(),
                _ => {}
            }
        }
    }
}

const SWEEP: Duration = Duration::from_secs(1);
/// What a kubelet asks of an application that speaks gRPC.
const GRPC_HEALTH: &[u8] = b"/grpc.health.v1.Health/Check";

/// Sweeps from one look at peers that acknowledge nothing to the next: a system call for each connection.
const UNHEARD_SWEEPS: u64 = 5;

/// Sweeps without a request after which free buffers go back to the system.
const QUIET: u32 = 10;
/// Sweeps without a request after which code goes unmapped: the next request pays for it with some hundred soft page faults.
const ASLEEP: u32 = 30;

#[cfg(test)]
mod tests;
