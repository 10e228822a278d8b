//! What the control plane counts about itself. Registered by `app`, written by the one thread that everything runs on.

use std::sync::Arc;

use minimesh_runtime::metrics::{Bounds, Counter, Exposed, Gauge, Histogram, SECONDS, Unit};
use minimesh_runtime::process;
use prometheus_client::registry::Registry;

/// The cells. One writer: the control plane's single runtime thread.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Certificates issued to proxies.
    pub(crate) certified: Exposed<Counter>,
    /// Requests for a certificate that were refused.
    pub(crate) certify_refused: Exposed<Counter>,
    /// Connections of proxies that are open.
    pub(crate) connections: Exposed<Gauge>,
    /// Connections closed because whoever made them had enough, or all together.
    pub(crate) connections_refused: Exposed<Counter>,
    /// Edges that did not fit the bounds of the report store.
    pub(crate) edges_dropped: Exposed<Counter>,
    /// Events taken into the index.
    pub(crate) events: Exposed<Counter>,
    /// TLS handshakes that failed or were not finished in time.
    pub(crate) handshakes_failed: Exposed<Counter>,
    /// From a change in the index to the proxy's acknowledgement.
    pub(crate) lag: Exposed<Histogram>,
    /// Updates that a proxy refused.
    pub(crate) nacks: Exposed<Counter>,
    /// Files and objects that are not in force now.
    pub(crate) problems: Exposed<Gauge>,
    /// Reports taken in.
    pub(crate) reports: Exposed<Counter>,
    /// Tokens that the API server was asked about.
    pub(crate) reviews: Exposed<Counter>,
    /// Tokens that it was not asked about, because somebody presents too many.
    pub(crate) reviews_refused: Exposed<Counter>,
    /// Streams closed because the proxy did not read or acknowledge.
    pub(crate) stalled: Exposed<Counter>,
    /// Watch streams that are open.
    pub(crate) streams: Exposed<Gauge>,
    /// Subscriptions of all streams.
    pub(crate) subscriptions: Exposed<Gauge>,
    /// Messages sent with a resource or a chunk of one.
    pub(crate) updates: Exposed<Counter>,
    /// Bytes of those messages.
    pub(crate) update_bytes: Exposed<Counter>,
}

impl Metrics {
    /// The cells and the registry that shows them.
    pub(crate) fn new() -> (Arc<Metrics>, Registry) {
        let mut registry = Registry::default();
        process::register(&mut registry, "control-plane");
        let lag = Exposed::new(Histogram::new(Arc::new(Bounds::new(Unit::Seconds, &SECONDS))));
        registry.register(
            "minimesh_discovery_lag_seconds",
            "From a change in the index to the proxy's acknowledgement",
            lag.clone(),
        );
        let mut counter = |name, help| {
            let cell = Exposed::new(Counter::new());
            registry.register(name, help, cell.clone());
            cell
        };
        let certified = counter("minimesh_certificates_issued", "Certificates issued to proxies");
        let certify_refused = counter("minimesh_certificates_refused", "Requests for a certificate that were refused");
        let connections_refused = counter(
            "minimesh_connections_refused",
            "Connections closed because one proxy, one stranger or all together had too many",
        );
        let edges_dropped = counter("minimesh_edges_dropped", "Reported edges beyond the store's bounds");
        let events = counter("minimesh_index_events", "Events taken into the index");
        let handshakes_failed = counter("minimesh_handshakes_failed", "TLS handshakes that failed or took too long");
        let nacks = counter("minimesh_updates_refused", "Updates that a proxy refused");
        let reports = counter("minimesh_reports", "Reports of proxies taken in");
        let reviews = counter("minimesh_token_reviews", "Tokens that the API server was asked about");
        let reviews_refused = counter(
            "minimesh_token_reviews_refused",
            "Tokens that it was not asked about, because one address or all together presented too many",
        );
        let stalled = counter("minimesh_streams_stalled", "Streams closed because the proxy did not read or answer");
        let updates = counter("minimesh_updates", "Messages sent with a resource or a chunk of one");
        let update_bytes = counter("minimesh_update_bytes", "Bytes of those messages");
        let mut gauge = |name, help| {
            let cell = Exposed::new(Gauge::new());
            registry.register(name, help, cell.clone());
            cell
        };
        let connections = gauge("minimesh_connections", "Connections of proxies that are open");
        let problems = gauge("minimesh_manifest_problems", "Files and objects that are not in force");
        let streams = gauge("minimesh_watch_streams", "Watch streams that are open");
        let subscriptions = gauge("minimesh_watch_subscriptions", "Subscriptions of all streams");
        let metrics = Metrics {
            certified,
            certify_refused,
            connections,
            connections_refused,
            edges_dropped,
            events,
            handshakes_failed,
            lag,
            nacks,
            problems,
            reports,
            reviews,
            reviews_refused,
            stalled,
            streams,
            subscriptions,
            updates,
            update_bytes,
        };
        (Arc::new(metrics), registry)
    }
}

/// Counts something as open for as long as it lives.
#[derive(Debug)]
pub(crate) struct Open(Exposed<Gauge>);

impl Open {
    /// One more.
    pub(crate) fn new(gauge: &Exposed<Gauge>) -> Open {
        gauge.add(1);
        Open(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}
