//! Which replica writes: a Lease in the control plane's own namespace.
//!
//! Whether a holder is alive is judged by this process's own clock: a Lease that does not change for its whole length is
//! free. Clocks of nodes are never compared. Every write is guarded by the object's version as well, so that two who believe
//! to lead for a moment cannot overwrite each other.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use minimesh_runtime::drain;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::reflect::in_words;
use super::trust_maps::managed;

/// Whether this replica is the one that writes.
#[derive(Clone, Debug)]
pub(crate) struct Leadership(watch::Receiver<bool>);

/// The Lease of the control plane.
pub(crate) struct Lease {
    api: Api<Object>,
    holder: String,
}

/// What was seen of the Lease, and when it was seen to change last.
struct Seen {
    object: Object,
    since: Instant,
}

impl Leadership {
    /// Of a replica that nobody competes with.
    #[cfg(test)]
    pub(super) fn fixed(leads: bool) -> Leadership {
        Leadership(watch::channel(leads).1)
    }

    /// Now.
    pub(crate) fn leads(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when this replica leads; never, where that cannot happen any more.
    pub(crate) async fn gained(&mut self) {
        if self.0.wait_for(|leads| *leads).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Lease {
    /// For a replica of that name.
    pub(crate) fn new(client: &Client, namespace: &str, holder: &str) -> Lease {
        Lease { api: Api::namespaced(client.clone(), namespace), holder: holder.to_owned() }
    }

    /// Competes for as long as anybody asks, and lets go with the drain.
    pub(crate) fn spawn(self, drain: drain::Watch) -> Leadership {
        let (leads, leadership) = watch::channel(false);
        tokio::spawn(self.run(leads, drain));
        Leadership(leadership)
    }

    async fn run(self, leads: watch::Sender<bool>, drain: drain::Watch) {
        let mut seen: Option<Seen> = None;
        let mut held_until = Instant::now();
        loop {
            match self.turn(&mut seen).await {
                Ok(true) => held_until = Instant::now() + RENEWED_WITHIN,
                Ok(false) => held_until = Instant::now(),
                // Held by what was written last, until others may take it.
                Err(error) => warn!(error = in_words(&error), "the Lease cannot be renewed"),
            }
            let now = Instant::now() < held_until;
            if leads.send_if_modified(|leads| std::mem::replace(leads, now) != now) {
                match now {
                    true => info!(holder = self.holder, "this replica writes from now on"),
                    false => info!(holder = self.holder, "another replica writes"),
                }
            }
            tokio::select! {
                () = sleep(TURN) => {}
                () = leads.closed() => return,
                () = drain.started() => {
                    if leads.send_replace(false) && let Err(error) = self.release().await {
                        warn!(error = in_words(&error), "the Lease cannot be released; others take it when it is over");
                    }
                    return;
                }
            }
        }
    }

    /// Renews, takes, or looks; answers whether this replica holds it.
    async fn turn(&self, seen: &mut Option<Seen>) -> Result<bool, kube::Error> {
        let Some(object) = self.api.get_opt(NAME).await? else {
            *seen = None;
            return self.settle(self.api.create(&PostParams::default(), &self.object(ObjectMeta::default(), 0)).await);
        };
        let now = Instant::now();
        let unchanged = seen.as_ref().filter(|seen| seen.object.spec == object.spec).map(|seen| seen.since);
        let since = unchanged.unwrap_or(now);
        let spec = object.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.holder;
        let free = holder.is_empty() || now.duration_since(since) >= LENGTH;
        let metadata = object.metadata.clone();
        *seen = Some(Seen { object, since });
        if !ours && !free {
            return Ok(false);
        }
        let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(!ours);
        let wanted = self.object(metadata, transitions);
        self.settle(self.api.replace(NAME, &PostParams::default(), &wanted).await)
    }

    /// Who ends says so: another one need not wait until the Lease is over.
    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut object) = self.api.get_opt(NAME).await? else { return Ok(()) };
        let Some(spec) = object.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.holder))
        else {
            return Ok(());
        };
        spec.holder_identity = Some(String::new());
        object.metadata.managed_fields = None;
        self.settle(self.api.replace(NAME, &PostParams::default(), &object).await)?;
        info!(holder = self.holder, "the Lease was released");
        Ok(())
    }

    fn settle(&self, written: Result<Object, kube::Error>) -> Result<bool, kube::Error> {
        match written {
            Ok(_) => Ok(true),
            // Somebody else was first.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn object(&self, metadata: ObjectMeta, transitions: i32) -> Object {
        let spec = LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: i32::try_from(LENGTH.as_secs()).ok(),
            lease_transitions: Some(transitions),
            // for people: nobody compares clocks
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        Object { metadata: managed(metadata, NAME), spec: Some(spec) }
    }
}

/// Name of the Lease.
const NAME: &str = "minimesh-control-plane";
/// Who has not renewed it for so long does not lead any more.
const LENGTH: Duration = Duration::from_secs(15);
/// A holder that could not renew it stops leading before others begin.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);
/// Between renewals, and between looks.
const TURN: Duration = Duration::from_secs(3);
