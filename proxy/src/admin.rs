//! What the two admin ports serve: metrics and health to anyone, the inner state and the log level to this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use minimesh_api::model::{DefaultPolicy, Workload};
use minimesh_identity::Credentials;
use minimesh_runtime::admin::{Audience, Call, Error, Reply, Server};
use minimesh_runtime::{logging, process};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::args::{Args, LOCAL};
use crate::control::{Control, ControlHandle, State};
use crate::metrics::{Exposition, Metrics, Policy};

/// What readiness looks at. Once the first policy is there the control plane plays no part in it.
#[derive(Clone)]
struct Readiness {
    credentials: watch::Receiver<Option<Arc<Credentials>>>,
    workload: watch::Receiver<State<Arc<Workload>>>,
}

/// Somebody wants to see the control thread's state, which does not leave its thread.
pub(crate) struct DumpRequest(oneshot::Sender<Value>);

/// Binds both ports.
pub(crate) async fn bind(
    args: &Args,
    handle: &ControlHandle,
    logs: logging::Handle,
) -> Result<(Server, Server, mpsc::Receiver<DumpRequest>), Error> {
    let own = [args.outbound_port, args.inbound_port, args.admin_port, args.admin_local_port].map(NonZeroU16::get);
    let network = SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.admin_port.get()));
    let local = SocketAddr::from((LOCAL, args.admin_local_port.get()));
    let readiness = Readiness { credentials: handle.credentials(), workload: handle.workload() };
    let network = Server::bind(network, Audience::Network)
        .await?
        .health(registry(handle.metrics()), move || readiness.missing().map(str::to_owned))
        .get("/probe/tcp/", move |call| probe(call, own));
    let (ask, asked) = mpsc::channel(4);
    let logs = Arc::new(logs);
    let shown = Arc::clone(&logs);
    let local = Server::bind(local, Audience::Machine)
        .await?
        .get("/dump", move |_| dump(ask.clone()))
        .get("/log-level", move |_| {
            let level = shown.current();
            async move { Reply::text(StatusCode::OK, level) }
        })
        .post("/log-level", move |call| {
            let reply = set_level(&logs, &call);
            async move { reply }
        });
    Ok((network, local, asked))
}

/// Answers `/dump` from the control thread.
pub(crate) async fn answer_dumps(
    mut asked: mpsc::Receiver<DumpRequest>,
    control: Rc<Control>,
    handle: ControlHandle,
    default_policy: DefaultPolicy,
) {
    while let Some(DumpRequest(reply)) = asked.recv().await {
        // Whoever asked may be gone.
        let _ = reply.send(describe(&control, &handle, default_policy));
    }
}

impl Readiness {
    fn missing(&self) -> Option<&'static str> {
        if self.credentials.borrow().is_none() {
            return Some("not ready: no certificate yet (see the log for why)");
        }
        if self.workload.borrow().known().is_none() {
            return Some("not ready: the control plane has not said anything of this pod yet");
        }
        None
    }
}

/// `tcpSocket` probes, which the injector turns into this: a connection from outside to an intercepted port is always accepted,
/// by the proxy. Connects to the application where the kubelet would have, at the pod's own address.
async fn probe(call: Call, own: [u16; 4]) -> Reply {
    let port = match call.rest.parse::<NonZeroU16>() {
        Ok(port) if !own.contains(&port.get()) => port.get(),
        Ok(port) => return Reply::text(StatusCode::NOT_FOUND, format_args!("port {port} is the proxy's own")),
        Err(_) => return Reply::text(StatusCode::NOT_FOUND, "the path ends in a port from 1 to 65535"),
    };
    let address = SocketAddr::new(call.local.ip(), port);
    match timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Reply::text(StatusCode::OK, "connected"),
        Ok(Err(error)) => Reply::text(StatusCode::SERVICE_UNAVAILABLE, format_args!("{address}: {error}")),
        Err(_) => Reply::text(StatusCode::SERVICE_UNAVAILABLE, format_args!("{address}: not connected in 10 s")),
    }
}

