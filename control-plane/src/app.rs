//! Wiring: every part of the control plane, in the order in which it starts, as a list.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::grpc::identity_server::IdentityServer;
use minimesh_api::grpc::operator_server::OperatorServer;
use minimesh_api::grpc::telemetry_server::TelemetryServer;
use minimesh_identity::authority::Authority;
use minimesh_index::{Index, Settings};
use minimesh_runtime::{admin, drain, logging, metrics as exposition, signals};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tracing::{info, warn};

use crate::args::Args;
use crate::certify::{self, Certifier};
use crate::folder::{self, Folder, FolderError, Problem};
use crate::metrics::Metrics;
use crate::operator::Socket;
use crate::publish::Publisher;
use crate::serve::Server;
use crate::telemetry::{Answers, Collector, Reports};
use crate::watch::Discovery;
use crate::{own, session_key};

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
    /// Folder mode inside Kubernetes: its tokens are not the cluster's.
    #[error(
        "manifests from a folder inside a Kubernetes cluster (KUBERNETES_SERVICE_HOST is set): pods would be trusted by \
         the folder's tokens, not by the cluster's; unset the variable if this is no cluster"
    )]
    InCluster,
    /// The gRPC port cannot be bound.
    #[error("cannot listen on {address}: {error}; choose another address with --listen")]
    Listen {
        /// `--listen`.
        address: SocketAddr,
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
    logging::init(&args.logging)?;
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Err(Error::InCluster);
    }
    // One thread: everything here waits most of the time, and cells of metrics have one writer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (trigger, drain) = drain::channel();
        let signals = signals::Listener::new()?;
        let running = start(args, drain).await?;
        wait(signals, running, trigger).await;
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
    let authority = authority(&args)?;
    let trust = certify::trust(&authority).map_err(|error| of_dir(&args, error))?;
    let tls = own::spawn(Arc::clone(&authority), args.leaf_lifetime).map_err(|error| of_dir(&args, error))?;

    let Folder { events, problems } = folder::watch(args.manifests.clone())?;
    info!(folders = ?args.manifests, "watching manifests");
    let settings = Settings {
        trust_domain: args.trust_domain.clone(),
        cluster_networks: args.cluster_networks.clone(),
        session_key: session_key::load_or_create(&args.ca_dir)?,
        default_policy: args.default_inbound_policy,
    };
    let publisher = Publisher::spawn(Index::new(settings), trust, events, Arc::clone(&metrics));
    tokio::spawn(tell_problems(problems, Arc::clone(&metrics)));
    let reports = Reports::spawn(Arc::clone(&metrics));

    if let Some(path) = &args.operator_socket {
        let failed = |error| Error::Operator { path: path.clone(), error };
        let socket = Socket::bind(path).map_err(failed)?;
        let answers = OperatorServer::new(Answers { reports: reports.clone() });
        tokio::spawn(socket.accept(Routes::new(answers.max_encoding_message_size(usize::MAX)), drain.clone()));
        info!(path = %path.display(), "answering operators");
    }
    if args.admin_port != 0 {
        admin_port(args.admin_port, registry, publisher.clone(), drain.clone()).await?;
    }

    let routes = routes(&args, authority, publisher, reports, &metrics, &drain)?;
    let failed = |error| Error::Listen { address: args.listen, error };
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tokio::spawn(Server { routes, tls, metrics, drain }.accept(listener));
    info!(%address, id = %own::id(&args.trust_domain).map_err(|e| of_dir(&args, e))?, "answering proxies");
    Ok(Running { address })
}

