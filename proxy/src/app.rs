//! Wiring: every part of the proxy in the order in which it starts, and the order in which it ends.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use minimesh_api::model::Workload;
use minimesh_runtime::{admin as admin_server, drain, logging, signals};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::args::Args;
use crate::control::{Clock, Control, ControlConfig, ControlHandle, Dialer, State};
use crate::error::CODES;
use crate::metrics::Metrics;
use crate::net::Origin;
use crate::observe::{self, Observe};
use crate::worker::{self, OwnPorts, Patience, Running, WorkerConfig};
use crate::{admin, code_pages, cpu};

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An admin port cannot be bound.
    #[error("{0}; choose others with --admin-port and --admin-local-port")]
    Admin(#[from] admin_server::Error),
    /// Arguments that contradict each other.
    #[error("{0}")]
    Arguments(String),
    /// A port for traffic cannot be bound.
    #[error(
        "cannot listen on {address}: {error}; is another proxy running in this pod, or is the port used by the application?"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// The log settings are wrong.
    #[error(transparent)]
    Logging(#[from] logging::Error),
    /// A thread or a runtime could not be made.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The trust bundle cannot be used.
    #[error("{0}; the proxy trusts nobody without it (--trust-bundle)")]
    Trust(minimesh_identity::Error),
}

/// Runs the proxy until SIGTERM or SIGINT has drained it.
pub fn run(args: Args) -> Result<(), Error> {
    let logs = logging::init(&args.logging)?;
    // This thread is the control thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(control_thread(args, logs))
}

async fn control_thread(args: Args, logs: logging::Handle) -> Result<(), Error> {
    let mut signals = signals::Listener::new()?;
    let ports = args.own_ports().map_err(Error::Arguments)?;
    let metrics = Metrics::new(CODES);
    let (handle, ends) = ControlHandle::new(Arc::clone(&metrics), args.cluster_networks.clone().into());
    let (network, local, dumps) = admin::bind(&args, &handle, logs).await?;
    let control = Control::new(control_config(&args), ends, metrics).map_err(Error::Trust)?;

    let (trigger, watch) = drain::channel();
    let pod = observe::Pod {
        namespace: &args.pod_namespace,
        name: &args.pod_name,
        workload: handle.workload(),
        mark: args.mark,
    };
    let (observe, ends) = Observe::start(&args.observe, pod, handle.metrics().observe())?;
    let mut workers = start_workers(&args, &handle, &ports, (watch, observe))?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        pod = %format_args!("{}/{}", args.pod_namespace, args.pod_name),
        outbound = args.outbound_port, inbound = args.inbound_port, admin = args.admin_port,
        workers = workers.len(), "proxy started"
    );
    tokio::spawn(forget_start(handle.workload()));
    tokio::spawn(network.serve(std::future::pending()));
    tokio::spawn(local.serve(std::future::pending()));
    // Discovery, reports and metrics go on while connections end.
    let ended = tokio::select! {
        () = control.run() => "the conversation with the control plane ended by itself".to_owned(),
        () = admin::answer_dumps(dumps, control.clone(), handle, args.default_policy.into()) => "the admin port ended by itself".to_owned(),
        why = end(&mut signals, trigger, &mut workers, args.drain_timeout) => match why {
            None => {
                if timeout(LAST_REPORT, control.last_report()).await.is_err() {
                    warn!("the control plane did not take the last report");
                }
                ends.wait().await;
                return Ok(());
            }
            Some(died) => died,
        },
    };
    Err(Error::Start(io::Error::other(ended)))
}

/// With the control plane's first word of this pod the start is over, and what it ran through is not run again.
async fn forget_start(mut workload: watch::Receiver<State<Arc<Workload>>>) {
    if workload.wait_for(|workload| workload.known().is_some()).await.is_ok() {
        code_pages::unmap();
    }
}

/// Waits for a signal, then until the connections have ended; a second signal ends at once. Answers where a worker died.
async fn end(
    signals: &mut signals::Listener,
    trigger: drain::Trigger,
    workers: &mut [Running],
    timeout: Duration,
) -> Option<String> {
    tokio::select! {
        died = first_to_die(workers) => return Some(died),
        signal = signals.next() => info!(%signal, ?timeout, "ending: connections in flight may finish"),
    }
    tokio::select! {
        outcome = trigger.drain(timeout) => info!(?outcome, "ended"),
        again = signals.next() => warn!(signal = %again, "ending at once"),
    }
    None
}

/// No worker ends before the drain. Without one of them connections would be accepted and never answered.
async fn first_to_die(workers: &mut [Running]) -> String {
    let mut ends: Vec<_> = workers.iter_mut().map(|worker| Box::pin(worker.died())).collect();
    poll_fn(|cx| {
        let died = ends.iter_mut().enumerate().find_map(|(index, end)| match end.as_mut().poll(cx) {
            Poll::Ready(why) => Some(format!("worker {index} died: {why}")),
            Poll::Pending => None,
        });
        died.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

fn control_config(args: &Args) -> ControlConfig {
    ControlConfig {
        dialer: Dialer::Tcp { replicas: args.control_plane.clone(), mark: args.mark },
        expected: args.control_plane_identity.clone(),
        trust_bundle: args.trust_bundle.clone(),
        token_file: args.token_file.clone(),
        report_interval: args.report_interval,
        clock: Clock::system(),
    }
}

/// Binds the listeners and starts the workers; the first one accepts.
fn start_workers(
    args: &Args,
    handle: &ControlHandle,
    ports: &[u16; 4],
    (drain, observe): (drain::Watch, Observe),
) -> Result<Vec<Running>, Error> {
    let count = args.workers.map_or_else(|| cpu::limit().unwrap_or(1).min(MOST_WORKERS), |workers| workers.get());
    // Loopback: only this pod's own connections can be meant. Inbound: every address, each family by itself.
    let mut outbound = listeners(args.outbound_port.get(), [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])?;
    let mut inbound = listeners(args.inbound_port.get(), [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()])?;
    let mut threads = Vec::new();
    for (index, seat) in worker::crew(count).into_iter().enumerate() {
        threads.push(worker::spawn(WorkerConfig {
            index,
            seat,
            outbound: std::mem::take(&mut outbound),
            inbound: std::mem::take(&mut inbound),
            control: handle.clone(),
            drain: drain.clone(),
            mark: args.mark,
            ports: OwnPorts(ports.to_vec()),
            default_policy: args.default_policy.into(),
            head_limit: args.max_head,
            max_streams: args.max_streams,
            patience: Patience { head: args.head_timeout, idle: args.idle_timeout },
            origin: Origin::Kernel,
            observe: observe.clone(),
        })?);
    }
    Ok(threads)
}

/// IPv4 must be had; IPv6 where the kernel has it.
fn listeners(port: u16, addresses: [IpAddr; 2]) -> Result<Vec<TcpListener>, Error> {
    let mut bound = Vec::new();
    for address in addresses.map(|ip| SocketAddr::new(ip, port)) {
        match listen(address) {
            Ok(listener) => bound.push(listener),
            Err(error) if address.is_ipv6() && is_missing(&error) => {}
            Err(error) => return Err(Error::Listen { address, error }),
        }
    }
    Ok(bound)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// No IPv6 in this kernel, or none on this pod's interfaces.
fn is_missing(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// More only by --workers: beyond, each worker's share of connections becomes too small to reuse.
const MOST_WORKERS: usize = 4;
/// What was counted last may be lost with the process; a pod's end must not wait for it.
const LAST_REPORT: Duration = Duration::from_secs(1);
/// The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4_096;
