//! Wiring: every part of the control plane, in the order in which it starts, as a list.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::grpc::identity_server::IdentityServer;
use minimesh_api::grpc::operator_server::OperatorServer;
use minimesh_api::grpc::telemetry_server::TelemetryServer;
use minimesh_index::{Index, Settings};
use minimesh_runtime::{admin, drain, logging, signals};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;
use tracing::info;

use crate::answers::Answers;
use crate::args::Args;
use crate::certify::{Certifier, Tokens};
use crate::folder::FolderError;
use crate::issuing::InForce;
use crate::kubernetes::{ConnectError, Heard};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::operator::{self, Socket};
use crate::own;
use crate::places::Places;
use crate::publish::Publisher;
use crate::serve::Server;
use crate::start::Origin;
use crate::telemetry::{Collector, Reports};
use crate::watch::{Discovery, Refused};

/// Why the control plane cannot go on: what, where, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin port cannot be bound.
    #[error("{0}; choose another with --admin-port, or 0 for none")]
    Admin(#[from] admin::Error),
    /// The authority cannot be loaded or made.
    #[error("certificate authority in {}: {error}", dir.display())]
    Authority {
        /// `--ca-dir`.
        dir: PathBuf,
        /// What is wrong and what to do.
        error: minimesh_identity::Error,
    },
    /// The folders cannot be watched.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The control plane's own identity or certificate.
    #[error("the control plane's own identity: {error}; see --trust-domain and --namespace")]
    Identity {
        /// What is wrong.
        error: minimesh_identity::Error,
    },
    /// Folder mode inside Kubernetes: its tokens are not the cluster's.
    #[error(
        "manifests from a folder inside a Kubernetes cluster (KUBERNETES_SERVICE_HOST is set): pods would be trusted by \
         the folder's tokens, not by the cluster's; use --kubernetes, or unset the variable if this is no cluster"
    )]
    InCluster,
    /// No way to the API server.
    #[error(transparent)]
    Kubernetes(#[from] ConnectError),
    /// The gRPC port cannot be bound.
    #[error("cannot listen on {address}: {error}; choose another address with --listen")]
    Listen {
        /// `--listen`.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// The operators' port cannot be bound.
    #[error(
        "cannot listen on 127.0.0.1:{port} for operators: {error}; choose another port with --operator-port, or 0 for none"
    )]
    Local {
        /// `--operator-port`.
        port: u16,
        /// The system's answer.
        error: io::Error,
    },
    /// Logging cannot begin.
    #[error(transparent)]
    Logging(#[from] logging::Error),
    /// The operator socket cannot be bound.
    #[error("cannot make the operator socket {}: {error}; choose another path with --operator-socket", path.display())]
    Operator {
        /// `--operator-socket`.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The system gave no runtime or no randomness.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs until SIGTERM or SIGINT. Builds its own runtime.
pub fn run(args: Args) -> Result<(), Error> {
    // Every failed request, beside the word of who made it and knows what follows.
    logging::init_without(&args.logging, &["kube_client::client::builder"])?;
    // One thread: everything here waits most of the time, and cells of metrics have one writer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (trigger, drain) = drain::channel();
        let mut signals = signals::Listener::new()?;
        // A cluster may let us wait for an authority.
        let started = tokio::select! {
            started = start(args, drain) => started?,
            signal = signals.next() => {
                info!(%signal, "ending before anybody was answered");
                return Ok(());
            }
        };
        wait(signals, started, trigger).await;
        Ok(())
    })
}

/// A started control plane; its tasks end with the drain.
#[derive(Debug)]
pub(crate) struct Running {
    /// Where proxies connect.
    pub(crate) address: SocketAddr,
}

async fn wait(mut signals: signals::Listener, running: Running, trigger: drain::Trigger) {
    let signal = signals.next().await;
    info!(%signal, address = %running.address, "ending");
    let outcome = trigger.drain(LONGEST_DRAIN).await;
    info!(?outcome, "ended");
}

/// Starts every part.
pub(crate) async fn start(args: Args, drain: drain::Watch) -> Result<Running, Error> {
    let (metrics, registry) = Metrics::new();
    let (ready, readiness) = watch::channel(Readiness::default());
    if args.admin_port != 0 {
        admin_port(args.admin_port, registry, readiness, drain.clone()).await?;
    }
    let origin = Origin::new(&args, &metrics, &drain).await?;
    serve(args, origin, metrics, ready, drain).await
}

