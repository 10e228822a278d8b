//! The HTTP client of every service: pools connections per host, closes idle ones after 5 s as Node's agent does.
//!
//! A connection that the peer closed while it was idle must not fail a request: what was provably not sent is sent again,
//! and what may be repeated is repeated once.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    directory::Directory,
    http::{Failure, Trail},
    pod,
};

/// Calls other services.
#[derive(Debug)]
pub(crate) struct Client {
    directory: Directory,
    idle: RefCell<HashMap<(String, u16), Vec<Idle>>>,
}

/// A request to a peer.
#[derive(Clone, Debug)]
pub(crate) struct Call<'c> {
    pub(crate) method: Method,
    pub(crate) host: &'c str,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl<'c> Call<'c> {
    pub(crate) fn get(host: &'c str, path: impl Into<String>) -> Call<'c> {
        Call { method: Method::GET, host, port: 80, path: path.into(), headers: HeaderMap::new(), body: None }
    }

    pub(crate) fn with_method(self, method: Method) -> Call<'c> {
        Call { method, ..self }
    }

    pub(crate) fn post(host: &'c str, path: impl Into<String>, body: &Value) -> Call<'c> {
        Call::get(host, path).with_method(Method::POST).with_json(body)
    }

    pub(crate) fn with_json(mut self, body: &Value) -> Call<'c> {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Call { body: Some(body.to_string().into()), ..self }
    }
}

/// A peer's answer, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body, parsed; `peer` is named when it is no JSON.
    pub(crate) fn json(&self, peer: &str) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| Failure::unreachable(peer, error))
    }
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl Client {
    pub(crate) fn new(directory: Directory) -> Client {
        Client { directory, idle: RefCell::default() }
    }

    /// Calls and expects success: another status becomes the failure that the peer (or a proxy on the way) described.
    pub(crate) async fn fetch(&self, call: Call<'_>, trail: &Trail) -> Result<Reply, Failure> {
        let host = call.host;
        let reply = self.call(call, trail).await?;
        if reply.status.is_success() { Ok(reply) } else { Err(described(host, &reply)) }
    }

    /// As [`Client::fetch`], and the body is JSON.
    pub(crate) async fn json(&self, call: Call<'_>, trail: &Trail) -> Result<Value, Failure> {
        let host = call.host;
        self.fetch(call, trail).await?.json(host)
    }

    /// Calls; any status is an answer.
    pub(crate) async fn call(&self, call: Call<'_>, trail: &Trail) -> Result<Reply, Failure> {
        let reply = match timeout(PATIENCE, self.attempt(&call, trail)).await {
            Ok(reply) => reply.map_err(|reason| Failure::unreachable(call.host, reason))?,
            Err(_) => return Err(Failure::unreachable(call.host, "no answer in 10 s")),
        };
        for value in reply.headers.get_all(pod::SERVED_BY) {
            trail.note(value.to_str().unwrap_or_default());
        }
        Ok(reply)
    }

    async fn attempt(&self, call: &Call<'_>, trail: &Trail) -> Result<Reply, String> {
        let mut request = self.request(call, trail)?;
        while let Some(mut sender) = self.take(call) {
            match sender.try_send_request(request).await {
                Ok(response) => match self.read(response, sender, call).await {
                    Ok(reply) => return Ok(reply),
                    Err(reason) if !call.method.is_idempotent() => return Err(reason),
                    Err(_) => request = self.request(call, trail)?,
                },
                Err(mut failed) => match failed.take_message() {
                    // never sent: the peer had closed this connection
                    Some(unsent) => request = unsent,
                    None if call.method.is_idempotent() => request = self.request(call, trail)?,
                    None => return Err(failed.into_error().to_string()),
                },
            }
        }
        let stream = self.directory.connect(call.host, call.port).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a peer ended early");
            }
        });
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        self.read(response, sender, call).await
    }

    async fn read(
        &self,
        response: http::Response<hyper::body::Incoming>,
        sender: SendRequest<Full<Bytes>>,
        call: &Call<'_>,
    ) -> Result<Reply, String> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MOST_BODY).collect().await.map_err(|error| error.to_string())?.to_bytes();
        let closing = head.headers.get(header::CONNECTION).is_some_and(|value| value == "close");
        if !closing && !sender.is_closed() {
            self.keep(call, sender);
        }
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    fn request(&self, call: &Call<'_>, trail: &Trail) -> Result<http::Request<Full<Bytes>>, String> {
        let mut request = http::Request::new(Full::new(call.body.clone().unwrap_or_default()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.path.parse().map_err(|error| format!("the path {:?}: {error}", call.path))?;
        let host = if call.port == 80 { call.host.to_owned() } else { format!("{}:{}", call.host, call.port) };
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.parse().map_err(|_| format!("{host:?} is no host"))?);
        headers.extend(call.headers.clone());
        headers.extend(trail.passed.clone());
        Ok(request)
    }

    fn take(&self, call: &Call<'_>) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.borrow_mut();
        let pool = idle.get_mut(&(call.host.to_owned(), call.port))?;
        pool.retain(|entry| entry.since.elapsed() < MOST_IDLE && entry.sender.is_ready());
        pool.pop().map(|entry| entry.sender)
    }

    fn keep(&self, call: &Call<'_>, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.borrow_mut();
        let pool = idle.entry((call.host.to_owned(), call.port)).or_default();
        pool.retain(|entry| entry.since.elapsed() < MOST_IDLE && !entry.sender.is_closed());
        if pool.len() < MOST_KEPT {
            pool.push(Idle { sender, since: Instant::now() });
        }
    }

    /// Closes what has been idle too long; called from time to time.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, pool| {
            pool.retain(|entry| entry.since.elapsed() < MOST_IDLE && !entry.sender.is_closed());
            !pool.is_empty()
        });
    }
}

/// What a failed answer says: problem+json of the shop or of a proxy, or whatever text came.
fn described(host: &str, reply: &Reply) -> Failure {
    let problem: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
    let from = text("from").unwrap_or_else(|| host.to_owned());
    let status = if reply.status.is_success() { StatusCode::BAD_GATEWAY } else { reply.status };
    let by_proxy = reply.headers.get("minimesh-error").and_then(|code| code.to_str().ok()).map(str::to_owned);
    let code = by_proxy.or_else(|| text("code")).unwrap_or_else(|| "upstream_failed".to_owned());
    let detail = text("detail").or_else(|| text("title"));
    let detail = detail.unwrap_or_else(|| format!("{host} answered {}", reply.status));
    Failure { from: Some(from), ..Failure::new(status, &code, detail) }
}

/// Closes connections that nobody uses, for ever.
pub(crate) async fn sweep_for_ever(client: std::rc::Rc<Client>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        client.sweep();
    }
}

/// Node's agent in the original closes idle connections after 5 s.
const MOST_IDLE: Duration = Duration::from_secs(5);
/// Idle connections per host; more are closed at once.
const MOST_KEPT: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest picture of the original has 3.5 MB.
const MOST_BODY: usize = 4 * 1024 * 1024;
