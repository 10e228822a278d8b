//! The exposition: every family with its name, help and labels, summed at scrape.
//!
//! Names of the first block are those that Linkerd's dashboards and `viz` read; `minimesh_*` are ours. A new family goes into
//! the golden list in `golden.rs`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use minimesh_api::histogram::Histogram;
use minimesh_api::model::{Direction, EdgeProtocol};
use minimesh_runtime::metrics::{Bounds, Counter, LATENCY_MS, SECONDS, Unit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metrics;
use super::cells::BoundedTotals;
use super::edge::{EdgeTotals, LIFETIME_BOUNDS};
use super::labels::{self, Labels};
use super::observe::ObserveMetrics;
use super::shard::{self, CONNECT_BOUNDS, WorkerTotals};
use super::words::{
    Classification, CloseReason, Connected, ControlFailure, Detected, EarlyConnect, GRPC_CELLS, Handshake,
    MirrorResult, Refusal, ReportResult, RetryReason, RetrySkipped, STATUS_CELLS, status_label,
};

/// What a scrape reads.
#[derive(Clone, Debug)]
pub(crate) struct Exposition(pub(crate) Arc<Metrics>);

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let edges: Vec<Row> = self
            .0
            .edges
            .series()
            .into_iter()
            .map(|(key, totals)| Row {
                direction: key.edge.direction,
                protocol: key.edge.protocol,
                labels: labels::of(&key),
                totals,
            })
            .collect();
        requests(&mut out, &edges)?;
        connections(&mut out, &edges)?;
        authorization(&mut out, &edges)?;
        let workers = self.0.worker_totals();
        errors(&mut out, &workers, self.0.error_codes)?;
        data_path(&mut out, &workers)?;
        added(&mut out, &edges)?;
        observed(&mut out, &self.0.observe)?;
        control(&mut out, &self.0)?;
        process(&mut out, &self.0)
    }
}

struct Row {
    direction: Direction,
    protocol: EdgeProtocol,
    labels: Labels,
    totals: EdgeTotals,
}

impl Row {
    fn is_http(&self) -> bool {
        self.protocol == EdgeProtocol::Http
    }

    /// The edge's labels with what let its traffic in, as Linkerd names its default policies.
    fn authorized(&self) -> Labels {
        let policy = self.labels.iter().find(|(name, _)| *name == "srv_name").map(|(_, policy)| Arc::clone(policy));
        let authorization = policy.map(|policy| {
            [("authz_group", Arc::from("")), ("authz_kind", Arc::from("default")), ("authz_name", policy)]
        });
        self.labels.iter().cloned().chain(authorization.into_iter().flatten()).collect()
    }

    /// The edge's labels with `peer`: the side of the proxy that the connection is on.
    fn peer_labels(&self) -> Labels {
        let peer = match self.direction {
            Direction::Inbound => "src",
            Direction::Outbound => "dst",
        };
        let mut labels = self.labels.clone();
        labels.insert(1, ("peer", peer.into()));
        labels
    }
}

fn requests(out: &mut Out<'_>, edges: &[Row]) -> fmt::Result {
    let http = || edges.iter().filter(|row| row.is_http());
    out.counters(
        "request",
        "Requests whose head was read",
        http().map(|row| (row.labels.clone(), row.totals.requests)),
    )?;
    let responses = http().flat_map(|row| {
        let counts = row.totals.statuses.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(cell, count)| {
            let class = Classification::ALL[(cell / STATUS_CELLS).min(Classification::COUNT - 1)];
            let status = status_label(cell % STATUS_CELLS);
            let own = [("classification", class.word().into()), ("status_code", Arc::from(&*status))];
            (row.labels.iter().cloned().chain(own).collect(), *count)
        })
    });
    let calls = http().flat_map(|row| {
        let counts = row.totals.grpc.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(cell, count)| {
            let class = Classification::ALL[(cell / GRPC_CELLS).min(Classification::COUNT - 1)];
            let grpc = (cell % GRPC_CELLS).to_string();
            let own = [
                ("classification", class.word().into()),
                ("status_code", Arc::from("200")),
                ("grpc_status", Arc::from(grpc)),
            ];
            (row.labels.iter().cloned().chain(own).collect(), *count)
        })
    });
    out.counters("response", "Responses that ended", responses.chain(calls))?;
    let latencies = http().map(|row| (row.labels.clone(), row.totals.latency.clone()));
    let help = "From a request's head to its response's end, milliseconds";
    out.distributions("response_latency_ms", help, &Bounds::new(Unit::Milliseconds, &LATENCY_MS), latencies)
}

