//! Rows of all proxies, from both ends of every connection, become edges and workloads. Pure.
//!
//! An edge is *secured* only when both sides verified each other: every outbound row of the client names the server's
//! identity, and the server's proxy names the client's. What only one side says is not secured, and the reason is kept.
//! Numbers of an edge are the client's; the server's are used where the client's proxy said nothing.
//!
//! A server cannot name a client without identity. Such traffic is an edge from `unknown`, and not secured, however little it
//! is. What came from the address of the pod's own node, as a kubelet's probes do, is no edge between workloads: the server's
//! proxy says so, and it is told apart as [`asked_by_nodes`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use minimesh_api::{
    histogram::Histogram,
    model::{Direction, EdgeProtocol, ReportedEdge, Security, WorkloadRef},
};

/// One end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    /// Pods of one owner.
    Workload(Workload),
    /// A Service whose endpoints were never reached.
    Service { namespace: Arc<str>, name: Arc<str> },
    /// Somebody with a mesh identity, whose own proxy reported nothing.
    Identity(Arc<str>),
    /// Somebody without identity, or an address that is no workload's.
    Unknown,
}

impl Party {
    /// The namespace, where there is one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match self {
            Party::Workload(workload) => Some(&workload.namespace),
            Party::Service { namespace, .. } => Some(namespace),
            Party::Identity(_) | Party::Unknown => None,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Workload(workload) => f.write_str(&workload.name),
            Party::Service { name, .. } => f.write_str(name),
            Party::Identity(identity) => f.write_str(identity),
            Party::Unknown => f.write_str("unknown"),
        }
    }
}

/// A workload without its pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Workload {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) kind: Arc<str>,
}

impl From<&WorkloadRef> for Workload {
    fn from(reference: &WorkloadRef) -> Workload {
        let WorkloadRef { namespace, kind, name, .. } = reference;
        Workload { namespace: namespace.clone(), name: name.clone(), kind: kind.clone() }
    }
}

/// Whether both sides verified each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Secured {
    /// Why not.
    No(String),
    /// One side has not reported, and the edge is so young that it may still do so. Not secured, but no reason for alarm.
    NotYet(String),
    Yes,
}

impl Secured {
    pub(crate) fn is_yes(&self) -> bool {
        *self == Secured::Yes
    }

    /// Why not, if not.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Secured::No(reason) | Secured::NotYet(reason) => Some(reason),
            Secured::Yes => None,
        }
    }
}

/// What was counted, over the window unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) requests: u64,
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    /// Requests per second.
    pub(crate) rps: f64,
    /// Microseconds.
    pub(crate) latency: Histogram,
    /// Connections open now.
    pub(crate) tcp_open: u64,
    /// From the reporting side's view of its peer.
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    /// Since the proxies' start.
    pub(crate) total_requests: u64,
    pub(crate) total_failures: u64,
}

impl Numbers {
    fn add(&mut self, row: &ReportedEdge) {
        let edge = &row.edge;
        self.requests += edge.requests;
        self.successes += edge.successes;
        self.failures += edge.failures;
        self.rps += match row.over.as_secs_f64() {
            over if over > 0.0 => edge.requests as f64 / over,
            _ => 0.0,
        };
        self.latency.add(&edge.latency);
        // a proxy that is gone took its connections with it
        if row.age <= STALE {
            self.tcp_open += edge.tcp_opened.saturating_sub(edge.tcp_closed);
        }
        self.bytes_read += edge.bytes_read;
        self.bytes_written += edge.bytes_written;
        self.total_requests += row.total_requests;
        self.total_failures += row.total_failures;
    }

    /// Share of responses that were no failure; `None` without any.
    pub(crate) fn success_rate(&self) -> Option<f64> {
        let answered = self.successes + self.failures;
        (answered > 0).then(|| self.successes as f64 / answered as f64)
    }

    /// Latency in milliseconds below which this share of responses lies.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        self.latency.quantile(share).map(|microseconds| microseconds / 1000.0)
    }
}

