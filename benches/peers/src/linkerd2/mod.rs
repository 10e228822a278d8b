//! A pair of linkerd2-proxies, set up as its injector does it, each with a control plane of ours beside it in the pod.
//!
//! Its own control plane needs a Kubernetes. What a proxy hears from it for a Service without routes, and a port that takes
//! mutual TLS alone, is said here in the same messages, once; there is never news.
//!
//! ```text
//! answers    what is said
//! messages   in which form
//! server     over which connection
//! ```

mod answers;
mod messages;
mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use minimesh_benches::load::Failure;
use minimesh_benches::origin::{HTTP1, HTTP2, READY, SINK};
use minimesh_tests::wait;
use minimesh_tests::world::{Pod, Process};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::certificates::{Certificates, dns_name, identity};
use answers::Cluster;

/// Where the client's takes connections of its pod, whatever they are to.
pub(crate) const OUTBOUND: u16 = 4140;
/// Where the server's takes connections to its pod.
pub(crate) const INBOUND: u16 = answers::INBOUND;

/// What the control plane of a pod is started with.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    /// Address of the server's pod.
    server: Ipv4Addr,
    /// The certificate of this pod's proxy, DER.
    leaf: PathBuf,
}

/// Is such a control plane, until the process is ended.
pub(crate) fn control_plane(plan: &str) -> Result<(), Failure> {
    let plan: Plan = serde_json::from_str(plan)?;
    let cluster = Cluster {
        server: plan.server,
        server_name: dns_name("server"),
        client: identity("client"),
        leaf: std::fs::read(&plan.leaf)?,
        valid_until: i64::try_from((UNIX_EPOCH.elapsed()? + A_DAY).as_secs())?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(CONTROL_PLANE).await?;
        println!("{READY}");
        match server::serve(listener, cluster).await? {}
    })
}

/// Starts the control plane of a pod; it listens when this returns.
pub(crate) fn beside<'w>(pod: &Pod<'w>, certificates: &Certificates, server: Ipv4Addr) -> Result<Process<'w>, Failure> {
    let own = std::env::current_exe()?.display().to_string();
    let plan = Plan { server, leaf: certificates.identity(pod.name()).join("leaf.der") };
    let process = pod.spawn("control plane", &[&own, "linkerd2-control-plane", &serde_json::to_string(&plan)?]);
    wait::eventually("the control plane listens", || {
        process.expect_running();
        process.output().contains(READY).then_some(())
    });
    Ok(process)
}

/// The command line of the proxy in a pod.
pub(crate) fn command(program: &Path, pod: &Pod<'_>, certificates: &Certificates) -> Result<Vec<String>, Failure> {
    let folder = certificates.identity(pod.name());
    let token = folder.join("token");
    // the control plane takes every word for it
    std::fs::write(&token, "token")?;
    let workload = format!(r#"{{"ns":"test","pod":"{}"}}"#, pod.name());
    let context = format!(r#"{{"ns":"test","nodeName":"node","pod":"{}"}}"#, pod.name());
    let own = [
        ("DESTINATION_CONTEXT", context),
        ("IDENTITY_DIR", folder.display().to_string()),
        ("IDENTITY_LOCAL_NAME", dns_name(pod.name())),
        ("IDENTITY_TOKEN_FILE", token.display().to_string()),
        ("IDENTITY_TRUST_ANCHORS", std::fs::read_to_string(certificates.authority())?),
        ("INBOUND_IPS", pod.address().to_string()),
        ("INBOUND_LISTEN_ADDR", format!("0.0.0.0:{INBOUND}")),
        ("INBOUND_PORTS", format!("{HTTP1},{HTTP2},{SINK}")),
        ("OUTBOUND_LISTEN_ADDRS", format!("127.0.0.1:{OUTBOUND}")),
        ("POLICY_WORKLOAD", workload),
    ];
    let services = ["DESTINATION_SVC_ADDR", "IDENTITY_SVC_ADDR", "POLICY_SVC_ADDR"];
    let services = services.map(|name| (name, CONTROL_PLANE.to_string()));
    let everywhere = SETTINGS.map(|(name, value)| (name, value.to_owned()));
    let settings = own.into_iter().chain(services).chain(everywhere);
    let settings = settings.map(|(name, value)| format!("LINKERD2_PROXY_{name}={value}"));
    let program = program.display().to_string();
    Ok(["env".to_owned()].into_iter().chain(settings).chain([program]).collect())
}

/// What it says of itself, which it does before it finds that it has no configuration.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).env_clear().env("LINKERD2_PROXY_LOG", "info").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    introduction(&said).unwrap_or("says no version").to_owned()
}

/// Profile of compilation, version, and commit.
fn introduction(said: &str) -> Option<&str> {
    let (_, introduced) = said.lines().find_map(|line| line.split_once(" linkerd2_proxy: "))?;
    Some(introduced.split_once(" by ").map_or(introduced, |(version, _)| version))
}

const CONTROL_PLANE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8086);
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NETWORKS: &str = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16";
/// The same in every pod: what its injector sets, and one worker, as it does by default.
const SETTINGS: [(&str, &str); 16] = [
    ("ADMIN_LISTEN_ADDR", "0.0.0.0:4191"),
    ("CONTROL_LISTEN_ADDR", "0.0.0.0:4190"),
    ("CORES", "1"),
    ("CORES_MAX", "1"),
    ("CORES_MIN", "1"),
    ("DESTINATION_PROFILE_NETWORKS", NETWORKS),
    ("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local."),
    ("INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
    ("INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
    ("INBOUND_DEFAULT_POLICY", "all-authenticated"),
    ("LOG", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off"),
    ("LOG_FORMAT", "plain"),
    ("OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
    ("OUTBOUND_CONNECT_USER_TIMEOUT", "30s"),
    ("POLICY_CLUSTER_NETWORKS", NETWORKS),
    ("SHUTDOWN_GRACE_PERIOD", "500ms"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_stands_before_who_made_it() {
        let line =
            "[     0.001118s]  INFO ThreadId(01) linkerd2_proxy: release 2.366.0 (29637b6) by somebody on 2026-08-21";
        assert_eq!(introduction(&format!("first\n{line}\nlast")), Some("release 2.366.0 (29637b6)"));
        assert_eq!(introduction("nothing"), None);
    }
}
