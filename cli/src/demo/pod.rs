//! `demo-role pod`: one pod. Owns its network namespace, its view of `/etc`, and its processes: the redirect step, the
//! sidecar, then the containers.
//!
//! Started by the node, told what to run over its stdin. A process that ends is started again with a growing delay. Ends
//! when it is told to, or when the node is gone; containers first, the sidecar last, as Kubernetes ends native sidecars.

use std::{
    cell::Cell,
    ffi::OsStr,
    fs, io,
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
    process::{Command, Stdio},
    rc::Rc,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, watch},
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, timeout},
};

use super::{
    children::{Children, Exit},
    lifeline, logs,
    messages::{self, ContainerPlan, FromPod, PodPlan, Receiver, Sender, SidecarPlan, ToPod},
    mounts, network,
};
use crate::{Failure, run_dir};

/// What every process of the pod is started from.
struct Sandbox {
    plan: PodPlan,
    children: Children,
    /// The host's listener, for the container that takes it.
    listener: Option<TcpListener>,
    events: mpsc::UnboundedSender<FromPod>,
    /// Milliseconds of grace once the pod is to end.
    ending: watch::Receiver<Option<u64>>,
}

/// Stdin is the socket to the node, stdout the host's listener or nothing.
pub(crate) fn run(takes_listener: bool) -> Result<(), Failure> {
    let socket = messages::inherited()?;
    lifeline::hold(socket.as_fd())?;
    let listener = match takes_listener {
        true => Some(TcpListener::from(io::stdout().as_fd().try_clone_to_owned()?)),
        false => None,
    };
    // what outlives its container is ours to end
    nix::sys::prctl::set_child_subreaper(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (receiver, sender) = {
        let _context = runtime.enter();
        messages::channel(socket)?
    };
    LocalSet::new().block_on(&runtime, live(receiver, sender, listener));
    Ok(())
}

/// From the plan to the end.
async fn live(mut node: Receiver<ToPod>, mut tell: Sender<FromPod>, listener: Option<TcpListener>) {
    let Some(ToPod::Start(plan)) = node.next().await else { return };
    let (events, mut heard) = mpsc::unbounded_channel();
    let (end, ending) = watch::channel(None);
    // the only task that is not of the pod itself: the node hears what happens until the very end
    let telling = tokio::task::spawn_local(async move {
        while let Some(event) = heard.recv().await {
            tell.send(&event).await;
        }
    });
    let serving = serve(*plan, listener, events.clone(), ending);
    let listening = async {
        let grace = match node.next().await {
            Some(ToPod::Stop { grace_ms }) => grace_ms,
            // the node is gone: so is everything, at once
            Some(ToPod::Start(_)) | None => 0,
        };
        end.send_replace(Some(grace));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = serving => if let Err(reason) = result {
            let _ = events.send(FromPod::Failed(reason));
        },
        () = listening => {}
    }
    drop(events);
    let _ = timeout(Duration::from_millis(200), telling).await;
}

/// Makes the sandbox and runs the processes until the pod has ended.
async fn serve(
    plan: PodPlan,
    listener: Option<TcpListener>,
    events: mpsc::UnboundedSender<FromPod>,
    ending: watch::Receiver<Option<u64>>,
) -> Result<(), String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("cannot {what}: {error}");
    network::enter_pod(plan.ip).await.map_err(|error| error.to_string())?;
    let rest = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    unshare(rest).map_err(|error| failed("make a pod's mount namespace", &error))?;
    nix::unistd::sethostname(&plan.name).map_err(|error| failed("set a pod's host name", &error))?;
    mounts::prepare_pod(&plan.folder, &plan.namespace, &plan.name, plan.ip).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => run_dir::cannot("write to", &plan.folder, &error),
        _ => failed("show a pod its own /etc files", &error),
    })?;
    let children = Children::new().map_err(|error| failed("watch a pod's processes", &error))?;
    let sandbox = Rc::new(Sandbox { plan, children, listener, events, ending });

    let mut sidecar = JoinSet::new();
    let (sidecar_end, sidecar_ending) = watch::channel(None);
    if let Some(plan) = &sandbox.plan.sidecar {
        sandbox.redirect(plan).await?;
        let (sandbox, proxy) = (Rc::clone(&sandbox), sandbox.proxy_container(plan));
        let ready = Rc::clone(&sandbox);
        sidecar.spawn_local(async move { sandbox.keep_running(&proxy, sidecar_ending).await });
        let first = ready.watch_sidecar();
        tokio::select! {
            () = first => {}
            () = ready.ended() => {}
        }
    }
    for container in &sandbox.plan.init_containers {
        sandbox.run_to_end(container).await;
    }
    let mut containers = JoinSet::new();
    for index in 0..sandbox.plan.containers.len() {
        let sandbox = Rc::clone(&sandbox);
        containers.spawn_local(async move {
            let container = sandbox.plan.containers[index].clone();
            let ending = sandbox.ending.clone();
            sandbox.keep_running(&container, ending).await;
        });
    }
    sandbox.ended().await;
    while containers.join_next().await.is_some() {}
    sidecar_end.send_replace(Some(SIDECAR_GRACE_MS));
    while sidecar.join_next().await.is_some() {}
    Ok(())
}

