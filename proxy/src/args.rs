//! Command line of `minimesh proxy`. Read once by `app`, which gets final values; nothing else looks at flags or the
//! environment.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use minimesh_api::model::DefaultPolicy;
use minimesh_identity::SpiffeId;
use minimesh_runtime::{duration, logging};

use crate::observe;

/// Carries the connections of one pod: out to the mesh, and in to the application.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Args {
    /// Address of the control plane; repeatable
    #[arg(long, value_name = "HOST:PORT", env = "MINIMESH_CONTROL_PLANE", value_delimiter = ',', required = true, value_parser = host_and_port)]
    pub control_plane: Vec<String>,

    /// Who the control plane must be
    #[arg(long, value_name = "SPIFFE-ID", env = "MINIMESH_CONTROL_PLANE_IDENTITY")]
    pub control_plane_identity: SpiffeId,

    /// Public roots of the mesh, PEM
    #[arg(long, value_name = "FILE", env = "MINIMESH_TRUST_BUNDLE")]
    pub trust_bundle: PathBuf,

    /// Token that proves which pod this is; read again for every certificate
    #[arg(long, value_name = "FILE", env = "MINIMESH_TOKEN_FILE")]
    pub token_file: PathBuf,

    /// Namespace of the pod
    #[arg(long, value_name = "NAMESPACE", env = "MINIMESH_POD_NAMESPACE")]
    pub pod_namespace: String,

    /// Name of the pod
    #[arg(long, value_name = "NAME", env = "MINIMESH_POD_NAME")]
    pub pod_name: String,

    /// Port for connections that the pod makes
    #[arg(long, value_name = "PORT", env = "MINIMESH_OUTBOUND_PORT", default_value = "4140")]
    pub outbound_port: NonZeroU16,

    /// Port for connections that come into the pod
    #[arg(long, value_name = "PORT", env = "MINIMESH_INBOUND_PORT", default_value = "4143")]
    pub inbound_port: NonZeroU16,

    /// Port of /metrics, /ready and /live
    #[arg(long, value_name = "PORT", env = "MINIMESH_ADMIN_PORT", default_value = "4191")]
    pub admin_port: NonZeroU16,

    /// Port of /dump and /log-level, on the loopback alone
    #[arg(long, value_name = "PORT", env = "MINIMESH_ADMIN_LOCAL_PORT", default_value = "4192")]
    pub admin_local_port: NonZeroU16,

    /// SO_MARK of the proxy's own connections, where interception exempts by mark
    #[arg(long, value_name = "MARK", env = "MINIMESH_MARK")]
    pub mark: Option<u32>,

    /// Worker threads; by default the CPU limit rounded up, at most 4, and 1 where there is no limit
    #[arg(long, value_name = "NUMBER", env = "MINIMESH_WORKERS")]
    pub workers: Option<NonZeroUsize>,

    /// Who may connect to ports that the control plane has said nothing of
    #[arg(long, value_name = "POLICY", env = "MINIMESH_DEFAULT_POLICY", value_enum, default_value_t = Policy::AllUnauthenticated)]
    pub default_policy: Policy,

    /// Networks of pods and Services until the control plane names them, comma-separated
    #[arg(
        long,
        value_name = "CIDR",
        env = "MINIMESH_CLUSTER_NETWORKS",
        value_delimiter = ',',
        default_value = "10.42.0.0/16,10.43.0.0/16"
    )]
    pub cluster_networks: Vec<IpNet>,

    /// Between reports of golden metrics to the control plane
    #[arg(long, value_name = "DURATION", env = "MINIMESH_REPORT_INTERVAL", default_value = "5s", value_parser = interval)]
    pub report_interval: Duration,

    /// How long connections may take to end after SIGTERM
    #[arg(long, value_name = "DURATION", env = "MINIMESH_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration::parse)]
    pub drain_timeout: Duration,

    /// Largest HTTP head, bytes
    #[arg(long, value_name = "BYTES", env = "MINIMESH_MAX_HEAD", default_value_t = 64 * 1024, value_parser = head_limit)]
    pub max_head: usize,

    /// HTTP/2 streams of clients on a worker, beyond which a connection that has 16 of them gets no more
    #[arg(long, value_name = "NUMBER", env = "MINIMESH_MAX_STREAMS", default_value_t = 4096)]
    pub max_streams: usize,

    /// How long a client may take for the head of a request, once it has begun
    #[arg(long, value_name = "DURATION", env = "MINIMESH_HEAD_TIMEOUT", default_value = "60s", value_parser = head_timeout)]
    pub head_timeout: Duration,

    /// How long a client's connection may wait for its next request; in whole minutes, rounded up
    #[arg(long, value_name = "DURATION", env = "MINIMESH_IDLE_TIMEOUT", default_value = "1h", value_parser = idle_timeout)]
    pub idle_timeout: Duration,

    /// What is said of single requests
    #[command(flatten)]
    pub observe: observe::Args,

    /// What is logged, and how
    #[command(flatten)]
    pub logging: logging::Args,
}

