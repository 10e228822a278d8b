//! What this proxy knows and asks for: every resource with its last good state, its version, and who still reads it.
//!
//! States outlive connections: a stream that opens anew names the versions that are held. A state is replaced by a complete one
//! that was understood, or stays.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{PortPolicy, ResourceKey, Target, TrustBundle, Workload};
use minimesh_api::wire::{Assembly, EndpointsPart, Invalid, State as Content, Update};
use minimesh_route::RouteTable;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::handle::{Publisher, Receiver, State, TargetSnapshot};
use crate::metrics::ControlMetrics;

/// All resources of a proxy.
pub(super) struct Resources {
    held: RefCell<HashMap<ResourceKey, Held>>,
    workload: watch::Sender<State<Arc<Workload>>>,
    /// Versions of what is not asked for by workers.
    own: RefCell<HashMap<ResourceKey, Option<u64>>>,
    /// `None` while there is no stream: a new one is told everything, so nothing piles up meanwhile.
    news: RefCell<Option<Vec<News>>>,
    told: Notify,
}

/// What the control plane has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    Subscribe(ResourceKey),
    Unsubscribe(ResourceKey),
}

/// What became of an update that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It is in force; acknowledge it.
    InForce,
    /// A chunk of it; wait for the rest.
    Incomplete,
    /// Of a resource that is no longer asked for, or the rest of what was refused: there is nothing to answer.
    Unwanted,
}

/// One resource of the workers.
struct Held {
    publisher: Publisher,
    /// Of the state in force.
    version: Option<u64>,
    /// Since when nobody has read it.
    idle: Option<Instant>,
    chunks: Chunks,
}

/// Endpoints under way.
#[derive(Default)]
struct Chunks {
    assembly: Assembly,
    /// A chunk of this version was refused: what follows of it must not pass for the whole.
    refused: Option<u64>,
    /// A change came against a base that is not held.
    baseless: bool,
    /// Everything was asked for anew and has not come yet.
    anew: bool,
}

/// Resources at once; the control plane refuses more than 1 000 from one proxy, workload and trust among them.
pub(super) const MOST: usize = 998;

/// An application that comes back to a target within this time finds it warm.
const IDLE: Duration = Duration::from_secs(60);

impl Resources {
    pub(super) fn new(workload: watch::Sender<State<Arc<Workload>>>) -> Resources {
        Resources {
            held: RefCell::default(),
            workload,
            own: RefCell::new([(ResourceKey::Trust, None), (ResourceKey::Workload, None)].into()),
            news: RefCell::default(),
            told: Notify::new(),
        }
    }

    /// A worker asks; `None`: one resource too many, or a kind that is not for workers.
    pub(super) fn ask(&self, key: &ResourceKey, metrics: &ControlMetrics) -> Option<Receiver> {
        if let Some(known) = self.held.borrow_mut().get_mut(key) {
            known.idle = None;
            return Some(known.publisher.subscribe());
        }
        let publisher = Publisher::pending(key)?;
        if self.held.borrow().len() >= MOST && !self.evict() {
            metrics.refused_subscription();
            return None;
        }
        let receiver = publisher.subscribe();
        let held = Held { publisher, version: None, idle: None, chunks: Chunks::default() };
        self.held.borrow_mut().insert(key.clone(), held);
        self.tell([News::Subscribe(key.clone())]);
        self.count(metrics);
        Some(receiver)
    }

    /// Forgets what nobody has read for a while.
    pub(super) fn sweep(&self, metrics: &ControlMetrics) {
        let now = Instant::now();
        let mut gone = Vec::new();
        self.held.borrow_mut().retain(|key, held| {
            let stays = held.idle_since(now).is_none_or(|since| now - since < IDLE);
            if !stays {
                gone.push(News::Unsubscribe(key.clone()));
            }
            stays
        });
        self.tell(gone);
        self.count(metrics);
    }

    /// Everything that is asked for, with the version held. From now on what changes is news.
    pub(super) fn all(&self) -> Vec<(ResourceKey, Option<u64>)> {
        self.news.replace(Some(Vec::new()));
        for held in self.held.borrow_mut().values_mut() {
            // of a stream that broke
            held.chunks = Chunks::default();
        }
        let own = self.own.borrow();
        let held = self.held.borrow();
        let held = held.iter().map(|(key, held)| (key.clone(), held.version));
        own.iter().map(|(key, version)| (key.clone(), *version)).chain(held).collect()
    }

    /// The stream has ended.
    pub(super) fn hang_up(&self) {
        self.news.take();
    }

    /// What there is to tell, when there is something.
    pub(super) async fn news(&self) -> Vec<News> {
        loop {
            let news = self.news.borrow_mut().as_mut().map(std::mem::take).unwrap_or_default();
            if !news.is_empty() {
                return news;
            }
            self.told.notified().await;
        }
    }

    /// Takes an update in, whole or not at all.
    pub(super) fn apply(
        &self,
        update: Update,
        trust: impl FnOnce(&TrustBundle) -> Result<(), Invalid>,
    ) -> Result<Applied, Invalid> {
        let Update { key, version, state } = update;
        match state {
            Content::Trust(bundle) => trust(&bundle)?,
            Content::Workload(workload) => {
                self.workload.send_replace(State::Known(Arc::new(workload)));
            }
            Content::Endpoints(_) | Content::Port(_) | Content::Target(_) => {
                return match self.held.borrow_mut().get_mut(&key) {
                    Some(held) => held.apply(version, state),
                    None => Ok(Applied::Unwanted),
                };
            }
        }
        self.own.borrow_mut().insert(key, Some(version));
        Ok(Applied::InForce)
    }

