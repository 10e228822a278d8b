//! What is said of single requests: the access log, and spans of traces that somebody else began.
//!
//! ```text
//! context.rs    traceparent and B3 headers -> which trace, sampled or not
//! record.rs     what is known of a request when it is over
//! line.rs       pure: record -> line of JSON or of Apache's; text.rs: escapes and times
//! log.rs        lines -> stdout, through a bounded buffer per worker and one writing thread
//! span.rs       pure: record -> OpenTelemetry span; otlp.rs: OTLP's messages
//! export.rs     spans -> collector, through a bounded queue, in batches; transport.rs: gRPC, HTTP
//! ```
//!
//! Whoever carries a request asks `Observer::request` at its beginning, fills in what it learns, and gives the record back
//! at its end. Off, that is one branch and no allocation. Must never make a request wait, and never change one.

mod args;
mod context;
mod export;
mod line;
mod log;
mod otlp;
mod record;
mod span;
#[cfg(test)]
pub(crate) mod testing;
mod text;
mod transport;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use minimesh_api::model::{Direction, Workload};
use minimesh_balance::Rng;
use minimesh_route::RequestView;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::control::State;
use crate::error::Kind;
use crate::io::Stream;
use crate::metrics::ObserveMetrics;

pub use args::{AccessLogFormat, Args, OtlpProtocol};
pub(crate) use context::TraceContext;
pub(crate) use record::{Moved, Record, Route, Wire};
pub use transport::Collector;

use export::{Exporter, ResourceSource, Spans};
use log::{AccessLog, Lines, Writing};
use record::{Details, Request};
pub(crate) use transport::Transport;

/// What every worker records, and where to. The default: nothing.
#[derive(Clone, Debug, Default)]
pub struct Observe {
    log: Option<AccessLog>,
    spans: Option<Spans>,
    details: Arc<Details>,
}

/// The ends of what [`Observe::start`] started.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    writing: Option<Writing>,
    exporting: Option<JoinHandle<()>>,
}

/// One worker's part.
#[derive(Debug)]
pub(crate) struct Observer {
    lines: Option<Lines>,
    spans: Option<Spans>,
    details: Arc<Details>,
    ids: RefCell<Rng>,
}

/// Whose proxy this is.
pub(crate) struct Pod<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) workload: watch::Receiver<State<Arc<Workload>>>,
    /// SO_MARK of what the proxy dials.
    pub(crate) mark: Option<u32>,
}

impl Observe {
    /// Starts the writer and the exporter that the flags ask for; inside the control thread's runtime.
    pub(crate) fn start(args: &Args, pod: Pod<'_>, metrics: &Arc<ObserveMetrics>) -> io::Result<(Observe, Ends)> {
        let headers = args.access_log_headers.iter().map(|name| name.as_str().into()).collect();
        let mut observe =
            Observe { details: Arc::new(Details { query: args.access_log_query, headers }), ..Observe::default() };
        let mut ends = Ends::default();
        if let Some(format) = args.access_log.format() {
            let (log, writing) = AccessLog::to_stdout(format, metrics)?;
            (observe.log, ends.writing) = (Some(log), Some(writing));
        }
        if let Some(collector) = &args.otlp_endpoint {
            let transport = match args.otlp_protocol {
                OtlpProtocol::Grpc => Transport::grpc(collector, pod.mark).map_err(io::Error::other)?,
                OtlpProtocol::Http => Transport::http(collector.clone(), pod.mark),
            };
            let (namespace, name) = (pod.namespace.to_owned(), pod.name.to_owned());
            let resource = ResourceSource { namespace, pod: name, workload: pod.workload };
            let (spans, exporter) = Exporter::new(transport, resource, metrics, crate::control::seed());
            (observe.spans, ends.exporting) = (Some(spans), Some(tokio::spawn(exporter.run())));
            tracing::info!(%collector, "spans of sampled traces go to a collector");
        }
        Ok((observe, ends))
    }