/// Linkerd's words for `default-inbound-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// mTLS from any identity of the mesh
    AllAuthenticated,
    /// Anyone
    AllUnauthenticated,
    /// Anyone; what `deny` would refuse is counted
    Audit,
    /// mTLS, from addresses inside the cluster
    ClusterAuthenticated,
    /// Anyone from inside the cluster
    ClusterUnauthenticated,
    /// No one
    Deny,
}

impl From<Policy> for DefaultPolicy {
    fn from(policy: Policy) -> DefaultPolicy {
        match policy {
            Policy::AllAuthenticated => DefaultPolicy::AllAuthenticated,
            Policy::AllUnauthenticated => DefaultPolicy::AllUnauthenticated,
            Policy::Audit => DefaultPolicy::Audit,
            Policy::ClusterAuthenticated => DefaultPolicy::ClusterAuthenticated,
            Policy::ClusterUnauthenticated => DefaultPolicy::ClusterUnauthenticated,
            Policy::Deny => DefaultPolicy::Deny,
        }
    }
}

impl Args {
    /// The proxy's own ports. Two of the same are a mistake that would only show as "address in use".
    pub(crate) fn own_ports(&self) -> Result<[u16; 4], String> {
        let ports =
            [self.outbound_port, self.inbound_port, self.admin_port, self.admin_local_port].map(NonZeroU16::get);
        match ports.iter().enumerate().find(|(index, port)| ports[..*index].contains(port)) {
            Some((_, port)) => Err(format!(
                "port {port} is given twice: --outbound-port, --inbound-port, --admin-port and --admin-local-port must differ"
            )),
            None => Ok(ports),
        }
    }
}

/// Where admin's second port listens.
pub(crate) const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Checked here, so that a typing error is not retried for ever. Names are resolved when they are dialled.
fn host_and_port(text: &str) -> Result<String, String> {
    let (host, port) =
        text.rsplit_once(':').ok_or("has no port; it is HOST:PORT, as in control-plane.minimesh.svc:8086")?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    if !is_host {
        return Err("is not HOST:PORT (an IPv6 address stands in brackets)".to_owned());
    }
    port.parse::<NonZeroU16>().map_err(|_| "has no port from 1 to 65535 behind the last colon")?;
    Ok(text.to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) { Err("must be 100ms or more".to_owned()) } else { Ok(interval) }
}

/// Below, ordinary requests would be refused; above, one request could hold more memory than a proxy has.
fn head_limit(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "is no number of bytes".to_owned())?;
    if (4 * 1024..=1024 * 1024).contains(&bytes) { Ok(bytes) } else { Err("must be 4096 to 1048576".to_owned()) }
}

fn head_timeout(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map_err(|error| error.to_string())?;
    if time < Duration::from_secs(1) { Err("must be 1s or more".to_owned()) } else { Ok(time) }
}

/// A year is for ever, and a minute the proxy's clock for connections that wait.
fn idle_timeout(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map_err(|error| error.to_string())?;
    let minute = Duration::from_secs(60);
    if (minute..=minute * 60 * 24 * 366).contains(&time) { Ok(time) } else { Err("must be 1m to 8784h".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_planes_are_hosts_with_ports() {
        for good in ["control-plane.minimesh.svc:8086", "10.42.0.2:8086", "[fd00::2]:8086"] {
            assert_eq!(host_and_port(good), Ok(good.to_owned()));
        }
        for bad in
            ["nonsense", ":8086", "host:", "host:0", "host:70000", "fd00::2:8086", "http://host:8086", "[host]:1"]
        {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}