/// Who talks to whom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) source: Party,
    pub(crate) destination: Party,
    pub(crate) protocol: EdgeProtocol,
    pub(crate) secured: Secured,
    pub(crate) numbers: Numbers,
    /// Identities that the client's and the server's reports carry.
    pub(crate) client_identity: Option<Arc<str>>,
    pub(crate) server_identity: Option<Arc<str>>,
}

/// One workload, or one of its pods, as its own proxies see what comes in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) workload: Workload,
    /// `None`: all pods together.
    pub(crate) pod: Option<Arc<str>>,
    /// Pods whose proxies report, and pods that anybody named.
    pub(crate) meshed: (usize, usize),
    pub(crate) numbers: Numbers,
}

/// Merges reports into edges, ordered by source and destination.
pub(crate) fn edges(rows: &[ReportedEdge]) -> Vec<Edge> {
    let names = Names::of(rows);
    let mut pairs: BTreeMap<(Party, Party, EdgeProtocol), Pair<'_>> = BTreeMap::new();
    for row in rows.iter().filter(|row| carried_anything(row) && !stays_in_pod(row) && !is_from_node(row)) {
        let own = Party::Workload((&row.reporter).into());
        let protocol = row.edge.key.protocol;
        match row.edge.key.direction {
            Direction::Inbound => {
                for client in names.clients_of(row) {
                    pairs.entry((client, own.clone(), protocol)).or_default().inbound.push(row);
                }
            }
            Direction::Outbound => pairs.entry((own, names.server_of(row), protocol)).or_default().outbound.push(row),
        }
    }
    fold_verdict_connections(&mut pairs);
    pairs
        .into_iter()
        .map(|((source, destination, protocol), pair)| pair.merge(source, destination, protocol, &names))
        .collect()
}

/// Workloads that their own nodes asked in plaintext, ordered: probes, and whatever runs on a node's network.
pub(crate) fn asked_by_nodes(rows: &[ReportedEdge]) -> Vec<Workload> {
    let asked = rows.iter().filter(|row| carried_anything(row) && is_from_node(row));
    let asked: BTreeSet<Workload> = asked.map(|row| (&row.reporter).into()).collect();
    asked.into_iter().collect()
}

/// Merges reports into workloads, or into pods, with what their own proxies counted inbound.
pub(crate) fn served(rows: &[ReportedEdge], by_pod: bool) -> Vec<Served> {
    let mut all: BTreeMap<(Workload, Option<Arc<str>>), Pods> = BTreeMap::new();
    let key = |reference: &WorkloadRef| (Workload::from(reference), by_pod.then(|| reference.pod.clone()));
    for row in rows.iter().filter(|row| row.age <= STALE) {
        let pods = all.entry(key(&row.reporter)).or_default();
        if row.edge.key.direction == Direction::Inbound && !stays_in_pod(row) && !is_from_node(row) {
            pods.numbers.add(row);
        }
        pods.reporting.insert(row.reporter.pod.clone());
        pods.known.insert(row.reporter.pod.clone());
        if let Some(peer) = &row.edge.key.peer
            && row.edge.key.direction == Direction::Outbound
            && is_present(row)
        {
            all.entry(key(peer)).or_default().known.insert(peer.pod.clone());
        }
    }
    all.into_iter()
        .map(|((workload, pod), Pods { numbers, reporting, known })| Served {
            workload,
            pod,
            meshed: (reporting.len(), known.len()),
            numbers,
        })
        .collect()
}

/// What is known of a workload's pods.
#[derive(Debug, Default)]
struct Pods {
    numbers: Numbers,
    reporting: BTreeSet<Arc<str>>,
    known: BTreeSet<Arc<str>>,
}

/// Rows of one edge, from both sides.
#[derive(Debug, Default)]
struct Pair<'r> {
    outbound: Vec<&'r ReportedEdge>,
    inbound: Vec<&'r ReportedEdge>,
}

