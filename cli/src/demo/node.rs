//! `demo-role init`: the node. First process of the PID namespace; when it ends, the kernel ends everything in it.
//!
//! Owns the node's network, the live-state folder, DNS, and one process per pod; plays kubelet and endpoint controller by
//! asking `Cluster` what to do. One thread: what pods tell, probes and manifest changes arrive as events and are dealt with in
//! order.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::DirBuilderExt, fs::OpenOptionsExt, net::UnixStream as StdStream},
    },
    path::Path,
    process::{Command, Stdio},
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use minimesh_index::{Event as ObjectEvent, resource::Timestamp};
use tokio::{
    sync::mpsc,
    task::{LocalSet, spawn_local},
};

use super::{
    children::{Child, Children, Exit},
    cluster::{Action, Cluster, PodKey, Settings},
    dns, lifeline, manifests,
    messages::{self, FromNode, FromPod, NodeSpec, PodPlan, Sender, ToNode, ToPod},
    mounts, network, probe,
    state::StateFolder,
};
use crate::{Failure, run_dir};

/// Stdin is the socket to the supervisor, stdout the host's listener or nothing.
pub(crate) fn run() -> Result<(), Failure> {
    let socket = messages::inherited()?;
    lifeline::hold(socket.as_fd())?;
    let stdout: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut supervisor, tell) = {
        let _context = runtime.enter();
        messages::channel::<ToNode, FromNode>(socket)?
    };
    LocalSet::new().block_on(&runtime, async {
        let Some(ToNode::Start(spec)) = supervisor.next().await else { return };
        let (events, mut inbox) = mpsc::unbounded_channel();
        let stop = events.clone();
        spawn_local(async move {
            // anything but a message to go on, and the end of the socket, is a request to stop
            let _ = supervisor.next().await;
            let _ = stop.send(Event::Stop);
        });
        match Node::make(spec, stdout, events, tell).await {
            Ok(mut node) => node.live(&mut inbox).await,
            Err((reason, mut tell)) => tell.send(&FromNode::Refused(reason)).await,
        }
    });
    Ok(())
}

/// What the node reacts to.
enum Event {
    Manifests(Vec<ObjectEvent>),
    Warning(String),
    Pod(PodKey, FromPod),
    /// Its process ended although nobody asked for it.
    PodDied(PodKey, Exit),
    PodGone(PodKey),
    Probed {
        pod: PodKey,
        container: String,
        ready: bool,
    },
    Again,
    /// The visitor need not wait any longer.
    Open,
    Stop,
}

struct Node {
    spec: NodeSpec,
    cluster: Cluster,
    children: Children,
    listener: Option<OwnedFd>,
    state: StateFolder,
    zone: Rc<RefCell<dns::Zone>>,
    processes: HashMap<PodKey, PodProcess>,
    events: mpsc::UnboundedSender<Event>,
    tell: Sender<FromNode>,
    said: Said,
}

/// A pod's process, from outside.
struct PodProcess {
    tell: mpsc::UnboundedSender<ToPod>,
    asked_to_end: Rc<Cell<bool>>,
    probes: BTreeMap<String, tokio::task::AbortHandle>,
}

/// What the supervisor knows already.
#[derive(Default)]
struct Said {
    control_plane: bool,
    pods: Option<(usize, usize)>,
    warnings: HashSet<String>,
    /// Workloads and containers whose end was reported.
    ends: HashSet<(String, String)>,
}

type Refused = (String, Sender<FromNode>);

impl Node {
    async fn make(
        spec: NodeSpec,
        stdout: OwnedFd,
        events: mpsc::UnboundedSender<Event>,
        mut tell: Sender<FromNode>,
    ) -> Result<Node, Refused> {
        let (state, zone) = match Self::prepare(&spec, &events).await {
            Ok(prepared) => prepared,
            Err(reason) => return Err((reason, tell)),
        };
        let children = match Children::new() {
            Ok(children) => children,
            Err(error) => return Err((format!("cannot watch the demo's processes: {error}"), tell)),
        };
        tell.send(&FromNode::NodeReady).await;
        let later = events.clone();
        spawn_local(async move {
            tokio::time::sleep(VISITOR_WAITS).await;
            let _ = later.send(Event::Open);
        });
        let settings = Settings {
            control_plane: control_plane_arguments(&spec),
            exposed: spec.exposed.clone(),
            random: Box::new(random_source()),
            run: spec.run.clone(),
        };
        let listener = spec.exposed.is_some().then_some(stdout);
        Ok(Node {
            cluster: Cluster::new(settings),
            spec,
            children,
            listener,
            state,
            zone,
            processes: HashMap::new(),
            events,
            tell,
            said: Said::default(),
        })
    }

