//! OTLP over gRPC and over HTTP with protobuf, to a collector inside the cluster.
//!
//! Plaintext, from the proxy itself and past its own interception: a collector that must be reached in secret is one of the
//! node or of the pod.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::otlp::{ExportRequest, ExportResponse};
use crate::net::names;

/// Where a collector listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// `HOST:PORT`.
    authority: String,
    /// As given; empty: the protocol's own.
    path: String,
}

/// A text that names no collector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCollector {
    /// Not of the form.
    #[error("is not of the form http://HOST:PORT, such as http://otel-collector.observability:4317")]
    Form,
    /// TLS.
    #[error("https is not spoken to collectors; name a plaintext port of it")]
    Https,
}

/// How a collector is spoken to.
pub(crate) enum Transport {
    #[cfg(test)]
    Fake(Fake),
    Grpc(Box<Grpc<Channel>>),
    Http(HttpTransport),
}

#[cfg(test)]
pub(crate) struct Fake {
    verdict: Box<dyn FnMut(usize) -> Verdict + Send>,
    asked: tokio::sync::mpsc::UnboundedSender<(tokio::time::Instant, usize)>,
    attempts: usize,
}

pub(crate) struct HttpTransport {
    collector: Collector,
    mark: Option<u32>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not now.
    Later(String),
    /// Never.
    Refused(String),
    /// All but some of its spans.
    Taken { rejected: u64 },
}

impl Transport {
    /// gRPC; connects when there is something to send.
    pub(crate) fn grpc(collector: &Collector, mark: Option<u32>) -> Result<Transport, tonic::transport::Error> {
        let authority = collector.authority.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let authority = authority.clone();
            async move { dial(&authority, mark).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_shared(format!("http://{}", collector.authority))?.timeout(PATIENCE);
        Ok(Transport::Grpc(Box::new(Grpc::new(endpoint.connect_with_connector_lazy(connector)))))
    }

    /// HTTP/1.1 with protobuf, a connection per batch.
    pub(crate) fn http(collector: Collector, mark: Option<u32>) -> Transport {
        Transport::Http(HttpTransport { collector, mark })
    }

    #[cfg(test)]
    pub(crate) fn fake(
        verdict: impl FnMut(usize) -> Verdict + Send + 'static,
    ) -> (Transport, tokio::sync::mpsc::UnboundedReceiver<(tokio::time::Instant, usize)>) {
        let (asked, attempts) = tokio::sync::mpsc::unbounded_channel();
        (Transport::Fake(Fake { verdict: Box::new(verdict), asked, attempts: 0 }), attempts)
    }

    /// Sends one batch.
    pub(crate) async fn export(&mut self, request: &ExportRequest) -> Verdict {
        match self {
            #[cfg(test)]
            Transport::Fake(fake) => fake.export(request),
            Transport::Grpc(client) => match timeout(PATIENCE, grpc(client, request.clone())).await {
                Ok(verdict) => verdict,
                Err(_) => Verdict::Later("no answer in 10 s".to_owned()),
            },
            Transport::Http(transport) => match timeout(PATIENCE, transport.export(request)).await {
                Ok(verdict) => verdict,
                Err(_) => Verdict::Later("no answer in 10 s".to_owned()),
            },
        }
    }
}

async fn grpc(client: &mut Grpc<Channel>, request: ExportRequest) -> Verdict {
    if let Err(error) = client.ready().await {
        return Verdict::Later(error.to_string());
    }
    let codec = ProstCodec::<ExportRequest, ExportResponse>::default();
    match client.unary(tonic::Request::new(request), EXPORT.clone(), codec).await {
        Ok(response) => taken(&response.into_inner()),
        Err(status) => of_status(&status),
    }
}

/// The codes that OTLP calls retryable; without a word of when, a full collector is asked again as well.
fn of_status(status: &tonic::Status) -> Verdict {
    use tonic::Code;
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Aborted
        | Code::Cancelled
        | Code::DataLoss
        | Code::DeadlineExceeded
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unavailable => Verdict::Later(text),
        _ => Verdict::Refused(text),
    }
}

impl HttpTransport {
    async fn export(&self, request: &ExportRequest) -> Verdict {
        match self.post(request.encode_to_vec()).await {
            Ok((200..300, body)) => ExportResponse::decode(body).map_or(Verdict::Taken { rejected: 0 }, |r| taken(&r)),
            Ok((status @ (429 | 502..=504), _)) => Verdict::Later(format!("status {status}")),
            Ok((status, _)) => Verdict::Refused(format!("status {status}")),
            Err(error) => Verdict::Later(error.to_string()),
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<(u16, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let Collector { authority, path } = &self.collector;
        let stream = dial(authority, self.mark).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = http::Request::post(if path.is_empty() { TRACES } else { path })
            .header(http::header::HOST, authority)
            .header(http::header::CONTENT_TYPE, "application/x-protobuf")
            .header(http::header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))?;
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await?;
            Ok((status, body.to_bytes()))
        };
        // the connection moves the bytes; its own end is not the answer's
        let connection = async move {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = exchange => answer,
            never = connection => never,
        }
    }
}

