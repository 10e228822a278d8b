//! Kubernetes as the source of truth, and as the place where identity is kept.
//!
//! ```text
//! connect      a client, and what was heard through it (heard)
//! watch        reflect: one kind's list and watch, as kept reads it    gateway: kinds that may not be served
//!              collect: notes of all kinds -> events for the index, problems, health
//! issuer       the Secret with the authority's keys: made once, followed by every replica
//! lease        who writes
//! keep         the loop of both: trust_maps   the public roots, in every namespace with meshed pods    statuses   conditions of routes
//! events       what people are told of objects that are not in force
//! review       whose token it is    budget    how often that is asked
//! ```
//!
//! The index is fed the same events as by a folder; nothing outside this module knows kube's types. Nothing here answers a
//! proxy.

mod budget;
mod collect;
mod events;
#[cfg(test)]
mod fake;
mod gateway;
mod heard;
mod issuer;
mod keep;
mod kept;
mod keys;
mod lease;
mod reflect;
mod review;
mod statuses;
#[cfg(test)]
mod tests;
mod trust_maps;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use minimesh_index::resource::{EndpointSlice, Namespace, Node, Pod, Service};
use minimesh_index::{Event, ObjectKey, RouteStatus};
use tokio::sync::{mpsc, watch};

pub(crate) use events::Events;
pub(crate) use heard::Heard;
pub(crate) use issuer::{Issuer, IssuerError};
pub(crate) use lease::{Leadership, Lease};
pub(crate) use review::Reviewer;
pub(crate) use statuses::Statuses;
pub(crate) use trust_maps::TrustMaps;

use kept::{Kept, resource};

/// A way to the API server.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// kube's client.
    pub(crate) client: Client,
    /// Which watches were heard of when.
    pub(crate) heard: Heard,
}

/// Something in an object that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Which object.
    pub(crate) object: ObjectKey,
    /// As `spec.ports[0].port`; empty: none in particular.
    pub(crate) field: String,
    /// What is wrong and what follows from it.
    pub(crate) reason: String,
}

/// A running watch of everything. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Source {
    /// First one `Replace` with all there is, then what changed.
    pub(crate) events: mpsc::Receiver<Vec<Event>>,
    /// What is wrong now.
    pub(crate) problems: watch::Receiver<Arc<[Problem]>>,
    /// Of routes that cannot be read as they are: what is to be said of them, whatever is still in force.
    pub(crate) unread: watch::Receiver<Arc<[RouteStatus]>>,
}

/// The API server cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account.
    #[error(
        "no way to a Kubernetes API server: {0}; set KUBECONFIG, or run in a pod with automountServiceAccountToken"
    )]
    Configuration(#[from] kube::config::InferConfigError),
    /// The configuration is of no use.
    #[error("cannot make a client of the Kubernetes API: {0}")]
    Client(#[from] kube::Error),
}

impl Cluster {
    /// By `KUBECONFIG`, `~/.kube/config`, or the pod's service account. Nothing is dialled yet.
    pub(crate) async fn connect() -> Result<Cluster, ConnectError> {
        // kube asks for the process's provider; where somebody has set it already it is the same
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(Cluster::of(Config::infer().await?)?)
    }

    /// By a configuration.
    pub(crate) fn of(mut config: Config) -> Result<Cluster, kube::Error> {
        // The server ends a watch after `reflect::WATCH`; whatever is silent for longer is no answer.
        config.read_timeout = Some(reflect::WATCH + ANSWER);
        config.reset_reader_on_write = true;
        // Attempts are spaced by those who make them, who also say that they fail.
        config.default_retry = false;
        let heard = Heard::default();
        let client = ClientBuilder::try_from(config)?.with_layer(&heard).build();
        Ok(Cluster { client, heard })
    }

    /// Watches every kind that the index knows. Must be called on a tokio runtime.
    pub(crate) fn watch(&self) -> Source {
        let (notes, taken) = mpsc::channel(NOTES);
        self.spawn::<EndpointSlice>(&notes);
        self.spawn::<Namespace>(&notes);
        self.spawn::<Node>(&notes);
        self.spawn::<Pod>(&notes);
        self.spawn::<Service>(&notes);
        gateway::spawn(self, &notes);
        collect::spawn(taken)
    }

    fn spawn<T: Kept>(&self, notes: &mpsc::Sender<reflect::Note>) {
        let (cluster, notes) = (self.clone(), notes.clone());
        tokio::spawn(async move {
            // A kind of the core is always served: its absence is an error like others, and reported.
            reflect::reflect::<T>(&cluster, resource(T::KIND), &notes, reflect::Absence::Fails).await;
        });
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Problem {
    /// What is wrong, where the object need not be named.
    fn said(&self) -> Cow<'_, str> {
        match self.field.is_empty() {
            true => Cow::Borrowed(&self.reason),
            false => Cow::Owned(format!("{}: {}", self.field, self.reason)),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.said())
    }
}

/// Notes that wait while a batch is taken in; reflectors beyond wait.
const NOTES: usize = 256;
/// An answer's first byte.
const ANSWER: Duration = Duration::from_secs(15);