    /// An access log on this process' stdout and nothing else: for measurements, where nobody waits for its last lines.
    pub fn access_log(format: AccessLogFormat) -> io::Result<Observe> {
        let start = |format| AccessLog::to_stdout(format, &Arc::default()).map(|(log, _)| log);
        Ok(Observe { log: format.format().map(start).transpose()?, ..Observe::default() })
    }

    /// One worker's part.
    pub(crate) fn observer(self, seed: u64) -> Observer {
        let lines = self.log.map(AccessLog::lines);
        Observer { lines, spans: self.spans, details: self.details, ids: RefCell::new(Rng::new(seed)) }
    }
}

impl Ends {
    /// Waits, not for long, for the last lines and spans. Every worker must be gone.
    pub(crate) async fn wait(self) {
        if let Some(writing) = self.writing {
            writing.end().await;
        }
        if let Some(mut exporting) = self.exporting
            && timeout(LAST_SPANS, &mut exporting).await.is_err()
        {
            exporting.abort();
        }
    }
}

impl Observer {
    /// Whether anything may be asked for.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.lines.is_some() || self.spans.is_some()
    }

    /// A request begins. `None`: nobody wants to know.
    pub(crate) fn request(
        &self,
        direction: Direction,
        wire: Wire,
        client: Option<SocketAddr>,
        view: &RequestView<'_>,
    ) -> Option<Box<Record>> {
        let trace = TraceContext::of(view.headers);
        let traced = self.spans.is_some() && trace.is_some_and(|trace| trace.sampled);
        if self.lines.is_none() && !traced {
            return None;
        }
        let request = Some(Request::of(view, &self.details));
        let trace_state = if traced { context::trace_state(view.headers) } else { String::new() };
        Some(Box::new(Record { request, trace, trace_state, ..Record::new(direction, wire, client) }))
    }

    /// An opaque connection begins. Only the access log speaks of those.
    pub(crate) fn connection(&self, direction: Direction, wire: Wire, stream: &Stream) -> Option<Box<Record>> {
        self.lines.is_some().then(|| Box::new(Record::new(direction, wire, address_of(stream))))
    }

    /// A connection or request that is not followed, or that could not be read.
    pub(crate) fn refused(&self, direction: Direction, wire: Wire, stream: &Stream, kind: Kind) {
        self.refused_by(direction, wire, address_of(stream), kind);
    }

    /// The same where the address is all that is known of the client any more.
    pub(crate) fn refused_by(&self, direction: Direction, wire: Wire, client: Option<SocketAddr>, kind: Kind) {
        if self.lines.is_some() {
            let mut record = Box::new(Record::new(direction, wire, client));
            record.failed(kind, None);
            self.finish(record);
        }
    }

    /// It is over.
    pub(crate) fn finish(&self, mut record: Box<Record>) {
        record.duration = record.began.elapsed();
        if let Some(spans) = &self.spans
            && let Some(span) = span::of(&record, self.ids.borrow_mut().next_u64())
        {
            spans.push(span);
        }
        if let Some(lines) = &self.lines {
            lines.push(&record);
        }
    }

    /// Lines of now and then reach the writer by this. Never ends by itself.
    pub(crate) async fn keep_flushing(&self) {
        match &self.lines {
            Some(lines) => lines.keep_flushing().await,
            None => std::future::pending().await,
        }
    }

    /// The worker ends.
    pub(crate) async fn end(&self) {
        if let Some(lines) = &self.lines {
            lines.end().await;
        }
    }
}

/// Who is at the other end, as far as the socket says it.
pub(crate) fn address_of(stream: &Stream) -> Option<SocketAddr> {
    stream.tcp().and_then(|tcp| tcp.peer_addr().ok())
}

/// A pod's end must not wait for a collector.
const LAST_SPANS: std::time::Duration = std::time::Duration::from_secs(1);
