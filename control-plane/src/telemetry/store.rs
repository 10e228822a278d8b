//! What every proxy reported: pure, `now` is passed in.
//!
//! Reports are cumulative since the proxy's start. A lost one is contained in the next, a repeated one adds nothing, one that
//! comes late is older than what is known and is ignored, and a restarted proxy is a new instance that begins at zero.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{EdgeKey, EdgeReport, ReportedEdge, WorkloadRef};
use minimesh_api::wire::Report;
use tokio::time::Instant;

use super::ring::{self, HISTORY, LATE, Ring};

/// Who reports, from its certificate and its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reporter {
    /// Its pod and what owns it.
    pub(super) workload: WorkloadRef,
    /// Its SPIFFE ID.
    pub(super) identity: Arc<str>,
}

/// All proxies that were heard of within [`HISTORY`].
#[derive(Debug, Default)]
pub(super) struct Store {
    /// By namespace and pod.
    proxies: BTreeMap<(Arc<str>, Arc<str>), Proxy>,
    /// Edges of all instances.
    edges: usize,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The proxy must send everything: this store does not know it.
    pub(super) resend_all: bool,
    /// Edges that did not fit the bounds.
    pub(super) dropped: usize,
}

#[derive(Debug)]
struct Proxy {
    reporter: Reporter,
    /// Newest last. More than one: the proxy was restarted, and a report of the old process may still come.
    instances: VecDeque<Instance>,
    ring: Ring,
    last_report: Instant,
}

#[derive(Debug)]
struct Instance {
    id: [u8; 16],
    uptime: Duration,
    at: Instant,
    totals: HashMap<EdgeKey, EdgeReport>,
}

impl Store {
    /// Takes a report in.
    pub(super) fn report(&mut self, reporter: &Reporter, report: Report, now: Instant) -> Taken {
        let key = (reporter.workload.namespace.clone(), reporter.workload.pod.clone());
        let known = self.proxies.get(&key).is_some_and(|proxy| proxy.knows(&report.instance));
        if !known && !report.complete {
            return Taken { resend_all: true, dropped: 0 };
        }
        let new = || Proxy {
            reporter: reporter.clone(),
            instances: VecDeque::new(),
            ring: Ring::default(),
            last_report: now,
        };
        let proxy = self.proxies.entry(key).or_insert_with(new);
        proxy.reporter = reporter.clone();
        let before = proxy.edges();
        let dropped = proxy.take(report, now, TOTAL_EDGES.saturating_sub(self.edges));
        self.edges = self.edges + proxy.edges() - before;
        Taken { resend_all: false, dropped }
    }

    /// What was reported within `window`, at most [`HISTORY`].
    pub(super) fn edges(&self, window: Duration, now: Instant) -> Vec<ReportedEdge> {
        let window = window.clamp(Duration::from_secs(1), HISTORY);
        self.proxies.values().flat_map(|proxy| proxy.reported(window, now)).collect()
    }

    /// Forgets proxies that have been silent for longer than anybody can ask back.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.proxies.retain(|_, proxy| now.saturating_duration_since(proxy.last_report) <= HISTORY);
        self.edges = self.proxies.values().map(Proxy::edges).sum();
    }
}

impl Proxy {
    fn knows(&self, id: &[u8; 16]) -> bool {
        self.instances.iter().any(|instance| instance.id == *id)
    }

    fn edges(&self) -> usize {
        self.instances.iter().map(|instance| instance.totals.len()).sum()
    }

    /// Answers how many edges did not fit.
    fn take(&mut self, report: Report, now: Instant, room: usize) -> usize {
        self.last_report = now;
        let known = self.instances.iter().position(|instance| instance.id == report.instance);
        let (index, since) = match known {
            // Older than what is known: everything in it was counted.
            Some(index) if report.uptime < self.instances[index].uptime => return 0,
            Some(index) => (index, Some(self.instances[index].at)),
            None => {
                self.begin(report.instance, now);
                // A proxy that is older than the history says nothing about when its counts came to be.
                let age = Some(report.uptime).filter(|uptime| *uptime <= HISTORY);
                (self.instances.len() - 1, age.and_then(|age| now.checked_sub(age)))
            }
        };
        let instance = &mut self.instances[index];
        (instance.uptime, instance.at) = (report.uptime, now);
        let (added, dropped) = instance.add(report.edges, room);
        if let Some(start) = since {
            self.ring.push(start, now, added);
        }
        dropped
    }

