//! Spans on their way to a collector: a bounded queue, batches, and patience with a collector that is down.
//!
//! Runs on the control thread. Workers hand spans over without waiting; while a batch is being tried again the queue fills,
//! and what does not fit is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{Workload, WorkloadRef};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::otlp::{ExportRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span};
use super::transport::{Transport, Verdict};
use crate::control::{Backoff, State};
use crate::metrics::ObserveMetrics;

/// The way to the exporter, for every worker.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    queue: mpsc::Sender<Span>,
    metrics: Arc<ObserveMetrics>,
}

/// What takes spans to the collector.
pub(crate) struct Exporter {
    queue: mpsc::Receiver<Span>,
    transport: Transport,
    resource: ResourceSource,
    backoff: Backoff,
    metrics: Arc<ObserveMetrics>,
}

/// Who the spans are of. The workload's name is known once the control plane has said it.
pub(crate) struct ResourceSource {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) workload: watch::Receiver<State<Arc<Workload>>>,
}

impl Spans {
    /// Hands a span over, or counts it as dropped.
    pub(super) fn push(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.metrics.spans_dropped(1);
        }
    }
}

impl Exporter {
    pub(crate) fn new(
        transport: Transport,
        resource: ResourceSource,
        metrics: &Arc<ObserveMetrics>,
        seed: u64,
    ) -> (Spans, Exporter) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let backoff = Backoff::new(LONGEST_PAUSE, seed);
        let metrics = Arc::clone(metrics);
        let spans = Spans { queue: sender, metrics: Arc::clone(&metrics) };
        (spans, Exporter { queue, transport, resource, backoff, metrics })
    }

    /// Until every worker is gone and the last batch is settled.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.queue.recv_many(&mut batch, MOST).await > 0 {
            let due = Instant::now() + SOON;
            while batch.len() < MOST {
                let room = MOST - batch.len();
                match timeout_at(due, self.queue.recv_many(&mut batch, room)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            self.deliver(std::mem::take(&mut batch)).await;
        }
    }

    /// Tries a batch until the collector has taken or refused it, or patience is over.
    async fn deliver(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let request = self.resource.request(spans);
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.transport.export(&request).await {
                Verdict::Taken { rejected } => {
                    self.backoff.reset();
                    let rejected = rejected.min(count);
                    self.metrics.spans_exported(count - rejected);
                    return self.metrics.spans_failed(rejected);
                }
                Verdict::Refused(reason) => {
                    tracing::warn!(reason, spans = count, "the trace collector refused spans");
                    return self.metrics.spans_failed(count);
                }
                Verdict::Later(reason) if attempts == ATTEMPTS => {
                    tracing::warn!(reason, spans = count, "the trace collector cannot be reached; spans are lost");
                    return self.metrics.spans_failed(count);
                }
                Verdict::Later(reason) => {
                    tracing::debug!(reason, attempts, "the trace collector is asked again");
                    sleep(self.backoff.delay()).await;
                }
            }
        }
    }
}

impl ResourceSource {
    fn request(&self, spans: Vec<Span>) -> ExportRequest {
        let scope = Scope { name: "minimesh-proxy".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let resource = Some(Resource { attributes: self.attributes() });
        ExportRequest { resource_spans: vec![ResourceSpans { resource, scope_spans, schema_url: SCHEMA.to_owned() }] }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let known = self.workload.borrow();
        let workload = known.known().map(|workload| &workload.workload);
        let name = workload.map_or(self.pod.as_str(), |workload| &workload.name);
        let mut attributes = vec![
            KeyValue::text("service.name", name),
            KeyValue::text("service.namespace", self.namespace.as_str()),
            KeyValue::text("service.instance.id", format!("{}.{}.{SIDECAR}", self.namespace, self.pod)),
            KeyValue::text("k8s.namespace.name", self.namespace.as_str()),
            KeyValue::text("k8s.pod.name", self.pod.as_str()),
            KeyValue::text("k8s.container.name", SIDECAR),
        ];
        attributes.extend(workload.and_then(of_kind));
        attributes
    }
}

/// `k8s.deployment.name` and its like.
fn of_kind(workload: &WorkloadRef) -> Option<KeyValue> {
    let kinds = [
        ("CronJob", "k8s.cronjob.name"),
        ("DaemonSet", "k8s.daemonset.name"),
        ("Deployment", "k8s.deployment.name"),
        ("Job", "k8s.job.name"),
        ("StatefulSet", "k8s.statefulset.name"),
    ];
    let (_, key) = kinds.into_iter().find(|(kind, _)| **kind == *workload.kind)?;
    Some(KeyValue::text(key, &*workload.name))
}

/// The container that the spans are made in.
const SIDECAR: &str = "minimesh-proxy";
/// Names and meanings of the attributes.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.27.0";
/// Spans on their way to the exporter, 2 KiB each at most in practice.
const QUEUE: usize = 2048;
/// OpenTelemetry's own batch size.
const MOST: usize = 512;
/// A batch waits this long for more.
const SOON: Duration = Duration::from_secs(1);
/// Half a minute to a minute in all: a collector that restarts is back by then.
const ATTEMPTS: usize = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::super::span;
    use super::super::testing::record;
    use super::*;
    use crate::control::FakeControl;