    /// An update, or a chunk with `more` to come, was refused. Answers whether everything must be asked for anew.
    pub(super) fn refused(&self, key: &ResourceKey, version: u64, more: bool) -> bool {
        match self.held.borrow_mut().get_mut(key) {
            Some(Held { publisher: Publisher::Endpoints(_), chunks, .. }) => {
                chunks.assembly = Assembly::default();
                chunks.refused = more.then_some(version);
                // Once: a control plane that answers with the same again is not asked a third time.
                std::mem::take(&mut chunks.baseless) && !std::mem::replace(&mut chunks.anew, true)
            }
            _ => false,
        }
    }

    /// Forgets the resource that nobody has read for the longest time. False where every one is read.
    fn evict(&self) -> bool {
        let now = Instant::now();
        let mut held = self.held.borrow_mut();
        let idle = held.iter_mut().filter_map(|(key, held)| held.idle_since(now).map(|since| (since, key)));
        let Some(longest) = idle.min().map(|(_, key)| key.clone()) else { return false };
        held.remove(&longest);
        self.tell([News::Unsubscribe(longest)]);
        true
    }

    fn tell(&self, more: impl IntoIterator<Item = News>) {
        if let Some(news) = self.news.borrow_mut().as_mut() {
            news.extend(more);
            self.told.notify_one();
        }
    }

    /// What is held, for people: key and version, 0 where nothing is known yet.
    pub(super) fn describe(&self) -> Vec<(ResourceKey, u64)> {
        let held = self.held.borrow();
        let mut all: Vec<_> = held.iter().map(|(key, held)| (key.clone(), held.version.unwrap_or(0))).collect();
        all.sort();
        all
    }

    /// Policies of ports, for people.
    pub(super) fn ports(&self) -> Vec<(u16, Option<PortPolicy>)> {
        let held = self.held.borrow();
        let policy = |(key, held): (&ResourceKey, &Held)| match (key, &held.publisher) {
            (ResourceKey::Port(port), Publisher::Port(sender)) => Some((*port, sender.borrow().known().copied())),
            _ => None,
        };
        let mut ports: Vec<_> = held.iter().filter_map(policy).collect();
        ports.sort_by_key(|(port, _)| *port);
        ports
    }

    /// How many there are, and how many of them are not known yet.
    pub(super) fn count(&self, metrics: &ControlMetrics) {
        let held = self.held.borrow();
        metrics.subscriptions(held.len(), held.values().filter(|held| held.version.is_none()).count());
    }
}

impl Held {
    /// Since when nobody has read it; `None`: somebody does.
    fn idle_since(&mut self, now: Instant) -> Option<Instant> {
        if self.publisher.receivers() > 0 {
            self.idle = None;
            return None;
        }
        Some(*self.idle.get_or_insert(now))
    }

    fn apply(&mut self, version: u64, state: Content) -> Result<Applied, Invalid> {
        match (&self.publisher, state) {
            (Publisher::Endpoints(_), Content::Endpoints(part)) => return self.endpoints(version, part),
            (Publisher::Port(sender), Content::Port(policy)) => {
                sender.send_replace(State::Known(policy));
            }
            (Publisher::Target(sender), Content::Target(target)) => {
                sender.send_replace(State::Known(Arc::new(compile(target)?)));
            }
            _ => return Err(Invalid::new("state", "not of the resource's kind")),
        }
        self.version = Some(version);
        Ok(Applied::InForce)
    }

    fn endpoints(&mut self, version: u64, part: EndpointsPart) -> Result<Applied, Invalid> {
        let (EndpointsPart::Delta { more, .. } | EndpointsPart::Full { more, .. }) = &part;
        if self.chunks.refused == Some(version) {
            self.chunks.refused.take_if(|_| !more);
            return Ok(Applied::Unwanted);
        }
        self.chunks.refused = None;
        let Some(change) = self.chunks.assembly.push(version, part)? else { return Ok(Applied::Incomplete) };
        let Publisher::Endpoints(sender) = &self.publisher else { return Ok(Applied::Unwanted) };
        let endpoints = {
            let current = sender.borrow();
            change.apply(self.version.zip(current.known().map(Arc::as_ref)))
        };
        // The series is whole, so only its base can be wrong.
        let endpoints = endpoints.inspect_err(|_| self.chunks.baseless = true)?;
        sender.send_replace(State::Known(Arc::new(endpoints)));
        self.version = Some(version);
        self.chunks.anew = false;
        Ok(Applied::InForce)
    }
}

/// Compiled once here, used by every worker.
fn compile(target: Target) -> Result<TargetSnapshot, Invalid> {
    Ok(match target {
        Target::Endpoint(endpoint) => TargetSnapshot::Endpoint(endpoint),
        Target::Passthrough(reason) => TargetSnapshot::Passthrough(reason),
        Target::Service(service) => {
            let routes = RouteTable::compile(&service.http_routes)
                .map_err(|error| Invalid::new(format!("service.{}", error.field), error.reason))?;
            TargetSnapshot::Service {
                service: service.service,
                protocol: service.protocol,
                routes: Arc::new(routes),
                client_affinity: service.client_affinity,
            }
        }
    })
}