    fn begin(&mut self, id: [u8; 16], now: Instant) {
        self.instances.push_back(Instance { id, uptime: Duration::ZERO, at: now, totals: HashMap::new() });
        if self.instances.len() > INSTANCES {
            self.instances.pop_front();
        }
    }

    fn reported(&self, window: Duration, now: Instant) -> Vec<ReportedEdge> {
        let age = now.saturating_duration_since(self.last_report);
        let Some(current) = self.instances.back().filter(|_| age <= window.max(SILENT)) else {
            return Vec::new();
        };
        let mut sum = self.ring.sum(window, now);
        let over = match sum.span {
            // The last report may lie back by a report's interval: what happened since is in no number yet.
            Some((start, end)) if age <= LATE => end.saturating_duration_since(start),
            Some((start, _)) => now.saturating_duration_since(start),
            None => window.min(current.uptime + age),
        };
        // connections that were over before the window are no connections of it
        let connections = |added: &EdgeReport, totals: Option<&EdgeReport>| {
            let present = totals.filter(|totals| totals.tcp_opened > totals.tcp_closed || added.tcp_opened > 0);
            present.map_or((0, 0), |totals| (totals.tcp_opened, totals.tcp_closed))
        };
        let reported = |edge: EdgeReport, totals: Option<&EdgeReport>| ReportedEdge {
            reporter: self.reporter.workload.clone(),
            reporter_identity: self.reporter.identity.clone(),
            total_requests: totals.map_or(0, |totals| totals.requests),
            total_failures: totals.map_or(0, |totals| totals.failures),
            edge: EdgeReport {
                tcp_opened: connections(&edge, totals).0,
                tcp_closed: connections(&edge, totals).1,
                ..edge
            },
            over,
            age,
        };
        let mut edges: Vec<ReportedEdge> = current
            .totals
            .iter()
            .map(|(key, totals)| {
                let added = sum.added.remove(key).unwrap_or_else(|| EdgeReport::nothing(key.clone()));
                reported(added, Some(totals))
            })
            .collect();
        // Edges of an earlier process of this pod: nothing of them is open any more.
        edges.extend(sum.added.into_values().map(|added| reported(added, None)));
        edges.sort_by(|a, b| a.edge.key.cmp(&b.edge.key));
        edges
    }
}

impl Instance {
    /// Takes new totals in; answers what they added, and how many edges did not fit.
    fn add(&mut self, edges: Vec<EdgeReport>, room: usize) -> (HashMap<EdgeKey, EdgeReport>, usize) {
        let mut room = room.min(PROXY_EDGES.saturating_sub(self.totals.len()));
        let (mut added, mut dropped) = (HashMap::new(), 0);
        for edge in edges {
            let key = edge.key.clone();
            let difference = match self.totals.get(&key) {
                Some(earlier) if *earlier == edge => continue,
                Some(earlier) => ring::since(&edge, earlier),
                None if room == 0 => {
                    dropped += 1;
                    continue;
                }
                None => {
                    room -= 1;
                    ring::since(&edge, &EdgeReport::nothing(key.clone()))
                }
            };
            self.totals.insert(key.clone(), edge);
            added.insert(key, difference);
        }
        (added, dropped)
    }
}

/// Processes of one pod that are remembered: the present one, and those whose last report may be late.
const INSTANCES: usize = 3;
/// Edges of all proxies: about 1 KiB each, and as much again in the rings.
const TOTAL_EDGES: usize = 100_000;
/// Edges of one process, so that one proxy cannot take everybody's room.
const PROXY_EDGES: usize = 10_000;
/// A proxy that is silent for longer than this, and than the window asked for, is not shown.
const SILENT: Duration = Duration::from_secs(60);
