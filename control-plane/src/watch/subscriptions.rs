//! What one stream is subscribed to, and how far each resource has got: decides what is sent when, does no input or output.
//!
//! Used by `session` alone. Per resource at most one version is under way: while its answer is out, newer versions replace
//! each other, so that a slow proxy gets the latest and memory is bounded by what is shared anyway.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minimesh_api::model::ResourceKey;
use tokio::time::Instant;

use crate::publish::{Latest, Published};

/// Subscriptions of one stream.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    entries: BTreeMap<ResourceKey, Entry>,
    /// Resources with a version that was not sent yet and that nothing holds back.
    due: BTreeSet<ResourceKey>,
    outgoing: VecDeque<Bytes>,
    /// Since when the first of `outgoing` waits.
    waiting: Option<Instant>,
    flushed: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    latest: Latest,
    /// What the proxy holds for sure: the base of deltas.
    acknowledged: Option<Arc<Published>>,
    /// Version that the proxy named when it subscribed.
    held: Option<u64>,
    /// Sent, not answered, since when.
    under_way: Option<(Arc<Published>, Instant)>,
    /// Refused: not sent again until the content changes.
    refused: Option<u64>,
    /// Whether anything was sent: only changes after that say something about lag.
    answered: bool,
}

/// An acknowledgement that ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// From the change to its acknowledgement; `None` for a first answer, which tells nothing about lag.
    pub(super) lag: Option<Duration>,
}

impl Subscriptions {
    /// Begins a subscription. What is known is due at once: it is an answer, not a change.
    pub(super) fn add(&mut self, key: ResourceKey, latest: Latest, held: Option<u64>, now: Instant) {
        let entry = Entry { latest, acknowledged: None, held, under_way: None, refused: None, answered: false };
        self.entries.insert(key.clone(), entry);
        self.send(&key, now);
    }

    /// Ends a subscription. What is under way may still arrive.
    pub(super) fn remove(&mut self, key: &ResourceKey) -> bool {
        self.due.remove(key);
        self.entries.remove(key).is_some()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is one.
    pub(super) fn contains(&self, key: &ResourceKey) -> bool {
        self.entries.contains_key(key)
    }

    /// A resource changed.
    pub(super) fn changed(&mut self, key: &ResourceKey) {
        if self.entries.get(key).is_some_and(|entry| entry.under_way.is_none() && entry.pending().is_some()) {
            self.due.insert(key.clone());
        }
    }

    /// The proxy applied a version. `None`: not one that is under way (unsubscribed meanwhile, or said twice).
    pub(super) fn acknowledge(&mut self, key: &ResourceKey, version: u64, now: Instant) -> Option<Settled> {
        let entry = self.entries.get_mut(key)?;
        let (published, _) = entry.under_way.take_if(|(published, _)| published.version == version)?;
        let lag = entry.answered.then(|| now.saturating_duration_since(published.at));
        entry.answered = true;
        entry.acknowledged = Some(published);
        self.changed(key);
        Some(Settled { lag })
    }

    /// The proxy refused a version; what it acknowledged before stays the base.
    pub(super) fn refuse(&mut self, key: &ResourceKey, version: u64) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        if entry.under_way.take_if(|(published, _)| published.version == version).is_none() {
            return false;
        }
        entry.refused = Some(version);
        entry.answered = true;
        self.changed(key);
        true
    }

    /// When what is due should be sent: the first change at once, the next ones together.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        let due = !self.due.is_empty() && self.outgoing.is_empty();
        due.then(|| self.flushed.map_or_else(Instant::now, |flushed| flushed + COALESCE))
    }

    /// Sends what is due: endpoints come before the targets that name them (order of `ResourceKey`).
    pub(super) fn flush(&mut self, now: Instant) {
        self.flushed = Some(now);
        for key in std::mem::take(&mut self.due) {
            self.send(&key, now);
        }
    }

    /// Whether a message waits to be sent.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The next message.
    pub(super) fn next_outgoing(&mut self, now: Instant) -> Option<Bytes> {
        self.waiting = Some(now);
        self.outgoing.pop_front()
    }

    /// Since when the proxy owes us something: to take the next message, or to answer the oldest update.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        let unread = self.waiting.filter(|_| self.has_outgoing());
        let unanswered = self.entries.values().filter_map(|entry| entry.under_way.as_ref().map(|(_, since)| *since));
        unanswered.chain(unread).min()
    }

    fn send(&mut self, key: &ResourceKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let Some(published) = entry.pending() else {
            return;
        };
        if entry.held.take() == Some(published.version) {
            // Nothing to send: the proxy has it from an earlier stream.
            entry.acknowledged = Some(published);
            entry.answered = true;
            return;
        }
        if self.outgoing.is_empty() {
            self.waiting = Some(now);
        }
        self.outgoing.extend(published.frames(entry.acknowledged.as_deref()).iter().cloned());
        entry.under_way = Some((published, now));
    }
}

impl Entry {
    /// The latest version, if the proxy neither holds nor refused it and none is under way.
    fn pending(&self) -> Option<Arc<Published>> {
        let latest = self.latest.borrow().clone()?;
        let holds = self.acknowledged.as_ref().is_some_and(|held| held.version == latest.version);
        let wanted = self.under_way.is_none() && !holds && self.refused != Some(latest.version);
        wanted.then_some(latest)
    }
}

/// Changes of 50 ms travel together: a rollout touches many objects in a row.
const COALESCE: Duration = Duration::from_millis(50);
