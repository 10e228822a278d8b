//! What this proxy knows and asks for: every resource with its last good state, its version, and who still reads it.
//!
//! States outlive connections: a stream that opens anew names the versions that are held. A state is replaced by a complete one
//! that was understood, or stays.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{Endpoints, ResourceKey, Target, TrustBundle, Workload};
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
    own: RefCell<HashMap<ResourceKey, u64>>,
    news: RefCell<Vec<News>>,
    told: Notify,
}

/// What the control plane has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    Subscribe(ResourceKey),
    Unsubscribe(ResourceKey),
}

/// One resource of the workers.
struct Held {
    publisher: Publisher,
    /// 0: nothing is held.
    version: u64,
    assembly: Assembly,
    /// Since when nobody has read it.
    idle: Option<Instant>,
}

/// Resources at once; the control plane refuses more than 1 000 from one proxy, workload and trust among them.
const MOST: usize = 998;

/// An application that comes back to a target within this time finds it warm.
const IDLE: Duration = Duration::from_secs(60);

impl Resources {
    pub(super) fn new(workload: watch::Sender<State<Arc<Workload>>>) -> Resources {
        Resources {
            held: RefCell::default(),
            workload,
            own: RefCell::new([(ResourceKey::Trust, 0), (ResourceKey::Workload, 0)].into()),
            news: RefCell::default(),
            told: Notify::new(),
        }
    }

    /// A worker asks; `None`: one resource too many, or a kind that is not for workers.
    pub(super) fn ask(&self, key: &ResourceKey, metrics: &ControlMetrics) -> Option<Receiver> {
        let mut held = self.held.borrow_mut();
        if let Some(known) = held.get_mut(key) {
            known.idle = None;
            return Some(known.publisher.subscribe());
        }
        if held.len() >= MOST {
            metrics.refused_subscription();
            return None;
        }
        let publisher = Publisher::pending(key)?;
        let receiver = publisher.subscribe();
        held.insert(key.clone(), Held { publisher, version: 0, assembly: Assembly::default(), idle: None });
        self.news.borrow_mut().push(News::Subscribe(key.clone()));
        self.told.notify_one();
        drop(held);
        self.count(metrics);
        Some(receiver)
    }

    /// Forgets what nobody has read for a while.
    pub(super) fn sweep(&self, metrics: &ControlMetrics) {
        let now = Instant::now();
        let mut gone = Vec::new();
        self.held.borrow_mut().retain(|key, held| {
            if held.publisher.receivers() > 0 {
                held.idle = None;
                return true;
            }
            let stays = now - *held.idle.get_or_insert(now) < IDLE;
            if !stays {
                gone.push(News::Unsubscribe(key.clone()));
            }
            stays
        });
        if !gone.is_empty() {
            self.news.borrow_mut().append(&mut gone);
            self.told.notify_one();
        }
        self.count(metrics);
    }

    /// Everything that is asked for, with the version held; what is waiting to be told is part of it.
    pub(super) fn all(&self) -> Vec<(ResourceKey, u64)> {
        self.news.borrow_mut().clear();
        for held in self.held.borrow_mut().values_mut() {
            // chunks of a stream that broke
            held.assembly = Assembly::default();
        }
        let own = self.own.borrow();
        let held = self.held.borrow();
        let held = held.iter().map(|(key, held)| (key.clone(), held.version));
        own.iter().map(|(key, version)| (key.clone(), *version)).chain(held).collect()
    }

    /// What there is to tell, when there is something.
    pub(super) async fn news(&self) -> Vec<News> {
        loop {
            let news = std::mem::take(&mut *self.news.borrow_mut());
            if !news.is_empty() {
                return news;
            }
            self.told.notified().await;
        }
    }

    /// Takes an update in. `Ok(true)`: it is in force, acknowledge it. `Ok(false)`: a part of it, or nothing that is asked for.
    pub(super) fn apply(
        &self,
        update: Update,
        trust: impl FnOnce(&TrustBundle) -> Result<(), Invalid>,
    ) -> Result<bool, Invalid> {
        let Update { key, version, state } = update;
        match state {
            Content::Trust(bundle) => trust(&bundle)?,
            Content::Workload(workload) => {
                self.workload.send_replace(State::Known(Arc::new(workload)));
            }
            Content::Endpoints(_) | Content::Port(_) | Content::Target(_) => {
                return match self.held.borrow_mut().get_mut(&key) {
                    Some(held) => held.apply(version, state),
                    None => Ok(false),
                };
            }
        }
        self.own.borrow_mut().insert(key, version);
        Ok(true)
    }

    /// What is held, for people: key and version, 0 where nothing is known yet.
    pub(super) fn describe(&self) -> Vec<(ResourceKey, u64)> {
        let held = self.held.borrow();
        let mut all: Vec<_> = held.iter().map(|(key, held)| (key.clone(), held.version)).collect();
        all.sort();
        all
    }

    fn count(&self, metrics: &ControlMetrics) {
        let held = self.held.borrow();
        metrics.subscriptions(held.len(), held.values().filter(|held| held.version == 0).count());
    }
}

impl Held {
    fn apply(&mut self, version: u64, state: Content) -> Result<bool, Invalid> {
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
        self.version = version;
        Ok(true)
    }

    fn endpoints(&mut self, version: u64, part: EndpointsPart) -> Result<bool, Invalid> {
        let Some(change) = self.assembly.push(version, part)? else { return Ok(false) };
        let Publisher::Endpoints(sender) = &self.publisher else { return Ok(false) };
        let endpoints: Endpoints = match sender.borrow().known() {
            Some(base) => change.apply(Some((self.version, base)))?,
            None => change.apply(None)?,
        };
        sender.send_replace(State::Known(Arc::new(endpoints)));
        self.version = version;
        Ok(true)
    }
}

/// Compiled once here, used by every worker.
fn compile(target: Target) -> Result<TargetSnapshot, Invalid> {
    Ok(match target {
        Target::Endpoint(endpoint) => TargetSnapshot::Endpoint(endpoint),
        Target::Passthrough(reason) => TargetSnapshot::Passthrough(reason),
        Target::Service(service) => {
            let routes = RouteTable::compile(&service.http_routes)
                .map_err(|error| Invalid::new(format!("service.http_routes{}", error.field), error.reason))?;
            TargetSnapshot::Service { service: service.service, protocol: service.protocol, routes: Arc::new(routes) }
        }
    })
}
