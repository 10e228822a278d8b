//! The publisher: the one task that owns the index. Events go in; subscribed answers whose content changed go out.
//!
//! ```text
//! folder, kubernetes -- Vec<Event> --> apply -> Changes -> ask affected questions again -> version differs? -> watch::Sender
//! watch, certify, telemetry -- Publisher (handle) --> subscribe, pod_by_token, pod_of
//! ```
//!
//! It answers nothing before the first complete list, and never waits for a subscriber: a watch channel keeps the latest.

mod herald;
mod published;
mod question;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time;
use minimesh_api::model::TrustBundle;
use minimesh_identity::Error;
use minimesh_index::{Changes, Event, Index, Kind, Object, ObjectKey, PodInfo, RouteStatus, Truth};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

pub(crate) use published::Published;
pub(crate) use question::{Question, Subscriber};

use herald::Herald;

use crate::issuing::{InForce, Issuing};
use crate::metrics::Metrics;

/// The latest version of an answer; `None` until there is one.
pub(crate) type Latest = watch::Receiver<Option<Arc<Published>>>;

/// The publisher as others see it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    commands: mpsc::Sender<Command>,
    synced: watch::Receiver<bool>,
    meshed: watch::Receiver<Arc<BTreeSet<Arc<str>>>>,
    routes: watch::Receiver<Option<Arc<[RouteStatus]>>>,
    missed: watch::Receiver<Arc<BTreeSet<ObjectKey>>>,
}

/// The publisher does not answer: the first list is not complete, or the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not everything there is has been read yet")]
pub(crate) struct Unready;

/// What the task is asked.
#[derive(Debug)]
pub(crate) enum Command {
    Pod { namespace: String, name: String, reply: oneshot::Sender<Option<PodInfo>> },
    PodByToken { sha256: [u8; 32], reply: oneshot::Sender<Option<PodInfo>> },
    PodOf { subscriber: Subscriber, reply: oneshot::Sender<Option<PodInfo>> },
    Subscribe { question: Question, reply: oneshot::Sender<Latest> },
}

impl Publisher {
    /// Starts the task. It ends when every handle is gone or the events end.
    pub(crate) fn spawn(
        index: Index,
        in_force: InForce,
        events: mpsc::Receiver<Vec<Event>>,
        metrics: Arc<Metrics>,
    ) -> Result<Publisher, Error> {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (synced, is_synced) = watch::channel(index.is_synced());
        let (meshed, are_meshed) = watch::channel(Arc::default());
        let (routes, judged) = Herald::spawn();
        let (missed, were_missed) = watch::channel(Arc::default());
        let (answers, tokens) = (HashMap::new(), BTreeMap::new());
        let trust = in_force.now().trust()?;
        let state = State { index, trust, tokens, answers, synced, meshed, routes, missed, metrics };
        tokio::spawn(state.run(receiver, events, in_force));
        Ok(Publisher { commands, synced: is_synced, meshed: are_meshed, routes: judged, missed: were_missed })
    }

    /// A handle of a task that the test runs.
    #[cfg(test)]
    pub(crate) fn of(commands: mpsc::Sender<Command>) -> Publisher {
        let (synced, meshed, routes) =
            (watch::channel(true).1, watch::channel(Arc::default()).1, watch::channel(None).1);
        Publisher { commands, synced, meshed, routes, missed: watch::channel(Arc::default()).1 }
    }

    /// Whether the first complete list is in.
    pub(crate) fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Namespaces in which pods are meshed or will be.
    pub(crate) fn meshed_namespaces(&self) -> watch::Receiver<Arc<BTreeSet<Arc<str>>>> {
        self.meshed.clone()
    }

    /// Conditions of every route, once all are read, and whenever they change and the proxies have followed (or had time to).
    pub(crate) fn route_statuses(&self) -> watch::Receiver<Option<Arc<[RouteStatus]>>> {
        self.routes.clone()
    }

    /// Pods without the sidecar that they were to have.
    pub(crate) fn missed_pods(&self) -> watch::Receiver<Arc<BTreeSet<ObjectKey>>> {
        self.missed.clone()
    }

