//! A pair of somebody else's proxies, redirected to as a mesh would do it; or nothing.

use std::net::SocketAddr;

use minimesh_benches::load::Failure;
use minimesh_tests::wait;
use minimesh_tests::world::{Pod, Process, World};

use crate::Task;
use crate::certificates::Certificates;
use crate::configuration::{envoy, haproxy};
use crate::round::{Pair, SERVICES, origin};
use crate::subject::Kind;

pub(crate) fn start<'w>(world: &'w World, task: &Task, kind: Kind) -> Result<Pair<'w>, Failure> {
    let server = world.pod("server").unmeshed().start();
    let client = world.pod("client").unmeshed().start();
    let mut held = vec![origin(&server)?];
    let Peer { client: at_client, server: at_server } = match kind {
        Kind::Envoy { http2_between } => envoys(task, &server, http2_between)?,
        Kind::Haproxy => haproxies(task, &server)?,
        Kind::Direct | Kind::Minimesh(_) => {
            SERVICES.iter().for_each(|(_, _, address)| server.add_address((*address).into()));
            return Ok(Pair { client, proxies: Vec::new(), held });
        }
    };
    redirect(&client, "output", |port, address| {
        format!("ip daddr {address} tcp dport {port} redirect to :{}", outbound(port))
    })?;
    redirect(&server, "prerouting", |port, _| format!("iifname eth0 tcp dport {port} redirect to :{}", inbound(port)))?;
    held.push(run(&server, &at_server)?);
    held.push(run(&client, &at_client)?);
    let proxies = held[1..].iter().rev().map(Process::id_outside).collect::<Option<Vec<u32>>>();
    Ok(Pair { client, proxies: proxies.ok_or("a proxy is gone")?, held })
}

/// Where the client's proxy takes connections to a port of the application.
pub(crate) fn outbound(port: u16) -> u16 {
    20_000 + port
}

/// Where the server's does.
pub(crate) fn inbound(port: u16) -> u16 {
    30_000 + port
}

/// The command lines of both.
struct Peer {
    client: Vec<String>,
    server: Vec<String>,
}

fn haproxies(task: &Task, server: &Pod<'_>) -> Result<Peer, Failure> {
    let program = task.haproxy.clone()?.display().to_string();
    let certificates = Certificates::make(&server.scratch())?;
    let command = |side, text: String| -> Result<Vec<String>, Failure> {
        let path = server.scratch().join(format!("haproxy-{side}.cfg"));
        std::fs::write(&path, text)?;
        Ok(vec![program.clone(), "-db".to_owned(), "-f".to_owned(), path.display().to_string()])
    };
    Ok(Peer {
        client: command("client", haproxy::client(&certificates, server.address()))?,
        server: command("server", haproxy::server(&certificates))?,
    })
}

fn envoys(task: &Task, server: &Pod<'_>, http2_between: bool) -> Result<Peer, Failure> {
    let program = task.envoy.clone()?.display().to_string();
    let certificates = Certificates::make(&server.scratch())?;
    let command = |side, value: serde_json::Value| -> Result<Vec<String>, Failure> {
        let path = server.scratch().join(format!("envoy-{side}.json"));
        std::fs::write(&path, value.to_string())?;
        let path = path.display().to_string();
        let arguments = ["-c", &path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
        Ok([program.clone()].into_iter().chain(arguments.map(str::to_owned)).collect())
    };
    Ok(Peer {
        client: command("client", envoy::client(&certificates, server.address(), http2_between))?,
        server: command("server", envoy::server(&certificates))?,
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

/// Starts a proxy, and waits until it listens everywhere.
fn run<'w>(pod: &Pod<'w>, command: &[String]) -> Result<Process<'w>, Failure> {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let process = pod.spawn("proxy", &command);
    let place = if pod.name() == "client" { outbound } else { inbound };
    for (_, port, _) in SERVICES {
        let port: u16 = place(port);
        let address = SocketAddr::from((pod.address(), port));
        wait::eventually(&format!("the proxy listens at {address}"), || {
            process.expect_running();
            pod.listens(port).then_some(())
        });
    }
    Ok(process)
}
