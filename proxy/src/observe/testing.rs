//! A record, a log in memory and two collectors, for tests.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use minimesh_api::model::{BackendKey, Direction, ObjectRef};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic_prost::ProstCodec;

use super::Observe;
use super::context::TraceContext;
use super::export::{Exporter, ResourceSource};
use super::line::Format;
use super::log::AccessLog;
pub(crate) use super::otlp::ExportRequest;
use super::otlp::{ExportResponse, Span};
use super::record::{Details, Record, Request, Route, Wire};
use super::transport::{Collector, Transport};
use crate::control::{FakeControl, State};
use crate::metrics::ObserveMetrics;

/// What was written to a log in memory.
pub(crate) struct Written {
    chunks: mpsc::UnboundedReceiver<Vec<u8>>,
    left: Vec<serde_json::Value>,
}

struct Memory(mpsc::UnboundedSender<Vec<u8>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Stuck(std::sync::mpsc::Receiver<Infallible>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// The next line of a direction.
    pub(crate) async fn line(&mut self, direction: &str) -> serde_json::Value {
        loop {
            if let Some(at) = self.left.iter().position(|line| line["direction"] == direction) {
                return self.left.remove(at);
            }
            let chunk = self.chunks.recv().await.expect("the log goes on");
            let text = String::from_utf8(chunk).expect("UTF-8");
            self.left.extend(text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")));
        }
    }
}

/// A log in memory, as JSON.
pub(crate) fn to_memory(query: bool, headers: &[&str]) -> (Observe, Written) {
    let (sender, chunks) = mpsc::unbounded_channel();
    let (log, _) = AccessLog::start(Format::Json, &Arc::default(), Memory(sender)).expect("a thread");
    let headers = headers.iter().map(|name| (*name).into()).collect();
    let observe = Observe { log: Some(log), spans: None, details: Arc::new(Details { query, headers }) };
    (observe, Written { chunks, left: Vec::new() })
}

/// A log whose reader takes nothing until the sender is dropped.
pub(crate) fn to_nobody() -> (Observe, Arc<ObserveMetrics>, std::sync::mpsc::Sender<Infallible>) {
    let (reads, never) = std::sync::mpsc::channel();
    let metrics = Arc::new(ObserveMetrics::default());
    let (log, _) = AccessLog::start(Format::Json, &metrics, Stuck(never)).expect("a thread");
    (Observe { log: Some(log), ..Observe::default() }, metrics, reads)
}

/// Spans to a collector, on the present runtime.
pub(crate) fn to_collector(transport: Transport) -> Observe {
    let metrics = Arc::new(ObserveMetrics::default());
    let (_, workload) = tokio::sync::watch::channel(State::Known(Arc::new(FakeControl::own_workload(Vec::new()))));
    let resource = ResourceSource { namespace: "shop".into(), pod: "carts-1".into(), workload };
    let (spans, exporter) = Exporter::new(transport, resource, &metrics, 1);
    tokio::spawn(exporter.run());
    Observe { spans: Some(spans), ..Observe::default() }
}

/// The first span of every scope in a request.
pub(crate) fn spans_of(request: &ExportRequest) -> Vec<Span> {
    request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| s.spans.clone()).collect()
}

struct Take(mpsc::UnboundedSender<ExportRequest>);

impl tonic::server::UnaryService<ExportRequest> for Take {
    type Response = ExportResponse;
    type Future = Ready<Result<tonic::Response<ExportResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<ExportRequest>) -> Self::Future {
        let _ = self.0.send(request.into_inner());
        ready(Ok(tonic::Response::new(ExportResponse::default())))
    }
}

/// A collector that speaks gRPC.
pub(crate) async fn grpc_collector() -> (Collector, mpsc::UnboundedReceiver<ExportRequest>) {
    let (taken, requests) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("accept");
        let service = service_fn(move |request: http::Request<Incoming>| {
            assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
            let take = Take(taken.clone());
            async move {
                let codec = ProstCodec::<ExportResponse, ExportRequest>::default();
                Ok::<_, Infallible>(tonic::server::Grpc::new(codec).unary(take, request).await)
            }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(tcp), service).await;
    });
    (format!("http://{address}").parse().expect("a collector"), requests)
}

/// A collector that speaks HTTP; it answers with the statuses, then with 200.
pub(crate) async fn http_collector(statuses: &[u16]) -> (Collector, mpsc::UnboundedReceiver<ExportRequest>) {
    let (taken, requests) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let mut statuses: Vec<u16> = statuses.iter().rev().copied().collect();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (taken, status) = (taken.clone(), statuses.pop().unwrap_or(200));
            let service = service_fn(move |request: http::Request<Incoming>| {
                let taken = taken.clone();
                async move {
                    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
                    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                    let body = request.into_body().collect().await.expect("a body").to_bytes();
                    if status == 200 {
                        let _ = taken.send(ExportRequest::decode(body).expect("OTLP"));
                    }
                    let answer = http::Response::builder().status(status).body(Full::new(Bytes::new()));
                    Ok::<_, Infallible>(answer.expect("a response"))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
        }
    });
    (format!("http://{address}").parse().expect("a collector"), requests)
}

pub(super) fn record() -> Record {
    let object = ObjectRef {
        group: "gateway.networking.k8s.io".into(),
        kind: "HTTPRoute".into(),
        namespace: "shop".into(),
        name: "carts".into(),
    };
    let request = Request {
        method: b"POST".to_vec(),
        path: b"/carts/1/items".to_vec(),
        query: None,
        host: b"carts".to_vec(),
        headers: vec![("user-agent".into(), b"curl/8".to_vec())],
    };
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    let client = "10.42.0.9:40000".parse().expect("an address");
    Record {
        time: UNIX_EPOCH + Duration::from_millis(1_795_371_850_007),
        duration: Duration::from_micros(12_500),
        request: Some(request),
        status: Some(201),
        request_bytes: 312,
        response_bytes: 98,
        added: Duration::from_micros(250),
        waited: Duration::from_millis(2),
        trace: Some(TraceContext { trace, parent: 0xb7ad_6b71_6920_3331_u64.to_be_bytes(), sampled: true }),
        route: Some(Route { object, index: 1, name: "items".into() }),
        backend: Some(BackendKey { namespace: "shop".into(), name: "carts".into(), port: 80 }),
        endpoint: Some("10.42.0.7:8080".parse().expect("an address")),
        client_identity: Some("spiffe://cluster.local/ns/shop/sa/front-end".into()),
        server_identity: Some("spiffe://cluster.local/ns/shop/sa/carts".into()),
        retries: 1,
        ..Record::new(Direction::Outbound, Wire::Http11, Some(client))
    }
}
