//! What people are told of objects that are not in force: an Event beside each, as `kubectl describe` and `kubectl get events` show it.
//!
//! Told once per problem, by the replica that leads. An Event that cannot be written is not worth disturbing anything for: it is in the
//! log and in /metrics all the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use super::Problem;
use super::kept::resource;
use super::lease::Leadership;
use super::reflect::in_words;
use super::trust_maps::MANAGER;

/// What the teller needs.
pub(crate) struct Events {
    /// Whom it writes to.
    pub(crate) client: Client,
    /// Whether it may.
    pub(crate) leadership: Leadership,
    /// Name of this replica.
    pub(crate) replica: Arc<str>,
    /// What it tells.
    pub(crate) problems: watch::Receiver<Arc<[Problem]>>,
}

impl Events {
    /// Tells until nobody looks any more.
    pub(crate) async fn run(mut self) {
        let mut told: BTreeSet<Problem> = BTreeSet::new();
        loop {
            self.leadership.gained().await;
            let now = Arc::clone(&self.problems.borrow_and_update());
            told.retain(|problem| now.contains(problem));
            let news: Vec<Problem> = now.iter().filter(|problem| !told.contains(*problem)).cloned().collect();
            let all = news.len() <= AT_ONCE;
            for problem in news.into_iter().take(AT_ONCE) {
                if let Err(error) = self.tell(&problem).await {
                    warn!(%problem, error = in_words(&error), "an Event cannot be written");
                }
                told.insert(problem);
            }
            let more = async {
                match all {
                    true => std::future::pending().await,
                    false => sleep(PAUSE).await,
                }
            };
            tokio::select! {
                changed = self.problems.changed() => if changed.is_err() { return },
                () = more => {}
            }
        }
    }

    async fn tell(&self, problem: &Problem) -> Result<(), kube::Error> {
        let now = Timestamp::now();
        let regarding = self.reference(problem).await;
        // Events of objects without a namespace are kept in this one.
        let namespace = regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:x}", problem.object.name, now.as_nanosecond())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some("Read".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(note(problem)),
            reason: Some("NotInForce".to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.replica.as_ref().to_owned()),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        api.create(&PostParams::default(), &event).await.map(drop)
    }

    /// With the UID, by which `kubectl describe` finds an object's Events, where it can be had.
    async fn reference(&self, problem: &Problem) -> ObjectReference {
        let key = &problem.object;
        let resource = resource(key.kind);
        let namespace = Some(key.namespace.as_ref().to_owned()).filter(|namespace| !namespace.is_empty());
        let api: Api<DynamicObject> = match &namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let object = api.get_opt(&key.name).await.ok().flatten();
        ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(key.name.as_ref().to_owned()),
            namespace,
            uid: object.and_then(|object| object.metadata.uid),
            ..ObjectReference::default()
        }
    }
}

fn note(problem: &Problem) -> String {
    let mut note = problem.said().into_owned();
    while note.len() > NOTE {
        note.pop();
    }
    note
}

/// The API server's bound.
const NOTE: usize = 1_024;
/// A cluster full of broken objects is told of bit by bit.
const AT_ONCE: usize = 32;
const PAUSE: Duration = Duration::from_secs(10);