impl Pair<'_> {
    fn merge(self, source: Party, destination: Party, protocol: EdgeProtocol, names: &Names) -> Edge {
        let mut numbers = Numbers::default();
        let counted = if self.outbound.is_empty() { &self.inbound } else { &self.outbound };
        counted.iter().for_each(|row| numbers.add(row));
        let (client_identity, server_identity) = (names.first_identity(&source), names.first_identity(&destination));
        let secured = self.secured(&source, &destination, names);
        Edge { source, destination, protocol, secured, numbers, client_identity, server_identity }
    }

    fn secured(&self, source: &Party, destination: &Party, names: &Names) -> Secured {
        if let Some(reason) = self.contradiction(source, destination, names) {
            return Secured::No(reason);
        }
        let is_young = self.inbound.iter().chain(&self.outbound).all(|row| row.over < YOUNG);
        match self.silence(source, destination, names) {
            Some(reason) if is_young => Secured::NotYet(reason),
            Some(reason) => Secured::No(reason),
            None => Secured::Yes,
        }
    }

    /// What was reported, and is no mutual verification.
    fn contradiction(&self, source: &Party, destination: &Party, names: &Names) -> Option<String> {
        for row in self.inbound.iter().chain(&self.outbound) {
            if let Security::None(reason) = &row.edge.key.security
                && row.edge.tcp_opened + row.edge.bytes_read + row.edge.bytes_written > 0
            {
                return Some(format!("{} saw no verified identity ({reason})", row.reporter.name));
            }
        }
        let theirs = names.identities(destination);
        for row in &self.outbound {
            if let Security::Verified(found) = &row.edge.key.security
                && !theirs.is_empty()
                && !theirs.contains(found)
            {
                return Some(format!("{source} verified {found}, which is not what {destination} reports as"));
            }
        }
        None
    }

    /// What was not reported, and would have to be.
    fn silence(&self, source: &Party, destination: &Party, names: &Names) -> Option<String> {
        if !self.outbound.iter().any(|row| is_verified(row)) {
            return Some(format!("{source} did not report that it verified {destination}"));
        }
        if names.identities(destination).is_empty() {
            return Some(format!("{destination} did not report"));
        }
        if !self.inbound.iter().any(|row| is_verified(row)) {
            return Some(format!("{destination} did not report that it verified {source}"));
        }
        None
    }
}

/// Who is who: identities of the workloads that report, and workloads behind Services.
#[derive(Debug, Default)]
struct Names {
    identities: BTreeMap<Workload, BTreeSet<Arc<str>>>,
    workloads: BTreeMap<Arc<str>, BTreeSet<Workload>>,
    backends: BTreeMap<(Arc<str>, Arc<str>), BTreeSet<Workload>>,
    /// Who dialled whom, by the clients' own reports.
    dialled: BTreeSet<(Workload, Workload)>,
}

impl Names {
    fn of(rows: &[ReportedEdge]) -> Names {
        let mut names = Names::default();
        for row in rows {
            let workload = Workload::from(&row.reporter);
            names.identities.entry(workload.clone()).or_default().insert(row.reporter_identity.clone());
            names.workloads.entry(row.reporter_identity.clone()).or_default().insert(workload.clone());
            let Some(peer) = &row.edge.key.peer else { continue };
            names.dialled.insert((workload, peer.into()));
            if let Some(service) = &row.edge.key.service {
                let service = (service.namespace.clone(), service.name.clone());
                names.backends.entry(service).or_default().insert(peer.into());
            }
        }
        names
    }

    fn identities(&self, party: &Party) -> BTreeSet<Arc<str>> {
        match party {
            Party::Workload(workload) => self.identities.get(workload).cloned().unwrap_or_default(),
            Party::Identity(identity) => [identity.clone()].into(),
            Party::Service { .. } | Party::Unknown => BTreeSet::new(),
        }
    }

    fn first_identity(&self, party: &Party) -> Option<Arc<str>> {
        self.identities(party).into_iter().next()
    }

