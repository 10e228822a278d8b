//! What people are told of objects that are not in force: an Event beside each, as `kubectl describe` and `kubectl get events` show it.
//!
//! Of problems of objects the replica that leads tells, once per problem; of an update that a proxy refused, the one that sent it, beside
//! the proxy's pod. An Event that cannot be written is not worth disturbing anything for: it is in the log and in /metrics all the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, ObjectMeta, PostParams};
use minimesh_index::{Kind, ObjectKey};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::warn;

use super::Problem;
use super::kept::resource;
use super::lease::Leadership;
use super::reflect::in_words;
use super::trust_maps::MANAGER;
use crate::publish::Publisher;
use crate::watch::Refused;

/// Who writes Events.
#[derive(Clone)]
pub(crate) struct Events {
    /// Whom it writes to.
    pub(crate) client: Client,
    /// Name of this replica.
    pub(crate) replica: Arc<str>,
}

impl Events {
    /// Tells of objects until nobody looks any more.
    pub(crate) async fn of_objects(self, leadership: Leadership, problems: watch::Receiver<Arc<[Problem]>>) {
        self.once_each(leadership, problems, "NotInForce").await;
    }

    /// Tells of pods that run without the sidecar that they were to have, until nobody looks any more.
    pub(crate) async fn of_pods(self, leadership: Leadership, mut missed: watch::Receiver<Arc<BTreeSet<ObjectKey>>>) {
        let (report, problems) = watch::channel(Arc::default());
        let report = async move {
            loop {
                let pods = Arc::clone(&missed.borrow_and_update());
                let problem =
                    |pod: &ObjectKey| Problem { object: pod.clone(), field: String::new(), reason: MISSED.to_owned() };
                report.send_replace(pods.iter().map(problem).collect());
                if missed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(report, self.once_each(leadership, problems, "NotMeshed"));
    }

    async fn once_each(&self, mut leadership: Leadership, mut problems: watch::Receiver<Arc<[Problem]>>, reason: &str) {
        let mut told: BTreeSet<Problem> = BTreeSet::new();
        loop {
            leadership.gained().await;
            let now = Arc::clone(&problems.borrow_and_update());
            told.retain(|problem| now.contains(problem));
            let news: Vec<Problem> = now.iter().filter(|problem| !told.contains(*problem)).cloned().collect();
            let all = news.len() <= AT_ONCE;
            for problem in news.into_iter().take(AT_ONCE) {
                self.tell(&problem, reason).await;
                told.insert(problem);
            }
            let more = async {
                match all {
                    true => std::future::pending().await,
                    false => sleep(PAUSE).await,
                }
            };
            tokio::select! {
                changed = problems.changed() => if changed.is_err() { return },
                () = more => {}
            }
        }
    }

    /// Tells of updates that proxies refused until none can come any more; of the same one once.
    pub(crate) async fn of_proxies(self, publisher: Publisher, mut refused: mpsc::Receiver<Refused>) {
        let mut told: BTreeSet<Problem> = BTreeSet::new();
        while let Some(Refused { subscriber, resource, invalid }) = refused.recv().await {
            // Without a pod there is nothing to put it beside.
            let Ok(Some(pod)) = publisher.pod_of(subscriber).await else { continue };
            let object = ObjectKey::new(Kind::Pod, &pod.workload.namespace, &pod.workload.pod);
            let reason = format!("{}; the proxy keeps the last good state of {resource:?}", invalid.reason);
            let problem = Problem { object, field: invalid.field, reason };
            if told.len() >= REMEMBERED {
                told.clear();
            }
            if told.insert(problem.clone()) {
                self.tell(&problem, "UpdateRefused").await;
            }
        }
    }

    async fn tell(&self, problem: &Problem, reason: &str) {
        if let Err(error) = self.write(problem, reason).await {
            warn!(%problem, error = in_words(&error), "an Event cannot be written");
        }
    }

    async fn write(&self, problem: &Problem, reason: &str) -> Result<(), kube::Error> {
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
            reason: Some(reason.to_owned()),
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
/// What is said of a pod that was missed.
const MISSED: &str = "is not meshed, although its label minimesh.io/inject or its namespace's asks for it: it was made before that, or \
                      while no injector answered; make it anew, as by kubectl rollout restart";
/// Refused updates, so that each is told of once.
const REMEMBERED: usize = 1_000;
