//! The admin server's accept loop, its connections and its checks.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Audience, Call, Reply, Route, Server};

pub(super) async fn run(server: Server, until: impl Future<Output = ()>) {
    let Server { listener, audience, routes } = server;
    let routes: Arc<[Route]> = routes.into();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut until = pin!(until);
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = &mut until => break,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (routes, stopped) = (Arc::clone(&routes), stopped.clone());
                connections.spawn(async move {
                    connection(stream, peer, audience, routes, stopped).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                if !of_one_connection(&error) {
                    // Out of files or memory: trying again at once would spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let _ = timeout(FINISH, async { while connections.join_next().await.is_some() {} }).await;
}

fn of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    audience: Audience,
    routes: Arc<[Route]>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(respond(request, peer, audience, &routes).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let end = async {
        tokio::select! {
            stopped = stopped.wait_for(|stopped| *stopped) => drop(stopped),
            () = tokio::time::sleep(CONNECTION_LIFE) => {}
        }
    };
    let served = tokio::select! {
        served = &mut connection => served,
        () = end => finish(connection).await,
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "admin connection ended");
    }
}

/// Lets the answer in progress be written, if the peer reads it.
async fn finish<C>(mut connection: std::pin::Pin<&mut http1::Connection<TokioIo<TcpStream>, C>>) -> hyper::Result<()>
where
    C: hyper::service::HttpService<Incoming, ResBody = Full<Bytes>>,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.as_mut().graceful_shutdown();
    timeout(FINISH, connection).await.unwrap_or(Ok(()))
}

async fn respond(
    request: Request<Incoming>,
    peer: SocketAddr,
    audience: Audience,
    routes: &[Route],
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let (reply, allow) = match choose(&head.method, &head.uri, &head.headers, audience, routes) {
        Ok(chosen) => (call(chosen, &head.uri, body, peer).await, None),
        Err(Refused { reply, allow }) => (reply, allow),
    };
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&reply.content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(Ok(value)) = allow.as_deref().map(HeaderValue::from_str) {
        headers.insert(ALLOW, value);
    }
    response
}

struct Refused {
    reply: Reply,
    allow: Option<String>,
}

/// The route that answers, and what follows its prefix.
type Chosen<'r> = (&'r Route, String);

fn choose<'r>(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    audience: Audience,
    routes: &'r [Route],
) -> Result<Chosen<'r>, Refused> {
    let refuse = |status, line: &str| Err(Refused { reply: Reply::text(status, line), allow: None });
    if audience == Audience::Machine && !names_loopback(uri, headers) {
        return refuse(StatusCode::FORBIDDEN, "the Host header must name this machine's loopback");
    }
    let matching: Vec<Chosen<'r>> = routes.iter().filter_map(|route| Some((route, route.rest(uri.path())?))).collect();
    if matching.is_empty() {
        return refuse(StatusCode::NOT_FOUND, "there is nothing here");
    }
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    let allow = allowed(&matching);
    let Some(chosen) = matching.into_iter().find(|(route, _)| route.method == wanted) else {
        let line = format!("use {allow}");
        return Err(Refused { reply: Reply::text(StatusCode::METHOD_NOT_ALLOWED, line), allow: Some(allow) });
    };
    if *method == Method::POST && headers.get(ADMIN_HEADER).is_none_or(|value| value != "1") {
        return refuse(StatusCode::FORBIDDEN, "POST needs the header minimesh-admin: 1");
    }
    Ok(chosen)
}

fn allowed(matching: &[Chosen<'_>]) -> String {
    let mut methods = Vec::new();
    for (route, _) in matching {
        methods.push(route.method.as_str());
        if route.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.join(", ")
}

impl Route {
    fn rest(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.path)?;
        (rest.is_empty() || self.path.ends_with('/')).then(|| rest.to_owned())
    }
}

/// DNS rebinding: a page from elsewhere can make a browser connect here, but it cannot make it send another Host than its own.
fn names_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let loopback = |authority: &http::uri::Authority| matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
    let host = http::uri::Authority::try_from(host.as_bytes());
    host.is_ok_and(|host| loopback(&host)) && uri.authority().is_none_or(loopback)
}

async fn call((route, rest): Chosen<'_>, uri: &Uri, body: Incoming, peer: SocketAddr) -> Reply {
    let body = if route.method == Method::POST {
        match timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                return Reply::text(StatusCode::BAD_REQUEST, format_args!("the body was not read: {error}"));
            }
            Err(_) => return Reply::text(StatusCode::REQUEST_TIMEOUT, "the body did not come in 10 s"),
        }
    } else {
        Bytes::new()
    };
    let query = uri.query().map(str::to_owned);
    (route.handler)(Call { path: uri.path().to_owned(), rest, query, body, peer }).await
}

const ADMIN_HEADER: &str = "minimesh-admin";
/// Prometheus, a kubelet and a few people; more is someone who should not be here.
const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 64 * 1024;
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds a peer that asks and then reads nothing.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
const FINISH: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