fn routes(
    args: &Args,
    authority: Arc<Authority>,
    publisher: Publisher,
    reports: Reports,
    metrics: &Arc<Metrics>,
    drain: &drain::Watch,
) -> Result<Routes, Error> {
    let mut instance = [0; 16];
    aws_lc_rs::rand::fill(&mut instance).map_err(|_| io::Error::other("the system gave no randomness"))?;
    let metrics = || Arc::clone(metrics);
    let (lifetime, discovery) =
        (args.leaf_lifetime, Discovery::new(publisher.clone(), instance, metrics(), drain.clone()));
    let certifier = Certifier { authority, publisher: publisher.clone(), lifetime, metrics: metrics() };
    let certifier = IdentityServer::new(certifier).max_decoding_message_size(CERTIFY_BYTES);
    let collector = TelemetryServer::new(Collector { reports, publisher }).max_decoding_message_size(REPORT_BYTES);
    Ok(Routes::new(discovery).add_service(certifier).add_service(collector).prepare())
}

fn authority(args: &Args) -> Result<Arc<Authority>, Error> {
    let failed = |error| of_dir(args, error);
    let authority = Authority::load_or_create(&args.ca_dir, &args.trust_domain).map_err(failed)?;
    let bundle = args.ca_dir.join(BUNDLE);
    authority.save_bundle(&bundle).map_err(failed)?;
    let issuer_not_after = authority.issuer_not_after().duration_since(std::time::SystemTime::now());
    let issuer_days = issuer_not_after.unwrap_or_default().as_secs() / 86_400;
    info!(dir = %args.ca_dir.display(), trust_domain = %args.trust_domain, bundle = %bundle.display(), issuer_days,
        "certificate authority ready");
    Ok(Arc::new(authority))
}

fn of_dir(args: &Args, error: minimesh_identity::Error) -> Error {
    Error::Authority { dir: args.ca_dir.clone(), error }
}

async fn admin_port(port: u16, registry: Registry, publisher: Publisher, drain: drain::Watch) -> Result<(), Error> {
    let address = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port);
    let server = admin::Server::bind(address, admin::Audience::Network).await?;
    let registry = Arc::new(registry);
    let server = server
        .get("/metrics", move |_| {
            let registry = Arc::clone(&registry);
            async move {
                match exposition::encode(&registry) {
                    Ok(text) => admin::Reply::ok(exposition::CONTENT_TYPE, text),
                    Err(error) => admin::Reply::text(http::StatusCode::INTERNAL_SERVER_ERROR, error),
                }
            }
        })
        .get("/live", |_| async { admin::Reply::text(http::StatusCode::OK, "live") })
        .get("/ready", move |_| {
            let ready = publisher.is_synced();
            async move {
                match ready {
                    true => admin::Reply::text(http::StatusCode::OK, "ready"),
                    false => admin::Reply::text(http::StatusCode::SERVICE_UNAVAILABLE, "manifests not read yet"),
                }
            }
        });
    tokio::spawn(server.serve(async move { drain.started().await }));
    info!(%address, "answering /metrics, /ready and /live");
    Ok(())
}

/// Says what in the folders is not in force, once per problem, and when it is in force again.
async fn tell_problems(mut problems: watch::Receiver<Arc<[Problem]>>, metrics: Arc<Metrics>) {
    let mut told: Arc<[Problem]> = Arc::from([]);
    loop {
        let now = Arc::clone(&problems.borrow_and_update());
        for problem in now.iter().filter(|problem| !told.contains(problem)) {
            warn!(%problem, "a manifest has a problem");
        }
        for problem in told.iter().filter(|problem| !now.contains(problem)) {
            info!(%problem, "a problem is gone");
        }
        metrics.problems.set(i64::try_from(now.len()).unwrap_or(i64::MAX));
        told = now;
        if problems.changed().await.is_err() {
            return;
        }
    }
}

/// Name of the public roots' file in the authority's folder.
const BUNDLE: &str = "trust-bundle.pem";
/// A signing request and a token, with room.
const CERTIFY_BYTES: usize = 64 * 1024;
/// Ten thousand edges (the wire's own bound) with histograms of usual width.
const REPORT_BYTES: usize = 16 * 1024 * 1024;
/// Streams end at once; a certificate that is being signed takes a millisecond.
const LONGEST_DRAIN: Duration = Duration::from_secs(3);
