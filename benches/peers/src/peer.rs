//! A pair of somebody else's proxies, redirected to as a mesh would do it; or nothing.

use minimesh_benches::load::Failure;
use minimesh_tests::wait;
use minimesh_tests::world::{Pod, Process, World};

use crate::certificates::Certificates;
use crate::configuration::{envoy, haproxy};
use crate::round::{Pair, SERVICES, origin};
use crate::subject::Kind;
use crate::{Task, linkerd2};

pub(crate) fn start<'w>(world: &'w World, task: &Task, kind: Kind) -> Result<Pair<'w>, Failure> {
    let server = world.pod("server").unmeshed().start();
    let client = world.pod("client").unmeshed().start();
    let mut held = vec![origin(&server)?];
    let peer = match kind {
        Kind::Envoy { http2_between } => envoys(task, &server, http2_between)?,
        Kind::Haproxy => haproxies(task, &server)?,
        Kind::Linkerd2 => linkerd2_proxies(task, &client, &server)?,
        Kind::Direct | Kind::Minimesh(_) => {
            SERVICES.iter().for_each(|(_, _, address)| server.add_address((*address).into()));
            return Ok(Pair { client, proxies: Vec::new(), held });
        }
    };
    let (outbound, inbound) = (peer.outbound, peer.inbound);
    redirect(&client, "output", |port, address| {
        format!("ip daddr {address} tcp dport {port} redirect to :{}", outbound(port))
    })?;
    redirect(&server, "prerouting", |port, _| format!("iifname eth0 tcp dport {port} redirect to :{}", inbound(port)))?;
    let at_server = run(&server, &peer.server, peer.is_ready);
    let at_client = run(&client, &peer.client, peer.is_ready);
    let proxies = [&at_client, &at_server].into_iter().map(Process::id_outside).collect::<Option<Vec<u32>>>();
    held.extend(peer.beside);
    held.extend([at_server, at_client]);
    Ok(Pair { client, proxies: proxies.ok_or("a proxy is gone")?, held })
}

/// Where the client's proxy takes connections to a port of the application, if it has a port for each.
pub(crate) fn outbound(port: u16) -> u16 {
    20_000 + port
}

/// Where the server's does.
pub(crate) fn inbound(port: u16) -> u16 {
    30_000 + port
}

/// How a pair is started, and reached.
struct Peer<'w> {
    /// Command lines of the proxies.
    client: Vec<String>,
    server: Vec<String>,
    /// Where the client's takes connections to a port of the application.
    outbound: fn(u16) -> u16,
    /// Where the server's does.
    inbound: fn(u16) -> u16,
    /// Whether the proxy in a pod takes connections.
    is_ready: fn(&Pod<'_>) -> bool,
    /// What runs for them already.
    beside: Vec<Process<'w>>,
}

impl Peer<'_> {
    /// A pair with a port for each of the application's.
    fn with_ports(client: Vec<String>, server: Vec<String>) -> Self {
        let is_ready = |pod: &Pod<'_>| {
            let place = if pod.name() == "client" { outbound } else { inbound };
            SERVICES.iter().all(|(_, port, _)| pod.listens(place(*port)))
        };
        Peer { client, server, outbound, inbound, is_ready, beside: Vec::new() }
    }
}

fn haproxies<'w>(task: &Task, server: &Pod<'w>) -> Result<Peer<'w>, Failure> {
    let program = task.haproxy.clone()?.display().to_string();
    let certificates = Certificates::make(&server.scratch())?;
    let command = |side, text: String| -> Result<Vec<String>, Failure> {
        let path = server.scratch().join(format!("haproxy-{side}.cfg"));
        std::fs::write(&path, text)?;
        Ok(vec![program.clone(), "-db".to_owned(), "-f".to_owned(), path.display().to_string()])
    };
    Ok(Peer::with_ports(
        command("client", haproxy::client(&certificates, server.address()))?,
        command("server", haproxy::server(&certificates))?,
    ))
}

fn envoys<'w>(task: &Task, server: &Pod<'w>, http2_between: bool) -> Result<Peer<'w>, Failure> {
    let program = task.envoy.clone()?.display().to_string();
    let certificates = Certificates::make(&server.scratch())?;
    let command = |side, value: serde_json::Value| -> Result<Vec<String>, Failure> {
        let path = server.scratch().join(format!("envoy-{side}.json"));
        std::fs::write(&path, value.to_string())?;
        let path = path.display().to_string();
        let arguments = ["-c", &path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
        Ok([program.clone()].into_iter().chain(arguments.map(str::to_owned)).collect())
    };
    Ok(Peer::with_ports(
        command("client", envoy::client(&certificates, server.address(), http2_between))?,
        command("server", envoy::server(&certificates))?,
    ))
}

fn linkerd2_proxies<'w>(task: &Task, client: &Pod<'w>, server: &Pod<'w>) -> Result<Peer<'w>, Failure> {
    let program = task.linkerd2.clone()?;
    let certificates = Certificates::make(&server.scratch())?;
    let beside = [client, server].map(|pod| linkerd2::beside(pod, &certificates, server.address()));
    Ok(Peer {
        client: linkerd2::command(&program, client, &certificates)?,
        server: linkerd2::command(&program, server, &certificates)?,
        outbound: |_| linkerd2::OUTBOUND,
        inbound: |_| linkerd2::INBOUND,
        // its admin port is the one that ours has
        is_ready: |pod| pod.admin("/ready").status == 200,
        beside: beside.into_iter().collect::<Result<_, _>>()?,
    })
}

/// Programs one chain of a pod.
fn redirect(pod: &Pod<'_>, hook: &str, rule: impl Fn(u16, std::net::Ipv4Addr) -> String) -> Result<(), Failure> {
    let rules: String = SERVICES.iter().map(|(_, port, address)| rule(*port, *address) + "\n").collect();
    // by number: nft takes the name dstnat for one hook and not for the other
    let chain = format!("type nat hook {hook} priority -100; policy accept;");
    let text = format!("table ip peers {{\n chain {hook} {{\n{chain}\n{rules}}}\n}}\n");
    let path = pod.scratch().join(format!("{}.nft", pod.name()));
    std::fs::write(&path, text)?;
    pod.spawn("nft", &["nft", "-f", &path.display().to_string()]).succeed();
    Ok(())
}

/// Starts a proxy, and waits until it is ready.
fn run<'w>(pod: &Pod<'w>, command: &[String], is_ready: fn(&Pod<'_>) -> bool) -> Process<'w> {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let process = pod.spawn("proxy", &command);
    wait::eventually(&format!("the proxy of the {} is ready", pod.name()), || {
        process.expect_running();
        is_ready(pod).then_some(())
    });
    process
}
