//! The admin server's accept loop, its connections and its checks.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
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
                // Gone already: nobody to answer.
                let Ok(local) = stream.local_addr() else { continue };
                let (routes, stopped) = (Arc::clone(&routes), stopped.clone());
                connections.spawn(async move {
                    connection(stream, Ends { peer, local }, audience, routes, stopped).await;
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

/// Of one connection.
#[derive(Clone, Copy)]
struct Ends {
    peer: SocketAddr,
    local: SocketAddr,
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    ends: Ends,
    audience: Audience,
    routes: Arc<[Route]>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(respond(request, ends, audience, &routes).await) }
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
        tracing::debug!(peer = %ends.peer, %error, "admin connection ended");
    }
}

/// Lets the answer in progress be written, if the peer reads it.
async fn finish<S, C>(mut connection: Pin<&mut http1::Connection<TokioIo<S>, C>>) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: HttpService<Incoming, ResBody = Full<Bytes>>,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.as_mut().graceful_shutdown();
    timeout(FINISH, connection).await.unwrap_or(Ok(()))
}

async fn respond(
    request: Request<Incoming>,
    ends: Ends,
    audience: Audience,
    routes: &[Route],
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let (reply, allow) = match choose(&head.method, &head.uri, &head.headers, audience, routes) {
        Ok(chosen) => (call(chosen, &head.uri, body, ends).await, None),
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

async fn call((route, rest): Chosen<'_>, uri: &Uri, body: Incoming, ends: Ends) -> Reply {
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
    (route.handler)(Call { path: uri.path().to_owned(), rest, query, body, peer: ends.peer, local: ends.local }).await
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    async fn server(audience: Audience) -> Server {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Server::bind(any_port, audience)
            .await
            .expect("loopback")
            .get("/ready", |_| async { Reply::text(StatusCode::OK, "ready") })
            .get("/probe/", |call: Call| async move { Reply::text(StatusCode::OK, call.rest) })
            .get("/level", |_| async { Reply::text(StatusCode::OK, "info") })
            .post("/level", |call: Call| async move { Reply::ok("text/x", [b"now ", &call.body[..]].concat()) })
    }

    /// One connection in memory, so that paused time is exact.
    async fn connect(audience: Audience) -> (DuplexStream, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let (ours, theirs) = duplex(MAX_BODY * 2);
        let (stop, stopped) = watch::channel(false);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let routes = server(audience).await.routes.into();
        (ours, stop, tokio::spawn(connection(theirs, Ends { peer, local: peer }, audience, routes, stopped)))
    }

    /// Status line and body of the answer to one request.
    async fn ask(audience: Audience, request: &str) -> (String, String) {
        let (mut stream, _stop, _task) = connect(audience).await;
        let request = request.replacen("\n\n", "\nConnection: close\n\n", 1).replace('\n', "\r\n");
        stream.write_all(request.as_bytes()).await.expect("in memory");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("in memory");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.lines().next().expect("a status line").to_owned(), body.to_owned())
    }

    const NETWORK: Audience = Audience::Network;
    const MACHINE: Audience = Audience::Machine;

    #[tokio::test(start_paused = true)]
    async fn answers_get_and_head_and_prefixes() {
        let (status, body) = ask(NETWORK, "GET /ready?x HTTP/1.1\nHost: anything\n\n").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ready\n"));
        let (status, body) = ask(NETWORK, "HEAD /ready HTTP/1.1\nHost: anything\n\n").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
        let (_, body) = ask(NETWORK, "GET /probe/8080 HTTP/1.1\nHost: anything\n\n").await;
        assert_eq!(body, "8080\n");
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_what_is_not_there_and_other_methods_in_words() {
        let (status, body) = ask(NETWORK, "GET /readyx HTTP/1.1\nHost: x\n\n").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 404 Not Found", "there is nothing here\n"));
        let (status, body) = ask(NETWORK, "DELETE /ready HTTP/1.1\nHost: x\n\n").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 405 Method Not Allowed", "use GET, HEAD\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_network_cannot_post() {
        let post = "POST /level HTTP/1.1\nHost: localhost\nminimesh-admin: 1\nContent-Length: 5\n\ndebug";
        let (status, _) = ask(NETWORK, post).await;
        assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
        let (status, body) = ask(MACHINE, post).await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "now debug"));
    }

    #[tokio::test(start_paused = true)]
    async fn post_needs_the_header_and_everything_needs_a_loopback_host() {
        let (status, body) = ask(MACHINE, "POST /level HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n").await;
        assert_eq!(status, "HTTP/1.1 403 Forbidden");
        assert_eq!(body, "POST needs the header minimesh-admin: 1\n");
        for host in ["127.0.0.1", "127.0.0.1:4192", "localhost:4192", "[::1]:4192"] {
            let (status, _) = ask(MACHINE, &format!("GET /level HTTP/1.1\nHost: {host}\n\n")).await;
            assert_eq!(status, "HTTP/1.1 200 OK", "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "10.42.0.5", "", "a@localhost/x"] {
            let (status, _) = ask(MACHINE, &format!("GET /level HTTP/1.1\nHost: {host}\n\n")).await;
            assert_eq!(status, "HTTP/1.1 403 Forbidden", "{host}");
        }
        let (status, _) = ask(MACHINE, "GET /level HTTP/1.1\nHost: localhost\nHost: evil.example\n\n").await;
        assert_eq!(status, "HTTP/1.1 403 Forbidden");
        let (status, _) = ask(MACHINE, "GET /level HTTP/1.0\n\n").await;
        assert_eq!(status, "HTTP/1.0 403 Forbidden");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_or_body_beyond_the_limit_is_refused() {
        let long = "x".repeat(MAX_HEAD);
        let (status, _) = ask(NETWORK, &format!("GET /ready HTTP/1.1\nHost: x\nlong: {long}\n\n")).await;
        assert_eq!(status, "HTTP/1.1 431 Request Header Fields Too Large");
        let body = "x".repeat(MAX_BODY + 1);
        let head = "POST /level HTTP/1.1\nHost: localhost\nminimesh-admin: 1";
        let (status, _) = ask(MACHINE, &format!("{head}\nContent-Length: {}\n\n{body}", body.len())).await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_head_is_let_go_after_ten_seconds() {
        let begin = Instant::now();
        let (mut stream, _stop, task) = connect(NETWORK).await;
        stream.write_all(b"GET /ready HT").await.expect("in memory");
        task.await.expect("no panic");
        assert!(begin.elapsed() < READ_TIMEOUT + Duration::from_secs(1), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_idles_between_requests_is_let_go() {
        let begin = Instant::now();
        let (mut stream, _stop, task) = connect(NETWORK).await;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("in memory");
        task.await.expect("no panic");
        assert!(begin.elapsed() <= CONNECTION_LIFE + FINISH, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_told_to_although_a_connection_is_idle() {
        let (_stream, stop, task) = connect(NETWORK).await;
        stop.send_replace(true);
        task.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_server_that_can_change_things_binds_the_loopback_only() {
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        assert!(matches!(Server::bind(everywhere, MACHINE).await, Err(super::super::Error::NotLoopback(_))));
    }

    #[tokio::test]
    async fn serves_over_tcp_until_told_to_stop() {
        let server = server(NETWORK).await;
        let address = server.local_addr().expect("bound");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(server.serve(async { drop(stopped.await) }));
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("loopback");
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("loopback");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("loopback");
        assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
        drop(stop);
        task.await.expect("no panic");
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