impl Sandbox {
    async fn ended(&self) {
        // an error means that the sender is gone, which is an end as well
        let _ = self.ending.clone().wait_for(Option::is_some).await;
    }

    /// Programs interception, before any process could be missed by it.
    async fn redirect(&self, plan: &SidecarPlan) -> Result<(), String> {
        let container = own("minimesh-redirect", &plan.redirect);
        let mut child = self.start(&container).map_err(|error| format!("cannot start the redirect step: {error}"))?;
        match child.wait().await {
            Exit::Status(0) => Ok(()),
            exit => {
                let text = fs::read_to_string(self.log(&container)).unwrap_or_default();
                let said: Vec<&str> = text.lines().rev().take(3).collect();
                let said = said.into_iter().rev().collect::<Vec<_>>().join("; ");
                Err(format!("the redirect step {exit}: {said}"))
            }
        }
    }

    fn proxy_container(&self, plan: &SidecarPlan) -> ContainerPlan {
        own(SIDECAR, &plan.proxy)
    }

    /// Returns when the sidecar answers for the first time. It needs the control plane's public roots first.
    async fn watch_sidecar(&self) {
        while !answers_ready().await {
            sleep(POLL).await;
        }
        let _ = self.events.send(FromPod::SidecarReady);
    }

    async fn run_to_end(&self, container: &ContainerPlan) {
        let delay = Delay::default();
        while self.ending.borrow().is_none() {
            let exit = self.once(container, &mut self.ending.clone()).await;
            if exit == Some(Exit::Status(0)) {
                return;
            }
            let wait = delay.next(Instant::now(), Instant::now());
            self.say_ended(container, exit, Some(wait));
            tokio::select! { () = sleep(wait) => {} () = self.ended() => {} }
        }
    }

    /// Starts the process again whenever it ends, until the pod is to end; then waits for it to be gone.
    async fn keep_running(&self, container: &ContainerPlan, mut ending: watch::Receiver<Option<u64>>) {
        let delay = Delay::default();
        let is_sidecar = container.name == SIDECAR;
        if let (true, Some(plan)) = (is_sidecar, &self.plan.sidecar) {
            while !plan.trust_bundle.exists() && ending.borrow().is_none() {
                sleep(POLL).await;
            }
        }
        let mut again = false;
        while ending.borrow().is_none() {
            let started = Instant::now();
            let exit = match again && is_sidecar {
                // the first time, serve() waits for it
                true => tokio::select! {
                    exit = self.once(container, &mut ending) => exit,
                    never = async { self.watch_sidecar().await; std::future::pending::<Option<Exit>>().await } => never,
                },
                false => self.once(container, &mut ending).await,
            };
            if ending.borrow().is_some() {
                return;
            }
            let wait = delay.next(started, Instant::now());
            self.say_ended(container, exit, Some(wait));
            again = true;
            tokio::select! { () = sleep(wait) => {} _ = ending.wait_for(Option::is_some) => {} }
        }
    }