    struct World {
        spans: Spans,
        metrics: Arc<ObserveMetrics>,
        asked: mpsc::UnboundedReceiver<(Instant, usize)>,
        began: Instant,
        exporter: tokio::task::JoinHandle<()>,
    }

    /// An exporter whose collector answers with `verdict`, given the number of the attempt.
    fn world(verdict: impl FnMut(usize) -> Verdict + Send + 'static) -> World {
        let metrics = Arc::new(ObserveMetrics::default());
        let (transport, asked) = Transport::fake(verdict);
        let (_, workload) = watch::channel(State::Known(Arc::new(FakeControl::own_workload(Vec::new()))));
        let resource = ResourceSource { namespace: "shop".into(), pod: "carts-1".into(), workload };
        let (spans, exporter) = Exporter::new(transport, resource, &metrics, 1);
        World { spans, metrics, asked, began: Instant::now(), exporter: tokio::spawn(exporter.run()) }
    }

    fn push(spans: &Spans, count: usize) {
        (0..count).for_each(|id| spans.push(span::of(&record(), id as u64).expect("sampled")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_when_it_is_full_or_a_second_old() {
        let mut world = world(|_| Verdict::Taken { rejected: 0 });
        push(&world.spans, 3);
        assert_eq!(world.asked.recv().await, Some((world.began + SOON, 3)));
        push(&world.spans, MOST + 10);
        assert_eq!(world.asked.recv().await, Some((world.began + SOON, MOST)));
        assert_eq!(world.asked.recv().await, Some((world.began + 2 * SOON, 10)));
        drop(world.spans);
        world.exporter.await.expect("it ends with the last worker");
        assert_eq!(world.metrics.spans(), [MOST as u64 + 13, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_down_is_asked_again_with_growing_pauses() {
        let down =
            |attempt| if attempt < 5 { Verdict::Later("refused".into()) } else { Verdict::Taken { rejected: 1 } };
        let mut world = world(down);
        push(&world.spans, 4);
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(world.asked.recv().await.expect("an attempt").0);
        }
        assert!(times.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= LONGEST_PAUSE), "{times:?}");
        drop(world.spans);
        world.exporter.await.expect("it ends");
        assert_eq!(world.metrics.spans(), [3, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_while_the_collector_is_down_is_dropped_and_counted() {
        let mut world = world(|_| Verdict::Later("refused".into()));
        push(&world.spans, 1);
        world.asked.recv().await.expect("an attempt");
        push(&world.spans, QUEUE + 100);
        assert_eq!(world.metrics.spans(), [0, 100, 0]);
        drop(world.spans);
        world.exporter.await.expect("patience has an end");
        assert_eq!(world.metrics.spans(), [0, 100, QUEUE as u64 + 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_refused_is_not_sent_again() {
        let mut world = world(|_| Verdict::Refused("bad".into()));
        push(&world.spans, 2);
        drop(world.spans);
        world.exporter.await.expect("it ends");
        assert_eq!(world.metrics.spans(), [0, 0, 2]);
        assert_eq!(world.asked.recv().await.map(|(_, spans)| spans), Some(2));
        assert_eq!(world.asked.recv().await, None);
    }
}
