//! Requests over HTTP/2, and gRPC calls.

use std::future::poll_fn;
use std::io;
use std::net::TcpStream as BlockingStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use minimesh_balance::Rng;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::interval;

use super::{LOOK, Server};
use crate::Failure;
use crate::body::Body;
use crate::http2::{GRPC, WINDOW, receive_digest, send, send_body};

pub(super) fn serve(server: &Arc<Server>, stream: BlockingStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, connection(server, stream))
}

async fn connection(server: &Arc<Server>, stream: BlockingStream) -> io::Result<()> {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(2 * WINDOW);
    let connection = builder.handshake::<_, Bytes>(TcpStream::from_std(stream)?).await;
    let mut connection = connection.map_err(io::Error::other)?;
    let (mut look, mut leaving) = (interval(LOOK), false);
    loop {
        tokio::select! {
            request = connection.accept() => {
                let Some(request) = request else { return Ok(()) };
                let (request, respond) = request.map_err(io::Error::other)?;
                let server = Arc::clone(server);
                spawn_local(async move {
                    if let Err(error) = answer(&server, request, respond).await {
                        println!("stream: {error}");
                    }
                });
            }
            _ = look.tick(), if !leaving => if server.draining.load(Ordering::SeqCst) {
                leaving = true;
                connection.graceful_shutdown();
            },
        }
    }
}

async fn answer(
    server: &Server,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), Failure> {
    let (request, mut body) = request.into_parts();
    let grpc = text(&request, "content-type").is_some_and(|kind| kind.starts_with(GRPC));
    if text(&request, "x-answer") == Some("echo") {
        let down = respond.send_response(head(server, &request, StatusCode::OK)?, false)?;
        return echo(&mut body, down, grpc).await;
    }
    if grpc {
        let down = respond.send_response(head(server, &request, StatusCode::OK)?, false)?;
        return call(server, &request, body, down).await;
    }
    let digest = receive_digest(&mut body, false).await?;
    if let Some(id) = text(&request, "x-id") {
        server.received(id, &digest)?;
    }
    if text(&request, "x-answer") == Some("never") {
        poll_fn(|cx| respond.poll_reset(cx)).await?;
        return Ok(());
    }
    let status = StatusCode::from_u16(number(&request, "x-answer-status").map_or(200, |status| status as u16))?;
    let mut head = head(server, &request, status)?;
    head.headers_mut().insert("x-received-sha256", digest.parse()?);
    let length = number(&request, "x-answer-bytes").unwrap_or_default();
    let trailers = text(&request, "x-answer-framing") == Some("chunked");
    if !trailers {
        head.headers_mut().insert("content-length", length.into());
    }
    let id = number(&request, "x-id").unwrap_or_default();
    let mut down = respond.send_response(head, length == 0 && !trailers)?;
    if length > 0 {
        send_body(&mut down, Body::new(id, length), false, &mut Rng::new(id)).await?;
    }
    match (trailers, length) {
        (true, _) => down.send_trailers(one("x-trailer", &id.to_string())?)?,
        (false, 1..) => down.send_data(Bytes::new(), true)?,
        (false, 0) => {}
    }
    Ok(())
}

/// A call: messages both ways at once, then its status.
async fn call(
    server: &Server,
    request: &Parts,
    mut body: RecvStream,
    mut down: SendStream<Bytes>,
) -> Result<(), Failure> {
    let (id, length) =
        (number(request, "x-id").unwrap_or_default(), number(request, "x-answer-bytes").unwrap_or_default());
    let mut rng = Rng::new(id);
    let sending = send_body(&mut down, Body::new(id, length), true, &mut rng);
    let ((), digest) = tokio::try_join!(sending, receive_digest(&mut body, true))?;
    server.received(&id.to_string(), &digest)?;
    let mut trailers = one("grpc-status", "0")?;
    trailers.insert("x-received-sha256", digest.parse()?);
    Ok(down.send_trailers(trailers)?)
}

/// Gives back every byte as it comes.
async fn echo(body: &mut RecvStream, mut down: SendStream<Bytes>, grpc: bool) -> Result<(), Failure> {
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        send(&mut down, piece).await?;
    }
    if grpc {
        down.send_trailers(one("grpc-status", "0")?)?
    } else {
        down.send_data(Bytes::new(), true)?
    }
    Ok(())
}

fn head(server: &Server, request: &Parts, status: StatusCode) -> Result<Response<()>, Failure> {
    let mut head = Response::builder().status(status).header("x-server", &server.name);
    for name in ["x-id", "content-type"] {
        if let Some(value) = request.headers.get(name) {
            head = head.header(name, value);
        }
    }
    let seen = request.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-seen-"));
    head = seen.fold(head, |head, (name, value)| head.header(name, value));
    let asked = |name: &str| text(request, "x-tell").is_some_and(|names| super::names(names, name));
    let told = request.headers.iter().filter(|(name, _)| asked(name.as_str()));
    head = told.fold(head, |head, (name, value)| head.header(format!("x-told-{name}"), value));
    Ok(head.header("x-received-target", request.uri.path()).body(())?)
}

fn one(name: &'static str, value: &str) -> Result<HeaderMap, Failure> {
    Ok(HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value)?)]))
}

fn text<'r>(request: &'r Parts, name: &str) -> Option<&'r str> {
    request.headers.get(name)?.to_str().ok()
}

fn number(request: &Parts, name: &str) -> Option<u64> {
    text(request, name)?.parse().ok()
}