    /// Runs the process once. On the pod's end: SIGTERM, and SIGKILL when the grace is over.
    async fn once(&self, container: &ContainerPlan, ending: &mut watch::Receiver<Option<u64>>) -> Option<Exit> {
        let mut child = match self.start(container) {
            Ok(child) => child,
            Err(error) => {
                logs::note(&self.log(container), &format!("cannot start: {error}"));
                return None;
            }
        };
        let _ = self.events.send(FromPod::Started { container: container.name.clone() });
        let grace = tokio::select! {
            exit = child.wait() => {
                child.kill();
                return Some(exit);
            }
            grace = ending.wait_for(Option::is_some) => grace.ok().and_then(|grace| *grace).unwrap_or(0),
        };
        child.terminate();
        let exit = timeout(Duration::from_millis(grace), child.wait()).await.ok();
        child.kill();
        match exit {
            Some(exit) => Some(exit),
            None => Some(child.wait().await),
        }
    }

    fn start(&self, container: &ContainerPlan) -> io::Result<super::children::Child> {
        let log = self.log(container);
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["demo-role", "exec", "--parent"])
            .arg(std::process::id().to_string())
            .args(container.working_dir.iter().flat_map(|folder| [OsStr::new("--directory"), folder.as_os_str()]))
            .arg("--")
            .args(&container.command)
            .envs(&container.env)
            .stdin(match &self.listener {
                Some(listener) if container.takes_listener => Stdio::from(OwnedFd::from(listener.try_clone()?)),
                _ => Stdio::null(),
            });
        let output = logs::pipe(&log)?;
        command.stderr(output.try_clone()?).stdout(output);
        self.children.spawn(&mut command)
    }

    fn log(&self, container: &ContainerPlan) -> std::path::PathBuf {
        self.plan.folder.join(format!("{}.log", container.name))
    }

    fn say_ended(&self, container: &ContainerPlan, exit: Option<Exit>, again: Option<Duration>) {
        let how = exit.map_or_else(|| "could not be started".to_owned(), |exit| exit.to_string());
        let again_in_ms = again.map(|delay| delay.as_millis() as u64);
        let _ = self.events.send(FromPod::Ended { container: container.name.clone(), how, again_in_ms });
    }
}

/// A process of ours.
fn own(name: &str, arguments: &[String]) -> ContainerPlan {
    let command = std::iter::once("minimesh".to_owned()).chain(arguments.iter().cloned()).collect();
    ContainerPlan { name: name.into(), command, env: Default::default(), working_dir: None, takes_listener: false }
}

/// `GET /ready` of the sidecar's admin port says 200.
async fn answers_ready() -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", ADMIN_PORT)).await?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        io::Result::Ok(head.ends_with(b" 200"))
    };
    timeout(Duration::from_secs(1), ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}

/// Doubles from half a second to half a minute, and starts over after a minute without an end. Kubernetes' begins at ten
/// seconds; nobody waits that long at a terminal.
#[derive(Default)]
struct Delay {
    last: Cell<Duration>,
}

impl Delay {
    fn next(&self, started: Instant, ended: Instant) -> Duration {
        let last = if ended - started > Duration::from_secs(60) { Duration::ZERO } else { self.last.get() };
        let next = (last * 2).clamp(Duration::from_millis(500), Duration::from_secs(30));
        self.last.set(next);
        next
    }
}

const SIDECAR: &str = minimesh_index::resource::Pod::SIDECAR;
const ADMIN_PORT: u16 = 4191;
/// How often something that is about to appear is looked for.
const POLL: Duration = Duration::from_millis(20);
/// The application is gone by then: what is left are copies in flight.
const SIDECAR_GRACE_MS: u64 = 700;
