//! The client's application: one connection, one request after the other, each answer looked at.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request};
use tokio::runtime::Runtime;

use crate::application::{BLOCK, BODY, Carried, RESPONSE};

/// A connection.
pub struct Client {
    speaks: Speaks,
}

enum Speaks {
    Http1(TcpStream),
    Http2 { runtime: Runtime, send: SendRequest<Bytes>, grpc: bool },
    Opaque { connection: TcpStream, block: Vec<u8> },
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr, carried: Carried) -> io::Result<Client> {
        let connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        let speaks = match carried {
            Carried::Grpc => http2(connection, true)?,
            Carried::Http1 => Speaks::Http1(connection),
            Carried::Http2 => http2(connection, false)?,
            Carried::Opaque => Speaks::Opaque { connection, block: vec![b'x'; BLOCK] },
        };
        Ok(Client { speaks })
    }

    /// That many requests, calls or blocks. Allocates nothing over HTTP/1 and for bytes.
    pub fn ask(&mut self, times: u32) -> io::Result<()> {
        match &mut self.speaks {
            Speaks::Http1(connection) => (0..times).try_for_each(|_| get(connection)),
            Speaks::Http2 { runtime, send, grpc } => runtime.block_on(async {
                for _ in 0..times {
                    stream(send, *grpc).await.map_err(io::Error::other)?;
                }
                Ok(())
            }),
            Speaks::Opaque { connection, block } => (0..times).try_for_each(|_| {
                connection.write_all(block)?;
                connection.read_exact(&mut [0])
            }),
        }
    }
}

fn get(connection: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    connection.write_all(REQUEST)?;
    let mut filled = 0;
    while !buffer[..filled].ends_with(b"0.00\"}") {
        let count = connection.read(&mut buffer[filled..])?;
        filled += count;
        if count == 0 || !buffer[..filled].starts_with(&RESPONSE[..15.min(filled)]) {
            return Err(io::Error::other(format!("not the answer: {:?}", String::from_utf8_lossy(&buffer[..filled]))));
        }
    }
    Ok(())
}

fn http2(connection: TcpStream, grpc: bool) -> io::Result<Speaks> {
    connection.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let send = runtime.block_on(async {
        let connection = tokio::net::TcpStream::from_std(connection)?;
        let (send, connection) = h2::client::handshake(connection).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok::<_, io::Error>(send)
    })?;
    Ok(Speaks::Http2 { runtime, send, grpc })
}

/// One stream, to its end.
async fn stream(send: &mut SendRequest<Bytes>, grpc: bool) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static("http://carts/carts/57a98d98e4b00679b4a830b2/items");
    let headers = request.headers_mut();
    headers.insert("user-agent", HeaderValue::from_static("front-end"));
    headers.insert("x-version", HeaderValue::from_static("1"));
    if grpc {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("grpc-timeout", HeaderValue::from_static("15S"));
        *request.method_mut() = Method::POST;
    } else {
        headers.insert("accept", HeaderValue::from_static("application/json"));
    }
    std::future::poll_fn(|cx| send.poll_ready(cx)).await?;
    let (response, mut upload) = send.send_request(request, !grpc)?;
    if grpc {
        upload.send_data(Bytes::from_static(MESSAGE), true)?;
    }
    let mut body = response.await?.into_body();
    let (mut length, expected) = (0, if grpc { MESSAGE.len() } else { BODY.len() });
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let status = body.trailers().await?;
    let status = status.as_ref().and_then(|trailers| trailers.get("grpc-status")).map(HeaderValue::as_bytes);
    if length == expected && status == grpc.then_some(b"0") {
        return Ok(());
    }
    Err(format!("not the answer: {length} bytes, status {status:?}").into())
}

const REQUEST: &[u8] =
    b"GET /carts/57a98d98e4b00679b4a830b2/items HTTP/1.1\r\nHost: carts\r\nUser-Agent: front-end\r\n\
    Accept: application/json\r\nx-version: 1\r\n\r\n";

/// A gRPC message: a zero, four bytes of length, 24 bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x18\x0a\x1657a98d98e4b00679b4a830b2";
