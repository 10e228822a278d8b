//! The application behind every proxy that is measured: one thread, three ports, nothing that costs more than it must.

use std::net::Ipv4Addr;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::load::Failure;

/// HTTP/1.1: [`BODY_LENGTH`] bytes for every request.
pub const HTTP1: u16 = 8080;
/// HTTP/2 with prior knowledge: the same for GET, its own message for a gRPC call.
pub const HTTP2: u16 = 8081;
/// Bytes: reads to the end, then says how many there were.
pub const SINK: u16 = 8082;
/// Of an answer.
pub const BODY_LENGTH: usize = 1024;
/// A gRPC message: a zero, four bytes of length, a field of 100 bytes.
pub const MESSAGE: &[u8] = b"\0\0\0\0\x66\x0a\x64\
    gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg";
/// What it prints when it listens.
pub const READY: &str = "ready";

/// Serves until the process is ended.
pub fn run() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let [first, second, third] = [HTTP1, HTTP2, SINK].map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
        let (http1_port, http2_port, sink_port) = (first.await?, second.await?, third.await?);
        println!("{READY}");
        loop {
            // what a client does wrong ends its connection and nothing else
            tokio::select! {
                accepted = http1_port.accept() => drop(tokio::spawn(http1(accepted?.0))),
                accepted = http2_port.accept() => drop(tokio::spawn(http2(accepted?.0))),
                accepted = sink_port.accept() => drop(tokio::spawn(sink(accepted?.0))),
            }
        }
    })
}

async fn http1(mut stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let response = [HEAD, &[b'x'; BODY_LENGTH]].concat();
    let mut buffer = vec![0; 8 * 1024];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            stream.write_all(&response).await?;
            filled = 0;
        }
    }
}

async fn sink(mut stream: TcpStream) -> Result<(), Failure> {
    let mut buffer = vec![0; 256 * 1024];
    let mut received: u64 = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => received += count as u64,
        }
    }
    Ok(stream.write_all(&received.to_be_bytes()).await?)
}

async fn http2(stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1000).initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
    let mut connection = builder.handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(answer(request, respond));
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let is_grpc = head.headers.get("content-type").is_some_and(|kind| kind == "application/grpc");
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        message.extend_from_slice(&data);
    }
    let mut response = Response::new(());
    let kind = if is_grpc { "application/grpc" } else { "text/plain" };
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    let mut stream = respond.send_response(response, false)?;
    if !is_grpc {
        return stream.send_data(Bytes::from_static(&[b'x'; BODY_LENGTH]), true);
    }
    stream.send_data(message.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nserver: origin\r\ndate: Mon, 23 Nov 2026 00:00:00 GMT\r\ncontent-type: text/plain\r\n\
    content-length: 1024\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_they_say() {
        assert_eq!(MESSAGE.len(), 5 + usize::from(MESSAGE[4]));
        assert_eq!(MESSAGE.len(), 7 + usize::from(MESSAGE[6]));
        assert!(String::from_utf8_lossy(HEAD).contains(&format!("content-length: {BODY_LENGTH}\r\n\r\n")));
    }
}
