//! HTTP/2 and gRPC through two proxies: what arrives is what was sent, stream by stream.
//!
//! Applications and clients are the h2 crate itself; `Caller` is one connection of a client, `serve` an application.

mod bodies;
mod chaos;
mod flow;
mod grpc;
mod leaving;
mod life;
mod observe;
mod resets;
mod routes;
mod slow;
mod unanswered;
mod undelivered;

use ::h2::client::SendRequest;
use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream, SendStream};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response};
use bytes::Bytes;

use super::*;

/// A connection of the application's HTTP/2 client.
pub(super) struct Caller {
    send: SendRequest<Bytes>,
    /// Its task, where it is the first caller on the connection.
    connection: Option<tokio::task::JoinHandle<Result<(), ::h2::Error>>>,
}

/// A response, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ascii"))
    }

    fn trailer(&self, name: &str) -> &str {
        let value = self.trailers.as_ref().and_then(|trailers| trailers.get(name));
        value.map_or("", |value| value.to_str().expect("ascii"))
    }
}

impl Caller {
    pub(super) async fn new(address: SocketAddr) -> Caller {
        Caller::with(address, &::h2::client::Builder::new()).await
    }

    pub(super) async fn with(address: SocketAddr, builder: &::h2::client::Builder) -> Caller {
        let tcp = TcpStream::connect(address).await.expect("listener");
        tcp.set_nodelay(true).expect("nodelay");
        let (send, connection) = builder.handshake(tcp).await.expect("handshake");
        let connection = Some(tokio::task::spawn_local(connection));
        Caller { send, connection }
    }

    /// Another caller on the same connection.
    fn another(&self) -> Caller {
        Caller { send: self.send.clone(), connection: None }
    }

    /// The connection's end.
    async fn ended(self) -> Result<(), ::h2::Error> {
        drop(self.send);
        self.connection.expect("the first caller").await.expect("no panic")
    }

    /// Begins a request; its body is the caller's to send.
    pub(super) async fn begin(&self, request: Request<()>) -> (::h2::client::ResponseFuture, SendStream<Bytes>) {
        self.send.clone().ready().await.expect("ready").send_request(request, false).expect("sent")
    }

    /// Sends a whole request and reads its response.
    async fn ask(&self, request: Request<()>, body: &[u8]) -> Result<Answer, ::h2::Error> {
        let (response, mut stream) = self.begin(request).await;
        send_all(&mut stream, body, true).await?;
        read(response.await?).await
    }

    /// Waits for the proxy's SETTINGS, which allow extended CONNECT.
    async fn settled(&self) {
        while !self.send.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, ::h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, _) = send.send_request(request(Method::GET, path), true)?;
        read(response.await?).await
    }
}

pub(super) fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://catalogue:80{path}")).body(()).expect("valid")
}

fn grpc(path: &str) -> Request<()> {
    let mut request = request(Method::POST, path);
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    request
}

/// Sends as the receiver's window lets it.
pub(super) async fn send_all(stream: &mut SendStream<Bytes>, body: &[u8], end: bool) -> Result<(), ::h2::Error> {
    let mut rest = Bytes::copy_from_slice(body);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = match stream.capacity() {
            0 => match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(room) => room?,
                None => return Err(Reason::CANCEL.into()),
            },
            room => room,
        };
        stream.send_data(rest.split_to(room.min(rest.len())), false)?;
    }
    if end { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}

/// The next data, whose window is given back at once.
async fn data(body: &mut RecvStream) -> Option<Result<Bytes, ::h2::Error>> {
    let data = body.data().await?;
    if let Ok(data) = &data {
        let _ = body.flow_control().release_capacity(data.len());
    }
    Some(data)
}

pub(super) async fn read_body(body: &mut RecvStream) -> Result<Vec<u8>, ::h2::Error> {
    let mut all = Vec::new();
    while let Some(part) = data(body).await {
        all.extend_from_slice(&part?);
    }
    Ok(all)
}

async fn read(response: Response<RecvStream>) -> Result<Answer, ::h2::Error> {
    let (parts, mut body) = response.into_parts();
    let all = read_body(&mut body).await?;
    let trailers = body.trailers().await?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: all, trailers })
}

/// An application: `handle` is called for every stream, on every connection.
pub(super) async fn serve<F>(
    handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    serve_with(::h2::server::Builder::new(), handle).await
}

async fn serve_with<F>(
    builder: ::h2::server::Builder,
    handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    app(move |client| {
        let (builder, handle) = (builder.clone(), handle.clone());
        async move {
            let Ok(mut connection) = builder.handshake(client.tcp).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::task::spawn_local(handle(request, respond));
            }
        }
    })
    .await
}

/// Answers with what it got: pseudo headers and headers as `x-…`, body as body, trailers as trailers.
async fn mirror() -> SocketAddr {
    serve(|request, respond| async move { reflect(request, respond).await.unwrap_or(()) }).await
}

async fn reflect(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), ::h2::Error> {
    let (parts, mut body) = request.into_parts();
    let seen = format!("{} {} {:?}", parts.method, parts.uri, parts.headers);
    let all = read_body(&mut body).await?;
    let trailers = body.trailers().await?;
    let mut response = Response::builder();
    response = response.header("x-seen", seen).header("x-twice", "1").header("x-twice", "2");
    let mut to = respond.send_response(response.body(()).expect("valid"), false)?;
    send_all(&mut to, &all, trailers.is_none()).await?;
    trailers.map_or(Ok(()), |trailers| to.send_trailers(trailers))
}

/// A mesh with one mirror behind the Service, and a caller.
async fn one_mirror() -> (Mesh, Server, Caller) {
    let mesh = Mesh::new();
    let server = mesh.server("catalogue", mirror().await);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    (mesh, server, caller)
}