    /// A pod by its name.
    pub(crate) async fn pod(&self, namespace: &str, name: &str) -> Result<Option<PodInfo>, Unready> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.synced_ask(|reply| Command::Pod { namespace, name, reply }).await
    }

    /// The answer to a question, now and whenever it changes. Dropping every receiver ends the work for it.
    pub(crate) async fn subscribe(&self, question: Question) -> Result<Latest, Unready> {
        self.ask(|reply| Command::Subscribe { question, reply }).await
    }

    /// The pod whose bootstrap token has this SHA-256.
    pub(crate) async fn pod_by_token(&self, sha256: [u8; 32]) -> Result<Option<PodInfo>, Unready> {
        self.synced_ask(|reply| Command::PodByToken { sha256, reply }).await
    }

    /// The pod of a proxy.
    pub(crate) async fn pod_of(&self, subscriber: Subscriber) -> Result<Option<PodInfo>, Unready> {
        self.synced_ask(|reply| Command::PodOf { subscriber, reply }).await
    }

    async fn synced_ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Unready> {
        if !self.is_synced() {
            return Err(Unready);
        }
        self.ask(command).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Unready> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Unready)?;
        answer.await.map_err(|_| Unready)
    }
}

struct State {
    index: Index,
    trust: TrustBundle,
    /// Every pod with a bootstrap token, by namespace and name.
    tokens: BTreeMap<(Arc<str>, Arc<str>), [u8; 32]>,
    answers: HashMap<Question, watch::Sender<Option<Arc<Published>>>>,
    synced: watch::Sender<bool>,
    meshed: watch::Sender<Arc<BTreeSet<Arc<str>>>>,
    routes: Herald,
    missed: watch::Sender<Arc<BTreeSet<ObjectKey>>>,
    metrics: Arc<Metrics>,
}

impl State {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut events: mpsc::Receiver<Vec<Event>>,
        mut in_force: InForce,
    ) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                batch = events.recv() => match batch {
                    Some(batch) => self.apply(batch),
                    None => return,
                },
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                issuing = in_force.changed() => self.trust(&issuing),
                _ = sweep.tick() => self.answers.retain(|_, latest| latest.receiver_count() > 0),
            }
        }
    }

    /// Takes in what one look at the source found, as a whole.
    fn apply(&mut self, batch: Vec<Event>) {
        let (count, began) = (batch.len(), Instant::now());
        let mut changes = Changes::default();
        let mut pods = Pods::default();
        let objects: usize = batch.iter().map(size).sum();
        for event in batch {
            pods.note(&event);
            changes.merge(self.index.apply(event));
        }
        self.note_tokens(pods);
        let is_first = self.index.is_synced() && !*self.synced.borrow();
        // Questions asked before had no answer.
        changes.everything |= is_first;
        self.metrics.events.add(count as u64);
        self.note_meshed();
        let replaced = self.publish(&changes);
        let published = replaced.len();
        if self.index.is_synced() && (changes.routes || changes.everything) {
            self.note_routes(replaced);
        }
        if is_first {
            info!(objects, "everything is read; proxies are answered from now on");
            self.synced.send_replace(true);
        }
        debug!(events = count, published, micros = began.elapsed().as_micros() as u64, "objects changed");
    }

    /// Another authority is in force.
    fn trust(&mut self, issuing: &Issuing) {
        match issuing.trust() {
            Ok(trust) => self.trust = trust,
            Err(error) => return error!(%error, "the trust bundle cannot be published; the last one stays"),
        }
        if let Some((question, latest)) =
            self.answers.get_key_value(&Question::Trust).filter(|_| self.index.is_synced())
        {
            self.refresh(question, latest);
        }
    }

    fn note_meshed(&self) {
        note(&self.meshed, self.index.meshed_namespaces());
        if self.index.is_synced() {
            note(&self.missed, self.index.missed_pods());
        }
    }

    /// Asks affected questions again; answers what was replaced.
    fn publish(&mut self, changes: &Changes) -> Vec<Replaced> {
        if !self.index.is_synced() {
            return Vec::new();
        }
        self.answers.retain(|_, latest| latest.receiver_count() > 0);
        let affected = self.answers.iter().filter(|(question, _)| question.affected(changes));
        affected.filter_map(|(question, latest)| self.refresh(question, latest)).collect()
    }

    /// Publishes the answer if its content differs from what was published last, and hands that back.
    fn refresh(&self, question: &Question, latest: &watch::Sender<Option<Arc<Published>>>) -> Option<Replaced> {
        let state = question.answer(&self.index, &self.trust)?;
        let published = Published::new(question.key(), state, Instant::now());
        let differs = latest.borrow().as_ref().is_none_or(|current| current.version != published.version);
        differs.then(|| Replaced(latest.send_replace(Some(Arc::new(published)))))
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked and is gone does not need the answer.
        match command {
            Command::Pod { namespace, name, reply } => drop(reply.send(self.index.pod(&namespace, &name))),
            Command::PodByToken { sha256, reply } => drop(reply.send(self.pod_by_token(&sha256))),
            Command::PodOf { subscriber, reply } => drop(reply.send(subscriber.pod(&self.index))),
            Command::Subscribe { question, reply } => drop(reply.send(self.subscribe(question))),
        }
    }

    fn subscribe(&mut self, question: Question) -> Latest {
        let question = question.settled(&self.index);
        if let Some(latest) = self.answers.get(&question) {
            return latest.subscribe();
        }
        let (latest, receiver) = watch::channel(None);
        if self.index.is_synced() {
            self.refresh(&question, &latest);
        }
        self.answers.insert(question, latest);
        receiver
    }

    /// Compares with every pod, in constant time: how long it takes says nothing about any token.
    fn pod_by_token(&self, sha256: &[u8; 32]) -> Option<PodInfo> {
        let mut found = None;
        for (name, expected) in &self.tokens {
            if constant_time::verify_slices_are_equal(expected, sha256).is_ok() {
                found = Some(name);
            }
        }
        let (namespace, name) = found?;
        self.index.pod(namespace, name)
    }

    fn note_tokens(&mut self, pods: Pods) {
        if pods.replaced {
            self.tokens.clear();
        }
        for (namespace, name) in pods.touched {
            match self.index.pod(&namespace, &name).and_then(|pod| pod.token_sha256) {
                Some(sha256) => self.tokens.insert((namespace, name), sha256),
                None => self.tokens.remove(&(namespace, name)),
            };
        }
    }

    /// Tells who writes them back, and says which routes are not in force, once. `replaced`: what proxies hold that goes by the routes as
    /// they were.
    fn note_routes(&self, replaced: Vec<Replaced>) {
        let now: Arc<[RouteStatus]> = self.index.route_statuses().into();
        let before = self.routes.tell(Arc::clone(&now), replaced.into_iter().filter_map(|Replaced(before)| before));
        // both are in the order of their keys
        let known = |status: &RouteStatus| before.binary_search_by(|known| known.route.cmp(&status.route));
        let is_news = |status: &&RouteStatus| known(status).ok().is_none_or(|at| before[at] != **status);
        for status in now.iter().filter(is_news) {
            for condition in status.parents.iter().flat_map(|parent| &parent.conditions) {
                let good = (condition.status == Truth::True) != (condition.condition_type == "PartiallyInvalid");
                if !good {
                    let (route, kind) = (&status.route, condition.condition_type);
                    let (reason, message) = (condition.reason, &condition.message);
                    warn!(%route, condition = kind, reason, message, "a route is not fully in force");
                }
            }
        }
    }
}

