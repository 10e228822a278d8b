//! Where objects, keys and tokens come from: a folder, or a cluster. Made once by `app`; from there on everything is the same.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use minimesh_identity::authority::Authority;
use minimesh_index::{Event, RouteStatus};
use minimesh_runtime::drain;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::answers::Keeper;
use crate::app::Error;
use crate::args::Args;
use crate::certify::Tokens;
use crate::folder::{self, Folder};
use crate::issuing::InForce;
use crate::kubernetes::{Cluster, Events, Issuer, Leadership, Lease, Problem, Reviewer, Statuses, TrustMaps};
use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::session_key;
use crate::watch::Refused;

/// Where everything comes from.
pub(crate) struct Origin {
    /// The authority in force.
    pub(crate) in_force: InForce,
    /// Objects.
    pub(crate) events: mpsc::Receiver<Vec<Event>>,
    /// Whose token it is.
    pub(crate) tokens: Tokens,
    /// Who keeps the authority's keys.
    pub(crate) keeper: Keeper,
    /// What client sessions are signed with.
    pub(crate) session_key: Arc<[u8]>,
    /// Of a cluster.
    pub(crate) cluster: Option<InCluster>,
}

/// What is written back to a cluster, and by whom.
pub(crate) struct InCluster {
    /// The way to the API server.
    pub(crate) cluster: Cluster,
    leadership: Leadership,
    replica: Arc<str>,
    problems: watch::Receiver<Arc<[Problem]>>,
    unread: watch::Receiver<Arc<[RouteStatus]>>,
}

impl Origin {
    /// As the command line says. With a cluster it resolves when there is an authority.
    pub(crate) async fn new(args: &Args, metrics: &Arc<Metrics>, drain: &drain::Watch) -> Result<Origin, Error> {
        if args.kubernetes { Origin::kubernetes(args, metrics, drain).await } else { Origin::folder(args, metrics) }
    }

    fn folder(args: &Args, metrics: &Arc<Metrics>) -> Result<Origin, Error> {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            return Err(Error::InCluster);
        }
        // clap demands it beside manifests
        let dir = args.ca_dir.clone().unwrap_or_default();
        let failed = |error| Error::Authority { dir: dir.clone(), error };
        let authority = Authority::load_or_create(&dir, &args.trust_domain).map_err(failed)?;
        let bundle = dir.join(BUNDLE);
        authority.save_bundle(&bundle).map_err(failed)?;
        let issuer_not_after = authority.issuer_not_after().duration_since(SystemTime::now());
        let issuer_days = issuer_not_after.unwrap_or_default().as_secs() / 86_400;
        info!(dir = %dir.display(), trust_domain = %args.trust_domain, bundle = %bundle.display(), issuer_days,
            "certificate authority ready");
        let Folder { events, problems } = folder::watch(args.manifests.clone())?;
        info!(folders = ?args.manifests, "watching manifests");
        tokio::spawn(tell_problems(problems, Arc::clone(metrics)));
        Ok(Origin {
            in_force: InForce::fixed(authority),
            events,
            tokens: Tokens::Folder,
            keeper: Keeper::Folder,
            session_key: session_key::load_or_create(&dir)?,
            cluster: None,
        })
    }

    async fn kubernetes(args: &Args, metrics: &Arc<Metrics>, drain: &drain::Watch) -> Result<Origin, Error> {
        let cluster = Cluster::connect().await?;
        let replica = match &args.pod_name {
            Some(name) => name.clone(),
            None => nix::unistd::gethostname().map_err(io::Error::from)?.to_string_lossy().into_owned(),
        };
        info!(namespace = args.namespace, replica, "watching the cluster");
        Origin::of_cluster(args, metrics, cluster, &replica, drain).await
    }

    /// The same with a way to the API server.
    pub(crate) async fn of_cluster(
        args: &Args,
        metrics: &Arc<Metrics>,
        cluster: Cluster,
        replica: &str,
        drain: &drain::Watch,
    ) -> Result<Origin, Error> {
        let (client, namespace) = (&cluster.client, args.namespace.as_str());
        let leadership = Lease::new(client, namespace, replica).spawn(drain.clone());
        let issuer = Issuer::new(client, namespace, &args.trust_domain, args.leaf_lifetime, leadership.clone());
        // Objects are listed while the authority is waited for.
        let source = cluster.watch();
        tokio::spawn(tell_problems(source.problems.clone(), Arc::clone(metrics)));
        let replica: Arc<str> = replica.into();
        let (in_force, session_key) = issuer.clone().in_force().await;
        Ok(Origin {
            in_force,
            events: source.events,
            tokens: Tokens::Kubernetes(Reviewer::new(client.clone(), Arc::clone(metrics))),
            keeper: Keeper::Secret {
                issuer: Box::new(issuer),
                leadership: leadership.clone(),
                replica: Arc::clone(&replica),
            },
            session_key,
            cluster: Some(InCluster { cluster, leadership, replica, problems: source.problems, unread: source.unread }),
        })
    }
}

impl InCluster {
    /// Starts what the replica that leads writes: the public roots, conditions of routes, Events.
    /// Answers where it is to be told of updates that proxies refused.
    pub(crate) fn write_back(&self, in_force: &InForce, publisher: &Publisher) -> mpsc::Sender<Refused> {
        let client = || self.cluster.client.clone();
        let leadership = || self.leadership.clone();
        let maps =
            TrustMaps { client: client(), in_force: in_force.clone(), namespaces: publisher.meshed_namespaces() };
        tokio::spawn(maps.run(leadership()));
        let (routes, problems, unread) = (publisher.route_statuses(), self.problems.clone(), self.unread.clone());
        tokio::spawn(Statuses { client: client(), routes, problems, unread }.run(leadership()));
        let events = Events { client: client(), replica: Arc::clone(&self.replica) };
        tokio::spawn(events.clone().of_objects(leadership(), self.problems.clone()));
        tokio::spawn(events.clone().of_pods(leadership(), publisher.missed_pods()));
        let (refused, told) = mpsc::channel(REFUSED);
        tokio::spawn(events.of_proxies(publisher.clone(), told));
        refused
    }
}

/// Says what is not in force, once per problem, and when it is in force again.
async fn tell_problems<P>(mut problems: watch::Receiver<Arc<[P]>>, metrics: Arc<Metrics>)
where
    P: std::fmt::Display + PartialEq,
{
    let mut told: Arc<[P]> = Arc::from([]);
    loop {
        let now = Arc::clone(&problems.borrow_and_update());
        for problem in now.iter().filter(|problem| !told.contains(problem)) {
            warn!(%problem, "an object has a problem");
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
/// Refused updates that nobody was told of yet.
const REFUSED: usize = 64;
