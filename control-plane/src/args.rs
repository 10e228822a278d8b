//! Command line of `minimesh control-plane`. Read once by `app`; nothing else looks at flags or the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use minimesh_api::model::DefaultPolicy;
use minimesh_identity::{InvalidSpiffeId, SpiffeId};
use minimesh_runtime::{duration, logging};

use crate::own;

/// Watches manifests, answers the proxies, is their certificate authority.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Args {
    /// Watch the cluster that this runs in, or that KUBECONFIG names; identity's keys are kept in its Secret minimesh-issuer
    #[arg(long, conflicts_with_all = ["manifests", "ca_dir"])]
    pub kubernetes: bool,

    /// Folder with Kubernetes manifests; repeatable, objects of a later folder override those of an earlier one
    #[arg(
        long,
        value_name = "DIR",
        env = "MINIMESH_MANIFESTS",
        value_delimiter = ',',
        required_unless_present = "kubernetes"
    )]
    pub manifests: Vec<PathBuf>,

    /// Folder of the certificate authority: loaded if it is there, made if not; trust-bundle.pem is written into it
    #[arg(long, value_name = "DIR", env = "MINIMESH_CA_DIR", required_unless_present = "kubernetes")]
    pub ca_dir: Option<PathBuf>,

    /// Namespace of the control plane
    #[arg(long, value_name = "NAME", env = "MINIMESH_NAMESPACE", default_value = own::NAMESPACE)]
    pub namespace: String,

    /// Name of this replica, where several compete for who writes; by default the host's
    #[arg(long, value_name = "NAME", env = "MINIMESH_POD_NAME")]
    pub pod_name: Option<String>,

    /// Address that proxies connect to (gRPC over TLS)
    #[arg(long, value_name = "ADDRESS", env = "MINIMESH_LISTEN", default_value = "0.0.0.0:8086")]
    pub listen: SocketAddr,

    /// Unix socket for `minimesh stat` and `edges`; only this user may connect
    #[arg(long, value_name = "PATH", env = "MINIMESH_OPERATOR_SOCKET")]
    pub operator_socket: Option<PathBuf>,

    /// Port for the same questions on the loopback alone, where a port-forward ends; 0: none. With --kubernetes 8085 by default
    #[arg(long, value_name = "PORT", env = "MINIMESH_OPERATOR_PORT")]
    pub operator_port: Option<u16>,

    /// Trust domain of every identity, as in spiffe://TRUST-DOMAIN/ns/NS/sa/SA
    #[arg(long, value_name = "NAME", env = "MINIMESH_TRUST_DOMAIN", default_value = "cluster.local", value_parser = trust_domain)]
    pub trust_domain: String,

    /// Networks of pods and Services, comma-separated
    #[arg(
        long,
        value_name = "CIDR",
        env = "MINIMESH_CLUSTER_NETWORKS",
        value_delimiter = ',',
        default_value = "10.42.0.0/16,10.43.0.0/16"
    )]
    pub cluster_networks: Vec<IpNet>,

    /// Who may connect to pods of which neither they nor their namespace say it: all-unauthenticated, all-authenticated,
    /// cluster-unauthenticated, cluster-authenticated, deny or audit
    #[arg(
        long,
        value_name = "POLICY",
        env = "MINIMESH_DEFAULT_INBOUND_POLICY",
        default_value = "all-unauthenticated",
        value_parser = minimesh_index::policy
    )]
    pub default_inbound_policy: DefaultPolicy,

    /// Life of the proxies' certificates
    #[arg(
        long,
        value_name = "DURATION",
        env = "MINIMESH_LEAF_LIFETIME",
        default_value = "24h",
        value_parser = leaf_lifetime
    )]
    pub leaf_lifetime: Duration,

    /// Port of /metrics, /ready and /live; 0: none
    #[arg(long, value_name = "PORT", env = "MINIMESH_ADMIN_PORT", default_value_t = 8087)]
    pub admin_port: u16,

    /// What is logged, and how
    #[command(flatten)]
    pub logging: logging::Args,
}

/// A certificate that lives for less than this is renewed all the time and breaks on the smallest clock difference.
const SHORTEST_LEAF: Duration = Duration::from_secs(3);
/// Kubernetes' own longest service-account token.
const LONGEST_LEAF: Duration = Duration::from_secs(24 * 60 * 60);

fn trust_domain(text: &str) -> Result<String, InvalidSpiffeId> {
    SpiffeId::new(text, "default", "default").map(|id| id.trust_domain().to_owned())
}

fn leaf_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration::parse(text).map_err(|error| error.to_string())?;
    if lifetime < SHORTEST_LEAF || lifetime > LONGEST_LEAF {
        return Err("must be 3s to 24h".to_owned());
    }
    Ok(lifetime)
}

impl Args {
    /// Where operators ask on the loopback; `None`: nowhere.
    pub(crate) fn operator_port(&self) -> Option<u16> {
        self.operator_port.or(self.kubernetes.then_some(OPERATOR_PORT)).filter(|port| *port != 0)
    }
}

/// Beside the ports of proxies (8086) and administration (8087).
const OPERATOR_PORT: u16 = 8085;