    /// Mounts, network, DNS, and the watch over the manifests.
    async fn prepare(
        spec: &NodeSpec,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<(StateFolder, Rc<RefCell<dns::Zone>>), String> {
        let folder = |name: &str| {
            let path = spec.run.join(name);
            let made = fs::DirBuilder::new().mode(0o700).create(&path);
            made.map(|()| path.clone()).map_err(|error| run_dir::cannot("make", &path, &error))
        };
        let scratch = folder("etc")?;
        folder("ca")?;
        folder("pods")?;
        mounts::prepare_node(&scratch)
            .map_err(|error| format!("cannot make the demo's view of the file system: {error}"))?;
        let _ = nix::unistd::sethostname("minimesh-demo");
        network::prepare_node().await.map_err(|error| error.to_string())?;
        let zone = Rc::new(RefCell::new(dns::Zone::default()));
        dns::serve(Rc::clone(&zone))
            .await
            .map_err(|error| format!("cannot serve DNS on {}: {error}", network::NODE))?;
        let state = StateFolder::new(folder("state")?, folder("state.new")?);
        let sink = events.clone();
        manifests::watch(&spec.manifests, move |change| {
            let event = match change {
                manifests::Change::Objects(objects) => Event::Manifests(objects),
                manifests::Change::Warning(text) => Event::Warning(text),
            };
            let _ = sink.send(event);
        })?;
        Ok((state, zone))
    }

    /// Until everything has ended.
    async fn live(&mut self, inbox: &mut mpsc::UnboundedReceiver<Event>) {
        let mut stopping = false;
        loop {
            let Some(event) = inbox.recv().await else { return };
            stopping |= matches!(event, Event::Stop);
            self.handle(event).await;
            // what has arrived meanwhile is one change
            while let Ok(event) = inbox.try_recv() {
                stopping |= matches!(event, Event::Stop);
                self.handle(event).await;
            }
            self.reconcile().await;
            if stopping && self.processes.is_empty() {
                self.tell.send(&FromNode::Stopped).await;
                return;
            }
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Manifests(objects) => self.cluster.apply(objects),
            Event::Warning(text) => self.warn(text).await,
            Event::Pod(key, message) => self.heard(&key, message).await,
            Event::PodDied(key, exit) => {
                self.cluster.died(&key);
                if exit != Exit::Status(0) {
                    self.warn(format!("the process of pod {}/{} {exit}", key.namespace, key.name)).await;
                }
            }
            Event::PodGone(key) => {
                self.processes.remove(&key);
                self.cluster.gone(&key);
            }
            Event::Probed { pod, container, ready } => self.cluster.probed(&pod, &container, ready),
            Event::Again => {}
            Event::Open => self.cluster.open(),
            Event::Stop => self.cluster.stop(),
        }
    }

    async fn heard(&mut self, key: &PodKey, message: FromPod) {
        self.cluster.heard(key, &message);
        let pod = format!("{}/{}", key.namespace, key.name);
        match message {
            FromPod::Started { container } => self.start_probe(key, &container),
            FromPod::Ended { container, how, again_in_ms } => {
                self.stop_probe(key, &container);
                if let Some(delay) = again_in_ms {
                    self.warn_of_end(key, &container, &how, Duration::from_millis(delay)).await;
                }
            }
            FromPod::Failed(reason) if !self.said.control_plane => {
                self.tell.send(&FromNode::Refused(format!("pod {pod}: {reason}"))).await;
            }
            FromPod::Failed(reason) => self.warn(format!("pod {pod}: {reason}")).await,
            FromPod::SidecarReady => {}
        }
    }

    /// Once for each container of a workload: a crash loop is one piece of news.
    async fn warn_of_end(&mut self, key: &PodKey, container: &str, how: &str, delay: Duration) {
        let Some((_, pod)) = self.cluster.pods().find(|(candidate, _)| *candidate == key) else { return };
        if !self.said.ends.insert((pod.workload().to_owned(), container.to_owned())) {
            return;
        }
        let folder = self.spec.run.join("pods").join(format!("{}_{}", key.namespace, key.name));
        let log = folder.join(format!("{container}.log"));
        let last = fs::read_to_string(&log).unwrap_or_default();
        let last = last.lines().last().map(|line| format!(" ({line})")).unwrap_or_default();
        let (seconds, log) = (delay.as_secs_f32(), log.display());
        let PodKey { namespace, name } = key;
        self.warn(format!("{namespace}/{name}: {container} {how}{last}; again in {seconds} s, output in {log}")).await;
    }

    async fn reconcile(&mut self) {
        for action in self.cluster.reconcile(now()) {
            match action {
                Action::Start { key, plan, token } => {
                    if let Err(error) = self.start(&key, *plan, &token) {
                        let reason = match error.kind() {
                            io::ErrorKind::StorageFull => run_dir::cannot("write to", &self.spec.run, &error),
                            _ => error.to_string(),
                        };
                        self.warn(format!("cannot start pod {}/{}: {reason}", key.namespace, key.name)).await;
                        self.cluster.gone(&key);
                        self.try_again_later();
                    }
                }
                Action::Stop { key, grace_ms } => match self.processes.get(&key) {
                    Some(process) => {
                        process.asked_to_end.set(true);
                        let _ = process.tell.send(ToPod::Stop { grace_ms });
                    }
                    None => self.cluster.gone(&key),
                },
            }
        }
        if let Err(error) = self.state.write(&self.cluster.live()) {
            self.warn(run_dir::cannot("write the live state to", &self.spec.run, &error)).await;
            self.try_again_later();
        }
        self.zone.borrow_mut().replace(self.cluster.names());
        self.say_progress().await;
    }

    /// Everything of a pod that exists before its process does.
    fn start(&mut self, key: &PodKey, plan: PodPlan, token: &str) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&plan.folder)?;
        write_secret(&plan.folder.join(super::cluster::TOKEN), token)?;
        let (ours, theirs) = StdStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.args(["demo-role", "pod"]).stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        if let Some(listener) = self.listener.as_ref().filter(|_| plan.containers.iter().any(|c| c.takes_listener)) {
            command.arg("--takes-listener").stdout(listener.try_clone()?);
        }
        let mut child: Child = self.children.spawn(&mut command)?;
        let (mut receiver, mut sender) = messages::channel::<FromPod, ToPod>(ours)?;
        let (tell, mut orders) = mpsc::unbounded_channel();
        let _ = tell.send(ToPod::Start(Box::new(plan)));
        spawn_local(async move {
            while let Some(order) = orders.recv().await {
                sender.send(&order).await;
            }
        });
        let asked_to_end = Rc::new(Cell::new(false));
        let (events, own, asked) = (self.events.clone(), key.clone(), Rc::clone(&asked_to_end));
        spawn_local(async move {
            while let Some(message) = receiver.next().await {
                let _ = events.send(Event::Pod(own.clone(), message));
            }
            let exit = child.wait().await;
            if !asked.get() {
                let _ = events.send(Event::PodDied(own.clone(), exit));
                // its successor would likely meet the same fate
                tokio::time::sleep(AGAIN).await;
            }
            let _ = events.send(Event::PodGone(own));
        });
        self.processes.insert(key.clone(), PodProcess { tell, asked_to_end, probes: BTreeMap::new() });
        Ok(())
    }

    fn start_probe(&mut self, key: &PodKey, container: &str) {
        let Some((_, pod)) = self.cluster.pods().find(|(candidate, _)| *candidate == key) else { return };
        let Some((_, probe)) = pod.probes().find(|(name, _)| *name == container) else { return };
        let Some(check) = probe::Check::new(pod, probe) else { return };
        let (events, pod, container) = (self.events.clone(), key.clone(), container.to_owned());
        let name = container.clone();
        let task = spawn_local(check.run(move |ready| {
            let _ = events.send(Event::Probed { pod: pod.clone(), container: container.clone(), ready });
        }));
        if let Some(process) = self.processes.get_mut(key)
            && let Some(before) = process.probes.insert(name, task.abort_handle())
        {
            before.abort();
        }
    }

    fn stop_probe(&mut self, key: &PodKey, container: &str) {
        let probe = self.processes.get_mut(key).and_then(|process| process.probes.remove(container));
        if let Some(probe) = probe {
            probe.abort();
        }
    }

    async fn say_progress(&mut self) {
        if !self.said.control_plane && self.cluster.control_plane_is_ready() {
            self.said.control_plane = true;
            self.tell.send(&FromNode::ControlPlaneReady).await;
        }
        let (ready, wanted) = self.cluster.progress();
        if self.said.pods != Some((ready, wanted)) {
            self.said.pods = Some((ready, wanted));
            self.tell.send(&FromNode::Pods { ready, wanted }).await;
        }
    }

    /// Says a sentence once.
    async fn warn(&mut self, text: String) {
        if self.said.warnings.insert(text.clone()) {
            self.tell.send(&FromNode::Warning(text)).await;
        }
    }

    fn try_again_later(&self) {
        let events = self.events.clone();
        spawn_local(async move {
            tokio::time::sleep(AGAIN).await;
            let _ = events.send(Event::Again);
        });
    }
}