fn connections(out: &mut Out<'_>, edges: &[Row]) -> fmt::Result {
    let rows: Vec<(Labels, &EdgeTotals)> = edges.iter().map(|row| (row.peer_labels(), &row.totals)).collect();
    let each = |value: fn(&EdgeTotals) -> u64| rows.iter().map(move |(labels, totals)| (labels.clone(), value(totals)));
    out.counters("tcp_open", "TCP connections opened", each(|totals| totals.opened))?;
    out.gauges(
        "tcp_open_connections",
        "TCP connections that are open",
        each(EdgeTotals::open).map(|(l, n)| (l, n as f64)),
    )?;
    out.counters("tcp_read_bytes", "Bytes read from the peer", each(|totals| totals.read))?;
    out.counters("tcp_write_bytes", "Bytes written to the peer", each(|totals| totals.written))?;
    let closed = rows.iter().flat_map(|(labels, totals)| {
        let reasons = CloseReason::ALL.iter().zip(&totals.closed).filter(|(_, count)| **count > 0);
        reasons.map(|(reason, count)| (labels.iter().cloned().chain(one("errno", reason.word())).collect(), *count))
    });
    out.counters("tcp_close", "TCP connections closed", closed)?;
    out.histograms(
        "tcp_connection_duration_ms",
        "Life of a TCP connection, milliseconds",
        rows.iter()
            .map(|(labels, totals)| (labels.clone(), Buckets::bounded(&totals.lifetime, LIFETIME_BOUNDS, 1_000.0))),
    )
}

fn authorization(out: &mut Out<'_>, edges: &[Row]) -> fmt::Result {
    let inbound =
        |protocol| edges.iter().filter(move |row| row.direction == Direction::Inbound && row.protocol == protocol);
    let http = || inbound(EdgeProtocol::Http);
    let tcp = || inbound(EdgeProtocol::Tcp);
    let allowed = http().map(|row| (row.authorized(), row.totals.requests));
    out.counters("inbound_http_authz_allow", "Requests that the policy let in", allowed)?;
    let denied = http().map(|row| (row.labels.clone(), row.totals.denied));
    out.counters("inbound_http_authz_deny", "Requests that the policy refused", denied)?;
    let allowed = tcp().map(|row| (row.authorized(), row.totals.opened));
    out.counters("inbound_tcp_authz_allow", "Connections that the policy let in", allowed)?;
    let denied = tcp().map(|row| (row.labels.clone(), row.totals.denied));
    out.counters("inbound_tcp_authz_deny", "Connections that the policy refused", denied)?;
    let ended = |row: &Row| row.totals.closed.get(CloseReason::Policy as usize).copied().unwrap_or_default();
    let ended = tcp().map(|row| (row.labels.clone(), ended(row)));
    out.counters("inbound_tcp_authz_terminate", "Connections that the policy ended", ended)?;
    let audited = http().chain(tcp()).filter(|row| row.totals.audited > 0);
    let audited = audited.map(|row| (row.labels.clone(), row.totals.audited));
    let help = "Requests, and connections that carry something else, that audit let in and deny would have refused";
    out.counters("minimesh_inbound_audited", help, audited)
}