#[cfg(test)]
impl Fake {
    fn export(&mut self, request: &ExportRequest) -> Verdict {
        self.attempts += 1;
        let spans = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let count = spans.map(|scope| scope.spans.len()).sum();
        let _ = self.asked.send((tokio::time::Instant::now(), count));
        (self.verdict)(self.attempts)
    }
}

fn taken(response: &ExportResponse) -> Verdict {
    let rejected = response.partial_success.as_ref().map_or(0, |partial| partial.rejected_spans);
    Verdict::Taken { rejected: u64::try_from(rejected).unwrap_or(0) }
}

/// The first address that answers.
async fn dial(authority: &str, mark: Option<u32>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{authority} has no address"));
    for address in names::resolve(authority).await? {
        match connect(address, mark).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(mark) = mark {
        socket2::SockRef::from(&socket).set_mark(mark)?;
    }
    socket.connect(address).await
}

impl FromStr for Collector {
    type Err = InvalidCollector;

    /// `http://HOST:PORT[/PATH]`, or `HOST:PORT` as Linkerd's annotation has it.
    fn from_str(text: &str) -> Result<Collector, InvalidCollector> {
        if text.starts_with("https://") {
            return Err(InvalidCollector::Https);
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let uri: http::uri::Authority = authority.parse().map_err(|_| InvalidCollector::Form)?;
        if uri.host().is_empty() || uri.port_u16().is_none() || authority.contains('@') {
            return Err(InvalidCollector::Form);
        }
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        if !path.is_empty() && path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(InvalidCollector::Form);
        }
        Ok(Collector { authority: authority.to_owned(), path })
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

static EXPORT: http::uri::PathAndQuery =
    http::uri::PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
const TRACES: &str = "/v1/traces";
/// OpenTelemetry's own time-out of an export.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of an answer that says how many spans were rejected, and why.
const LONGEST_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::super::otlp::PartialSuccess;
    use super::super::testing::{grpc_collector, http_collector};
    use super::*;

    #[test]
    fn collectors_are_named_by_url_or_as_linkerd_names_them() {
        for (text, shown) in [
            ("http://collector:4317", "http://collector:4317"),
            ("collector.tracing:4317", "http://collector.tracing:4317"),
            ("http://[::1]:4318/", "http://[::1]:4318"),
            ("http://127.0.0.1:4318/custom/traces", "http://127.0.0.1:4318/custom/traces"),
        ] {
            assert_eq!(text.parse::<Collector>().map(|collector| collector.to_string()), Ok(shown.to_owned()));
        }
        for text in ["", "collector", "http://", "http://:4317", "ftp://a:1", "http://user@host:1", "http://a:1/ b"] {
            assert_eq!(text.parse::<Collector>(), Err(InvalidCollector::Form), "{text}");
        }
        assert_eq!("https://a:1".parse::<Collector>(), Err(InvalidCollector::Https));
    }

    #[tokio::test]
    async fn grpc_takes_what_it_is_given() {
        let (collector, mut requests) = grpc_collector().await;
        let mut transport = Transport::grpc(&collector, None).expect("a transport");
        for _ in 0..2 {
            assert_eq!(transport.export(&ExportRequest::default()).await, Verdict::Taken { rejected: 0 });
            assert_eq!(requests.recv().await, Some(ExportRequest::default()));
        }
    }

    #[tokio::test]
    async fn http_tells_later_from_never() {
        let (collector, mut requests) = http_collector(&[503, 429, 400]).await;
        let mut transport = Transport::http(collector, None);
        let mut verdicts = Vec::new();
        for _ in 0..4 {
            verdicts.push(transport.export(&ExportRequest::default()).await);
        }
        let expected = [
            Verdict::Later("status 503".into()),
            Verdict::Later("status 429".into()),
            Verdict::Refused("status 400".into()),
            Verdict::Taken { rejected: 0 },
        ];
        assert_eq!(verdicts, expected);
        assert_eq!(requests.recv().await, Some(ExportRequest::default()));
    }

    #[tokio::test]
    async fn a_collector_that_is_not_there_is_asked_later() {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound");
        let collector: Collector = gone.to_string().parse().expect("a collector");
        let mut grpc = Transport::grpc(&collector, None).expect("a transport");
        assert!(matches!(grpc.export(&ExportRequest::default()).await, Verdict::Later(_)));
        let mut http = Transport::http(collector, None);
        assert!(matches!(http.export(&ExportRequest::default()).await, Verdict::Later(_)));
    }

    #[test]
    fn spans_that_were_rejected_are_counted() {
        let partial = PartialSuccess { rejected_spans: 3, error_message: "too old".into() };
        assert_eq!(taken(&ExportResponse { partial_success: Some(partial) }), Verdict::Taken { rejected: 3 });
    }
}