    /// Who connected, by the identity that the server verified. Workloads may share one, such as the `default` ServiceAccount:
    /// then all that say they dialled, each of which has rows of its own to count by.
    fn clients_of(&self, row: &ReportedEdge) -> Vec<Party> {
        let Security::Verified(identity) = &row.edge.key.security else { return vec![Party::Unknown] };
        let Some(candidates) = self.workloads.get(identity) else { return vec![Party::Identity(identity.clone())] };
        let server = Workload::from(&row.reporter);
        let dialled: Vec<Party> = candidates
            .iter()
            .filter(|client| self.dialled.contains(&((*client).clone(), server.clone())))
            .map(|client| Party::Workload(client.clone()))
            .collect();
        match (dialled.is_empty(), candidates.iter().next(), candidates.len()) {
            (false, _, _) => dialled,
            (true, Some(client), 1) => vec![Party::Workload(client.clone())],
            (true, _, _) => vec![Party::Identity(identity.clone())],
        }
    }

    /// Who was dialled. A failure before an endpoint was chosen belongs to the workload behind the Service, if it is one.
    fn server_of(&self, row: &ReportedEdge) -> Party {
        if let Some(peer) = &row.edge.key.peer {
            return Party::Workload(peer.into());
        }
        let Some(service) = &row.edge.key.service else { return Party::Unknown };
        let backends = self.backends.get(&(service.namespace.clone(), service.name.clone()));
        match backends.and_then(|backends| backends.iter().next().filter(|_| backends.len() == 1)) {
            Some(workload) => Party::Workload(workload.clone()),
            None => Party::Service { namespace: service.namespace.clone(), name: service.name.clone() },
        }
    }
}

/// To find out who speaks first, a proxy opens a connection that carries no byte when the client turns out to speak HTTP.
/// It belongs to the HTTP edge.
fn fold_verdict_connections(pairs: &mut BTreeMap<(Party, Party, EdgeProtocol), Pair<'_>>) {
    let silent = |pair: &Pair<'_>| {
        pair.outbound.iter().chain(&pair.inbound).all(|row| row.edge.bytes_read + row.edge.bytes_written == 0)
    };
    let folded: Vec<_> = pairs
        .iter()
        .filter(|((source, destination, protocol), pair)| {
            let http = (source.clone(), destination.clone(), EdgeProtocol::Http);
            *protocol == EdgeProtocol::Tcp && silent(pair) && pairs.contains_key(&http)
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in folded {
        let Some(pair) = pairs.remove(&key) else { continue };
        let http = pairs.entry((key.0, key.1, EdgeProtocol::Http)).or_default();
        http.outbound.extend(pair.outbound);
        http.inbound.extend(pair.inbound);
    }
}

/// The server's proxy saw plaintext from its own node's address.
fn is_from_node(row: &ReportedEdge) -> bool {
    matches!(&row.edge.key.security, Security::None(reason) if &**reason == Security::NODE)
}

fn is_verified(row: &ReportedEdge) -> bool {
    matches!(row.edge.key.security, Security::Verified(_))
}

/// Rows are made when a peer is set up; an edge is one only after something went over it. What went in plaintext is one within the
/// window, and while a connection is open: before a shop was meshed, all of it was plaintext.
fn carried_anything(row: &ReportedEdge) -> bool {
    is_present(row) || is_verified(row) && row.total_requests > 0
}

/// Within the window, or a connection that is open.
fn is_present(row: &ReportedEdge) -> bool {
    row.edge.requests + row.edge.tcp_opened + row.edge.bytes_read + row.edge.bytes_written > 0
}

/// A pod's connection to itself never reaches a wire: the proxy dials it over loopback, in plaintext, by design.
fn stays_in_pod(row: &ReportedEdge) -> bool {
    matches!(&row.edge.key.security, Security::None(reason) if &**reason == "loopback")
}

/// Proxies report every 5 s: after two and a bit, whoever has not reported does not.
const YOUNG: Duration = Duration::from_secs(13);
/// Proxies report every few seconds; one that was silent this long is gone.
const STALE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