/// What an answer was before it got another content; `None`: there was none.
struct Replaced(Option<Arc<Published>>);

/// How many objects an event is about.
fn size(event: &Event) -> usize {
    match event {
        Event::Apply(_) | Event::Delete(_) => 1,
        Event::Replace(objects) => objects.len(),
    }
}

/// Publishes a set if it is another one.
fn note<T: Ord>(published: &watch::Sender<Arc<BTreeSet<T>>>, now: BTreeSet<T>) {
    published.send_if_modified(|known| {
        let differs = **known != now;
        if differs {
            *known = Arc::new(now);
        }
        differs
    });
}

/// Which pods a batch speaks of.
#[derive(Default)]
struct Pods {
    replaced: bool,
    touched: Vec<(Arc<str>, Arc<str>)>,
}

impl Pods {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Apply(object) => self.note_object(object),
            Event::Delete(key) if key.kind == Kind::Pod => {
                self.touched.push((key.namespace.clone(), key.name.clone()));
            }
            Event::Delete(_) => {}
            Event::Replace(objects) => {
                self.replaced = true;
                self.touched.clear();
                objects.iter().for_each(|object| self.note_object(object));
            }
        }
    }

    fn note_object(&mut self, object: &Object) {
        let key = object.key();
        if key.kind == Kind::Pod {
            self.touched.push((key.namespace, key.name));
        }
    }
}

/// Questions that wait while the index is being changed; askers beyond wait too.
const COMMANDS: usize = 256;
/// How often answers that nobody holds any more are dropped (a change drops them as well).
const SWEEP: Duration = Duration::from_secs(30);