/// Everything that comes after the source.
async fn serve(
    args: Args,
    origin: Origin,
    metrics: Arc<Metrics>,
    ready: watch::Sender<Readiness>,
    drain: drain::Watch,
) -> Result<Running, Error> {
    let Origin { in_force, events, tokens, keeper, session_key, cluster } = origin;
    let failed = |error| Error::Identity { error };
    let id = own::id(&args.trust_domain, &args.namespace).map_err(failed)?;
    let tls = own::spawn(in_force.clone(), id.clone(), args.leaf_lifetime).map_err(failed)?;
    let (trust_domain, cluster_networks) = (args.trust_domain.clone(), args.cluster_networks.clone());
    let default_policy = args.default_inbound_policy;
    let mesh_namespace = args.namespace.clone();
    let settings = Settings { mesh_namespace, trust_domain, cluster_networks, session_key, default_policy };
    let publisher = Publisher::spawn(Index::new(settings), in_force.clone(), events, Arc::clone(&metrics));
    let publisher = publisher.map_err(failed)?;
    let refused = cluster.as_ref().map(|within| within.write_back(&in_force, &publisher));
    let heard = cluster.map(|within| within.cluster.heard);
    ready.send_replace(Readiness { publisher: Some(publisher.clone()), heard });
    let ledger = Ledger::new();
    let reports = Reports::spawn(Arc::clone(&metrics));
    let parts = Parts { in_force, publisher, reports, ledger, refused, metrics, drain };

    let answers = OperatorServer::new(Answers {
        reports: parts.reports.clone(),
        publisher: parts.publisher.clone(),
        in_force: parts.in_force.clone(),
        ledger: parts.ledger.clone(),
        keeper,
    });
    let answers = Routes::new(answers.max_encoding_message_size(usize::MAX));
    operators(&args, answers, &parts.drain).await?;

    let routes = routes(&args, tokens, &parts)?;
    let failed = |error| Error::Listen { address: args.listen, error };
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let Parts { in_force, metrics, drain, .. } = parts;
    let places = Places::new();
    tokio::spawn(Server { routes, tls, in_force, places, metrics, drain }.accept(listener));
    info!(%address, %id, "answering proxies");
    Ok(Running { address })
}

/// What several services share.
struct Parts {
    in_force: InForce,
    publisher: Publisher,
    reports: Reports,
    ledger: Ledger,
    refused: Option<mpsc::Sender<Refused>>,
    metrics: Arc<Metrics>,
    drain: drain::Watch,
}

async fn operators(args: &Args, answers: Routes, drain: &drain::Watch) -> Result<(), Error> {
    if let Some(path) = &args.operator_socket {
        let failed = |error| Error::Operator { path: path.clone(), error };
        let socket = Socket::bind(path).map_err(failed)?;
        tokio::spawn(socket.accept(answers.clone(), drain.clone()));
        info!(path = %path.display(), "answering operators");
    }
    if let Some(port) = args.operator_port() {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let listener = TcpListener::bind(address).await.map_err(|error| Error::Local { port, error })?;
        tokio::spawn(operator::accept_local(listener, answers, drain.clone()));
        info!(%address, "answering operators");
    }
    Ok(())
}

fn routes(args: &Args, tokens: Tokens, parts: &Parts) -> Result<Routes, Error> {
    let mut instance = [0; 16];
    aws_lc_rs::rand::fill(&mut instance).map_err(|_| io::Error::other("the system gave no randomness"))?;
    let Parts { in_force, publisher, reports, ledger, refused, metrics, drain } = parts;
    let discovery = Discovery::new(publisher.clone(), instance, Arc::clone(metrics), ledger.clone(), drain.clone());
    let discovery = discovery.telling(refused.clone());
    let certifier = Certifier {
        in_force: in_force.clone(),
        tokens,
        publisher: publisher.clone(),
        lifetime: args.leaf_lifetime,
        ledger: ledger.clone(),
        metrics: Arc::clone(metrics),
    };
    let certifier = IdentityServer::new(certifier).max_decoding_message_size(CERTIFY_BYTES);
    let collector = Collector { reports: reports.clone(), publisher: publisher.clone() };
    let collector = TelemetryServer::new(collector).max_decoding_message_size(REPORT_BYTES);
    Ok(Routes::new(discovery).add_service(certifier).add_service(collector).prepare())
}

/// What must be true before proxies are sent here.
#[derive(Clone, Debug, Default)]
struct Readiness {
    publisher: Option<Publisher>,
    heard: Option<Heard>,
}

impl Readiness {
    /// Why not yet, or not any more.
    fn fault(&self) -> Option<String> {
        match &self.publisher {
            None => return Some("no certificate authority yet".to_owned()),
            Some(publisher) if !publisher.is_synced() => {
                return Some("not everything there is has been read yet".to_owned());
            }
            Some(_) => {}
        }
        let silent = self.heard.as_ref()?.silent()?;
        Some(format!("nothing was heard of {silent} for three minutes"))
    }
}

async fn admin_port(
    port: u16,
    registry: Registry,
    readiness: watch::Receiver<Readiness>,
    drain: drain::Watch,
) -> Result<(), Error> {
    let address = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port);
    let server = admin::Server::bind(address, admin::Audience::Network).await?;
    let server = server.health(registry, move || readiness.borrow().fault());
    tokio::spawn(server.serve(async move { drain.started().await }));
    info!(%address, "answering /metrics, /ready and /live");
    Ok(())
}

/// A signing request and a token, with room.
const CERTIFY_BYTES: usize = 64 * 1024;
/// Ten thousand edges (the wire's own bound) with histograms of usual width.
const REPORT_BYTES: usize = 16 * 1024 * 1024;
/// Streams end at once; a certificate that is being signed takes a millisecond.
const LONGEST_DRAIN: Duration = Duration::from_secs(3);