impl Drop for PodProcess {
    fn drop(&mut self) {
        for probe in self.probes.values() {
            probe.abort();
        }
    }
}

fn control_plane_arguments(spec: &NodeSpec) -> Vec<String> {
    vec![
        "control-plane".into(),
        format!("--manifests={}", spec.manifests.display()),
        format!("--manifests={}", spec.run.join("state").display()),
        format!("--ca-dir={}", spec.run.join("ca").display()),
        "--listen=0.0.0.0:8086".into(),
        format!("--operator-socket={}", spec.operator_socket.display()),
        "--trust-domain=cluster.local".into(),
        format!("--cluster-networks={}", network::CLUSTER_NETWORKS),
    ]
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use io::Write;
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// The kernel's random bits.
fn random_source() -> impl FnMut() -> u64 {
    use io::Read;
    let mut source = fs::File::open("/dev/urandom");
    move || {
        let mut bytes = [0; 8];
        let read = source.as_mut().map(|source| source.read_exact(&mut bytes));
        assert!(
            matches!(read, Ok(Ok(()))),
            "/dev/urandom gives random bits on every Linux; a token without them would be no secret"
        );
        u64::from_ne_bytes(bytes)
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_secs().cast_signed())
}

/// For the shop to open: requests before that would only be counted as failed.
const VISITOR_WAITS: Duration = Duration::from_secs(5);
/// After a failure of the machine, such as no free process id.
const AGAIN: Duration = Duration::from_secs(2);
