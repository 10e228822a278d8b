//! The HTTP server of every service: reads requests whole, answers health and metrics, drains on SIGTERM.
//!
//! Called by `run` with a [`Service`]. Must not know what any service does.

use std::{
    cell::Cell, cell::RefCell, collections::BTreeMap, convert::Infallible, fmt::Write, pin::pin, rc::Rc, time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{net::TcpListener, net::TcpStream, task::JoinSet, time::timeout};

use crate::{
    http::{Answer, Failure, Payload, Request, Trail, decode, decode_query},
    pod,
    stop::{self, Stop},
};

/// One service of the shop.
pub(crate) trait Service: 'static {
    /// Name of its Kubernetes Service.
    const NAME: &'static str;
    /// How its server behaves on the wire.
    const MANNERS: Manners = Manners { requests_per_connection: u32::MAX, most_header_bytes: 64 * 1024 };

    /// Lines that `/metrics` has besides the requests answered.
    async fn metrics(&self) -> String {
        String::new()
    }

    /// Serves one request; `/health` and `/metrics` never come here.
    async fn serve(&self, request: &Request) -> Result<Answer, Failure>;
}

/// What differs between the original's servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// The answer to the last one says `connection: close`.
    pub(crate) requests_per_connection: u32,
    pub(crate) most_header_bytes: usize,
}

impl Manners {
    /// Tomcat's: 100 requests per connection, 8 KiB of headers.
    pub(crate) const TOMCAT: Manners = Manners { requests_per_connection: 100, most_header_bytes: 8 * 1024 };
}

/// Serves until asked to stop, then finishes what is in flight.
pub(crate) async fn serve<S: Service>(listener: TcpListener, service: Rc<S>, mut stop: Stop) {
    let counts = Rc::new(Counts::default());
    let mut connections = JoinSet::new();
    let mut lingering = pin!(linger(stop.clone()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let life = connection(stream, service.clone(), counts.clone(), stop.clone());
                    connections.spawn_local(life);
                }
                // out of descriptors or the like: one connection is lost, the service goes on
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            _ = &mut lingering => break,
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stop.asked().await;
    if timeout(stop::PATIENCE, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(service = S::NAME, connections = connections.len(), "connections cut at the end of the drain");
    }
}

/// Until some time after the process was asked to stop.
pub(crate) async fn linger(mut stop: Stop) {
    stop.asked().await;
    tokio::time::sleep(stop::LINGER).await;
}

/// Until a connection is to end: at once when the process is asked to stop, but one that has asked nothing yet is given time, since its
/// client could not know. Its first answer says that it is the last.
async fn lingering(mut stop: Stop, served: &Cell<u32>) {
    stop.asked().await;
    if served.get() == 0 {
        linger(stop).await;
    }
}

async fn connection<S: Service>(stream: TcpStream, service: Rc<S>, counts: Rc<Counts>, stop: Stop) {
    // answers are written whole; waiting for more to send would only delay them
    let _ = stream.set_nodelay(true);
    let served = Cell::new(0u32);
    let asked = stop.clone();
    let handler = service_fn(|request: http::Request<Incoming>| {
        served.set(served.get() + 1);
        let last = served.get() >= S::MANNERS.requests_per_connection || asked.is_asked();
        let (service, counts) = (&service, &counts);
        async move { Ok::<_, Infallible>(respond(service.as_ref(), counts, request, last).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(S::MANNERS.most_header_bytes);
    let mut life = pin!(builder.serve_connection(TokioIo::new(stream), handler));
    let ended = tokio::select! {
        ended = life.as_mut() => ended,
        () = lingering(stop, &served) => {
            life.as_mut().graceful_shutdown();
            life.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(service = S::NAME, %error, "connection ended early");
    }
}

async fn respond<S: Service>(
    service: &S,
    counts: &Counts,
    request: http::Request<Incoming>,
    last: bool,
) -> http::Response<Payload> {
    let method = request.method().clone();
    // who only asks how the service is, is no customer
    let counted = !matches!(request.uri().path(), "/health" | "/metrics");
    let (answer, names) = match read(request).await {
        Ok(request) => {
            let answer = answer(service, counts, &request).await.unwrap_or_else(|failure| failure.answer());
            (answer, request.trail.names())
        }
        Err(failure) => (failure.answer(), Vec::new()),
    };
    if counted {
        counts.count(&method, answer.status);
    }
    let mut response = http::Response::new(answer.payload);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in answer.headers {
        headers.append(name, value);
    }
    let mut served_by = pod::name().to_owned();
    for name in names {
        served_by.push_str(", ");
        served_by.push_str(&name);
    }
    headers.extend(HeaderValue::from_str(&served_by).ok().map(|value| (pod::SERVED_BY, value)));
    if last {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer<S: Service>(service: &S, counts: &Counts, request: &Request) -> Result<Answer, Failure> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["health"]) => {
            Ok(Answer::json(&json!({ "health": [{ "service": S::NAME, "status": "OK", "pod": pod::name() }] })))
        }
        ("GET", ["metrics"]) => {
            let text = counts.exposition(S::NAME) + &service.metrics().await;
            Ok(Answer::new("text/plain; version=0.0.4", text))
        }
        _ => service.serve(request).await,
    }
}

async fn read(request: http::Request<Incoming>) -> Result<Request, Failure> {
    let (head, body) = request.into_parts();
    let body = timeout(BODY_PATIENCE, Limited::new(body, MOST_BODY).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(Failure::bad_request(format!("the body: {error}"))),
        Err(_) => return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body did not arrive")),
    };
    let path = head.uri.path();
    let target = head.uri.path_and_query().map_or_else(|| path.to_owned(), ToString::to_string);
    Ok(Request {
        target,
        segments: path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect(),
        query: decode_query(head.uri.query().unwrap_or_default()),
        trail: Trail::of(&head.headers),
        method: head.method,
        headers: head.headers,
        body,
    })
}

/// Requests by method and status.
#[derive(Debug, Default)]
struct Counts(RefCell<BTreeMap<(&'static str, u16), u64>>);

impl Counts {
    fn count(&self, method: &Method, status: StatusCode) {
        let known = METHODS.iter().find(|known| **known == method.as_str());
        *self.0.borrow_mut().entry((known.copied().unwrap_or("other"), status.as_u16())).or_default() += 1;
    }

    fn exposition(&self, service: &str) -> String {
        let mut text = String::from(
            "# HELP http_requests_total Requests answered, without those for health and metrics.\n# TYPE http_requests_total counter\n",
        );
        for ((method, status), count) in self.0.borrow().iter() {
            // writing to a String cannot fail
            let _ = writeln!(
                text,
                "http_requests_total{{service=\"{service}\",method=\"{method}\",status_code=\"{status}\"}} {count}"
            );
        }
        text
    }
}

/// Header as text, for what a request carries once.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Labels come from this list, never from requests.
const METHODS: [&str; 6] = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];
/// The shop's largest request is an order of some hundred bytes.
const MOST_BODY: usize = 64 * 1024;
const BODY_PATIENCE: Duration = Duration::from_secs(10);
