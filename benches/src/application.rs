//! What stands behind the server's sidecar: the smallest application of each kind. Its threads do not count.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};

use crate::counting;

/// What client and application speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Unary calls: one message each way, and trailers.
    Grpc,
    /// GET and a small answer, one after the other.
    Http1,
    /// The same over HTTP/2.
    Http2,
    /// Bytes in blocks of [`BLOCK`], each acknowledged by one byte.
    Opaque,
}

/// Starts one on loopback.
pub fn start(carried: Carried) -> io::Result<SocketAddr> {
    start_with(carried, counting::ignore_this_thread)
}

/// Starts one whose threads begin with `begin`.
pub fn start_with(carried: Carried, begin: fn()) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let serve: fn(TcpStream) -> io::Result<()> = match carried {
        Carried::Grpc | Carried::Http2 => http2,
        Carried::Http1 => http1,
        Carried::Opaque => opaque,
    };
    std::thread::spawn(move || {
        begin();
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                begin();
                // a client that has gone is this connection's end
                let _ = connection.set_nodelay(true).and_then(|()| serve(connection));
            });
        }
    });
    Ok(address)
}

fn http1(mut connection: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let mut filled = 0;
    loop {
        let count = connection.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            connection.write_all(RESPONSE)?;
            filled = 0;
        }
    }
}

fn opaque(mut connection: TcpStream) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        connection.read_exact(&mut block)?;
        connection.write_all(&[1])?;
    }
}

fn http2(connection: TcpStream) -> io::Result<()> {
    connection.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = tokio::net::TcpStream::from_std(connection)?;
        let mut connection = h2::server::handshake(connection).await.map_err(io::Error::other)?;
        while let Some(stream) = connection.accept().await {
            let (request, respond) = stream.map_err(io::Error::other)?;
            tokio::spawn(answer(request, respond));
        }
        Ok(())
    })
}

/// A gRPC call is answered with its own message, everything else with the same bytes as over HTTP/1.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut message = Bytes::new();
    while let Some(data) = body.data().await {
        message = data?;
        body.flow_control().release_capacity(message.len())?;
    }
    let is_grpc = head.headers.contains_key("grpc-timeout");
    let mut response = Response::new(());
    let kind = if is_grpc { "application/grpc" } else { "application/json" };
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    if !is_grpc {
        response.headers_mut().insert("server", HeaderValue::from_static("carts"));
        return respond.send_response(response, false)?.send_data(Bytes::from_static(BODY), true);
    }
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(message, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// One write of the opaque client.
pub const BLOCK: usize = 64 * 1024;

/// What a request is answered with.
pub const BODY: &[u8] = b"{\"items\":[],\"total\":\"0.00\"}";

/// The whole of it over HTTP/1.
pub const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: carts\r\ncontent-length: 27\r\n\r\n\
    {\"items\":[],\"total\":\"0.00\"}";