fn errors(out: &mut Out<'_>, workers: &WorkerTotals, codes: &'static [&'static str]) -> fmt::Result {
    let counts = DIRECTIONS.iter().flat_map(|direction| {
        codes.iter().enumerate().map(move |(kind, code)| {
            let count = workers.counter(shard::FIXED + *direction as usize * codes.len() + kind);
            (two("direction", labels::direction(*direction), "error", code), count)
        })
    });
    out.counters("minimesh_errors", "Errors of the data path, by the word in minimesh-error", counts)
}

fn data_path(out: &mut Out<'_>, workers: &WorkerTotals) -> fmt::Result {
    let retries = RetryReason::ALL
        .iter()
        .map(|reason| (one("reason", reason.word()), workers.counter(shard::RETRIES + *reason as usize)));
    out.counters("minimesh_retries", "Requests and connections tried on another endpoint", retries)?;
    let skipped = RetrySkipped::ALL
        .iter()
        .map(|reason| (one("reason", reason.word()), workers.counter(shard::SKIPPED + *reason as usize)));
    out.counters("minimesh_retries_skipped", "Requests that a route wanted to be sent again, and were not", skipped)?;
    let mirrored = MirrorResult::ALL
        .iter()
        .map(|result| (one("result", result.word()), workers.counter(shard::MIRRORS + *result as usize)));
    out.counters("minimesh_mirrors", "Copies of requests to other backends", mirrored)?;
    let detected = DIRECTIONS.iter().flat_map(|direction| {
        Detected::ALL.iter().map(move |result| {
            let cell = shard::DETECTED + *direction as usize * Detected::COUNT + *result as usize;
            (two("direction", labels::direction(*direction), "result", result.word()), workers.counter(cell))
        })
    });
    out.counters("minimesh_detect", "Connections, by what detection found", detected)?;
    let early = EarlyConnect::ALL
        .iter()
        .map(|fate| (one("result", fate.word()), workers.counter(shard::EARLY + *fate as usize)));
    out.counters("minimesh_early_connect", "Connections that detection opened before the client spoke", early)?;
    let refused = Refusal::ALL
        .iter()
        .map(|reason| (one("reason", reason.word()), workers.counter(shard::REFUSED + *reason as usize)));
    out.counters("minimesh_inbound_refused", "Connections and requests that inbound refused", refused)?;
    let handshakes = DIRECTIONS.iter().flat_map(|direction| {
        Handshake::ALL.iter().map(move |kind| {
            let cell = shard::HANDSHAKES + *direction as usize * Handshake::COUNT + *kind as usize;
            (two("direction", labels::direction(*direction), "kind", kind.word()), workers.counter(cell))
        })
    });
    out.counters("minimesh_handshakes", "TLS handshakes between proxies", handshakes)?;
    let connects = DIRECTIONS.iter().flat_map(|direction| {
        Connected::ALL.iter().map(move |result| {
            let cell = shard::CONNECTS + *direction as usize * Connected::COUNT + *result as usize;
            (two("direction", labels::direction(*direction), "result", result.word()), workers.counter(cell))
        })
    });
    out.counters("minimesh_connects", "Connects to endpoints (outbound) and to the application (inbound)", connects)?;
    out.histograms(
        "minimesh_connect_seconds",
        "How long a connect took, TLS included",
        DIRECTIONS.iter().zip(&workers.connects).map(|(direction, totals)| {
            (one("direction", labels::direction(*direction)), Buckets::bounded(totals, CONNECT_BOUNDS, 1_000_000.0))
        }),
    )?;
    let waits = Buckets::bounded(&workers.pool_wait, CONNECT_BOUNDS, 1_000_000.0);
    out.histograms("minimesh_pool_wait_seconds", "How long a request waited for a connection", [(none(), waits)])?;
    let open = workers.accepted.saturating_sub(workers.finished) as f64;
    out.gauges("minimesh_accepted_connections", "Accepted connections that are open", [(none(), open)])
}

fn added(out: &mut Out<'_>, edges: &[Row]) -> fmt::Result {
    let of = |direction: Direction| {
        let mut sum = Histogram::default();
        edges.iter().filter(|row| row.direction == direction).for_each(|row| sum.add(&row.totals.added));
        (one("direction", labels::direction(direction)), sum)
    };
    let help = "Time that the proxy itself added to a request, without connects and without waiting for the peer";
    out.distributions("minimesh_proxy_added_seconds", help, &Bounds::new(Unit::Seconds, &SECONDS), DIRECTIONS.map(of))
}

fn observed(out: &mut Out<'_>, observe: &ObserveMetrics) -> fmt::Result {
    let lines = |name, help, lines, out: &mut Out<'_>| out.counters(name, help, [(none(), lines)]);
    lines("minimesh_access_log_written", "Access log lines that stdout took", observe.log_written_lines(), out)?;
    let dropped = observe.log_dropped_lines();
    lines("minimesh_access_log_dropped", "Access log lines that stdout did not take in time, or at all", dropped, out)?;
    let results = ["exported", "dropped", "failed"].into_iter().zip(observe.spans());
    let spans = results.map(|(result, count)| (one("result", result), count));
    out.counters("minimesh_spans", "Spans: exported, dropped for want of room, or not taken by the collector", spans)
}

fn control(out: &mut Out<'_>, metrics: &Metrics) -> fmt::Result {
    let control = &metrics.control;
    let seconds = |micros: u64| micros as f64 / 1_000_000.0;
    let gauge = |name, help, value: f64, out: &mut Out<'_>| out.gauges(name, help, [(none(), value)]);
    let count = |name, help, value: u64, out: &mut Out<'_>| out.counters(name, help, [(none(), value)]);
    let failures = |cells: &[Counter; ControlFailure::COUNT]| {
        ControlFailure::ALL
            .iter()
            .map(|failure| (one("reason", failure.word()), cells[*failure as usize].value()))
            .collect()
    };
    let failures: fn(&_) -> Vec<_> = failures;
    let expires = seconds(control.certificate_expires.load(Ordering::Relaxed));
    gauge("control_identity_cert_expiration_timestamp_seconds", "When the certificate expires", expires, out)?;
    let refreshed = seconds(control.certificate_refreshed.load(Ordering::Relaxed));
    gauge("control_identity_cert_refresh_timestamp_seconds", "When the certificate came", refreshed, out)?;
    let refreshes = control.certificate_refreshes.value();
    count("control_identity_cert_refreshes", "Certificates received", refreshes, out)?;
    out.counters(
        "minimesh_identity_failures",
        "Failed attempts to get a certificate",
        failures(&control.certify_failures),
    )?;
    let connected = f64::from(u8::from(control.connected.load(Ordering::Relaxed)));
    gauge("minimesh_discovery_connected", "1 while the Watch stream is open", connected, out)?;
    count("minimesh_discovery_connections", "Watch streams opened", control.connections.value(), out)?;
    out.counters("minimesh_discovery_failures", "Watch streams that failed", failures(&control.watch_failures))?;
    let silence = control.silence(SystemTime::now()).map_or(0.0, |silence| silence.as_secs_f64());
    gauge("minimesh_discovery_silence_seconds", "Since the last message of the control plane", silence, out)?;
    let all = control.subscriptions.load(Ordering::Relaxed) as f64;
    gauge("minimesh_discovery_subscriptions", "Resources subscribed to", all, out)?;
    let pending = control.pending.load(Ordering::Relaxed) as f64;
    gauge("minimesh_discovery_pending", "Resources subscribed to and not known yet", pending, out)?;
    count("minimesh_discovery_updates", "Updates applied", control.updates.value(), out)?;
    count("minimesh_discovery_nacks", "Updates refused; the last good state stayed", control.nacks.value(), out)?;
    let refused = control.refused_subscriptions.value();
    count("minimesh_discovery_refused_subscriptions", "Resources beyond the bound on subscriptions", refused, out)?;
    let reports = ReportResult::ALL
        .iter()
        .map(|result| (one("result", result.word()), control.reports[*result as usize].value()));
    out.counters("minimesh_reports", "Reports of golden metrics", reports)
}

fn process(out: &mut Out<'_>, metrics: &Metrics) -> fmt::Result {
    let workers = metrics.worker_count() as f64;
    out.gauges("minimesh_workers", "Worker threads in force", [(none(), workers)])?;
    let bounds = metrics.edges.occupancy();
    out.gauges("minimesh_edges", "Edges with series of their own", [(none(), bounds.series as f64)])?;
    let dropped = [(one("reason", "no_room"), bounds.overflowed), (one("reason", "evicted"), bounds.evicted)];
    let help =
        "Edges without series of their own because of the cap: counted in the overflow edge, or idle and left out";
    out.counters("minimesh_edges_dropped", help, dropped)
}

/// Buckets as they are exposed.
struct Buckets {
    sum: f64,
    counts: Vec<(f64, u64)>,
}

impl Buckets {
    /// By upper bounds in microseconds; `per` microseconds make one unit.
    fn bounded(totals: &BoundedTotals, bounds: &[u64], per: f64) -> Buckets {
        let mut counts = empty(bounds, per);
        for ((_, sum), count) in counts.iter_mut().zip(&totals.counts) {
            *sum = *count;
        }
        Buckets { sum: totals.sum as f64 / per, counts }
    }
}

fn empty(bounds: &[u64], per: f64) -> Vec<(f64, u64)> {
    bounds.iter().map(|bound| *bound as f64 / per).chain([f64::INFINITY]).map(|bound| (bound, 0)).collect()
}

/// Writes families.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counters(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in rows {
            match labels.is_empty() {
                true => family.encode_counter::<NoLabelSet, u64, f64>(&count, None)?,
                false => family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&count, None)?,
            }
        }
        Ok(())
    }

    fn gauges(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, f64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            match labels.is_empty() {
                true => family.encode_gauge(&value)?,
                false => family.encode_family(&labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    fn histograms(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, Buckets)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, buckets) in rows {
            let count = buckets.counts.iter().map(|(_, count)| count).sum();
            let Buckets { sum, counts } = buckets;
            match labels.is_empty() {
                true => family.encode_histogram::<NoLabelSet>(sum, count, &counts, None)?,
                false => family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &counts, None)?,
            }
        }
        Ok(())
    }

    /// Histograms in the log-linear layout.
    fn distributions(
        &mut self,
        name: &str,
        help: &str,
        bounds: &Bounds,
        rows: impl IntoIterator<Item = (Labels, Histogram)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in rows {
            bounds.encode(&histogram, family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn one(name: &'static str, value: &str) -> Labels {
    vec![(name, value.into())]
}

fn two(name: &'static str, value: &str, other: &'static str, other_value: &str) -> Labels {
    vec![(name, value.into()), (other, other_value.into())]
}

fn none() -> Labels {
    Vec::new()
}

/// In the order of the cells.
const DIRECTIONS: [Direction; 2] = [Direction::Inbound, Direction::Outbound];