fn registry(metrics: &Arc<Metrics>) -> Registry {
    let mut registry = Registry::default();
    process::register(&mut registry, "proxy");
    registry.register_collector(Box::new(Exposition(Arc::clone(metrics))));
    registry
}

async fn dump(ask: mpsc::Sender<DumpRequest>) -> Reply {
    let (reply, answer) = oneshot::channel();
    if ask.send(DumpRequest(reply)).await.is_err() {
        return Reply::text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending");
    }
    match answer.await {
        Ok(value) => Reply::ok("application/json", format!("{value:#}\n")),
        Err(_) => Reply::text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending"),
    }
}

fn describe(control: &Control, handle: &ControlHandle, default_policy: DefaultPolicy) -> Value {
    let credentials = handle.credentials().borrow().clone().map(|credentials| {
        let left = credentials.leaf().not_after().duration_since(std::time::SystemTime::now()).unwrap_or_default();
        json!({
            "identity": credentials.id().as_str(),
            "serial": credentials.leaf().serial(),
            "expires_in_seconds": left.as_secs(),
            "roots": credentials.bundle().roots().len(),
            "generation": credentials.generation(),
        })
    });
    let workload = handle.workload().borrow().known().map(|workload| {
        let networks: Vec<String> = workload.cluster_networks.iter().map(ToString::to_string).collect();
        json!({
            "namespace": &*workload.workload.namespace,
            "kind": &*workload.workload.kind,
            "name": &*workload.workload.name,
            "pod": &*workload.workload.pod,
            "draining": workload.draining,
            "cluster_networks": networks,
            "node_ips": workload.node_ips,
            "probes": workload.probes.iter().map(|probe| format!("{} {}", probe.port, probe.path)).collect::<Vec<_>>(),
        })
    });
    // Versions are hashes of 64 bits; JSON's readers keep 53.
    let resources: serde_json::Map<String, Value> = control
        .describe()
        .into_iter()
        .map(|(name, version)| (name, if version == 0 { Value::Null } else { format!("{version:016x}").into() }))
        .collect();
    let ports: serde_json::Map<String, Value> = control
        .ports()
        .into_iter()
        .map(|(port, known)| {
            let policy = Policy::from(known.map_or(default_policy, |known| known.policy));
            let from = if known.is_some() { "control plane" } else { "--default-policy" };
            (port.to_string(), json!({ "policy": policy.0, "from": from }))
        })
        .collect();
    json!({ "credentials": credentials, "workload": workload, "ports": ports, "resources": resources })
}

fn set_level(logs: &logging::Handle, call: &Call) -> Reply {
    match logs.set(String::from_utf8_lossy(&call.body).trim()) {
        Ok(()) => Reply::text(StatusCode::OK, logs.current()),
        Err(error) => Reply::text(StatusCode::BAD_REQUEST, error),
    }
}

/// The probe's own time-out is in the kubelet; this one bounds what a caller can leave behind.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn ask(rest: &str) -> StatusCode {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 4191));
        let call = Call {
            path: String::new(),
            rest: rest.to_owned(),
            query: None,
            body: bytes::Bytes::new(),
            peer: local,
            local,
        };
        probe(call, [4140, 4143, 4191, 4192]).await.status
    }

    #[tokio::test]
    async fn a_probe_says_whether_the_application_listens() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
        let port = listener.local_addr().expect("bound").port().to_string();
        assert_eq!(ask(&port).await, StatusCode::OK);
        drop(listener);
        assert_eq!(ask(&port).await, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_probe_of_no_port_or_of_the_proxys_own_finds_nothing() {
        for rest in ["", "0", "70000", "80/", "x", "4143"] {
            assert_eq!(ask(rest).await, StatusCode::NOT_FOUND, "{rest:?}");
        }
    }
}
