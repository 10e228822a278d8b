//! A client whose one conversation lasts: sends a message every now and then, expects each of them back in order, and stops
//! when it gets SIGTERM. The server echoes.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::interval;

use super::flags::Flags;
use crate::Failure;
use crate::http::{self, Framing, Head};
use crate::http2::{GRPC, Messages, message, receive, send};

/// What carries the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carrier {
    /// A gRPC call with messages both ways.
    Grpc,
    /// A chunked request and its chunked response.
    Http1,
    /// A request and its response.
    Http2,
    /// Bytes.
    Tcp,
    /// What an HTTP/1.1 connection becomes after 101.
    Upgrade,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamResult {
    /// Messages sent.
    pub sent: u64,
    /// Messages that came back, whole and in order.
    pub received: u64,
    /// What went wrong.
    pub error: Option<String>,
}

/// Between messages.
const PACE: Duration = Duration::from_millis(20);
/// Nothing comes back for so long: something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);

/// Compares what comes back.
#[derive(Default)]
struct Echo {
    received: u64,
    pending: Vec<u8>,
}

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let (target, carrier): (SocketAddr, Carrier) = (flags.parsed("target")?, flags.json("carrier")?);
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate())?;
        let asked = Arc::clone(&stop);
        spawn_local(async move {
            terminate.recv().await;
            asked.store(true, Ordering::SeqCst);
        });
        let talk = match carrier {
            Carrier::Grpc | Carrier::Http2 => over_http2(target, carrier == Carrier::Grpc, &stop).await,
            _ => tokio::task::spawn_blocking(move || over_http1(target, carrier, &stop)).await?,
        };
        Ok::<_, Failure>(talk)
    })?;
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

fn over_http1(target: SocketAddr, carrier: Carrier, stop: &Arc<AtomicBool>) -> StreamResult {
    let mut echo = Echo::default();
    let sent = talk_http1(target, carrier, stop, &mut echo);
    echo.result(sent.map_err(|error| error.to_string()))
}

fn talk_http1(target: SocketAddr, carrier: Carrier, stop: &Arc<AtomicBool>, echo: &mut Echo) -> io::Result<u64> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut writer, mut reader) = (stream.try_clone()?, BufReader::new(stream));
    let more = match carrier {
        Carrier::Http1 => "X-Answer: echo\r\nTransfer-Encoding: chunked\r\n",
        _ => "X-Answer: echo\r\nConnection: Upgrade\r\nUpgrade: echo\r\n",
    };
    if carrier != Carrier::Tcp {
        write!(writer, "POST /echo HTTP/1.1\r\nHost: {target}\r\n{more}\r\n")?;
        let head = Head::read(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let wanted = if carrier == Carrier::Http1 { 200 } else { 101 };
        if head.status() != Some(wanted) {
            return Err(io::Error::other(head.start));
        }
    }
    let framing = if carrier == Carrier::Http1 { Framing::Chunked } else { Framing::UntilClose };
    let stop = Arc::clone(stop);
    let sender = std::thread::spawn(move || {
        let mut number = 0;
        while !stop.load(Ordering::SeqCst) {
            let text = line(number);
            match framing {
                Framing::Chunked => write!(writer, "{:x}\r\n{text}\r\n", text.len())?,
                _ => writer.write_all(text.as_bytes())?,
            }
            number += 1;
            std::thread::park_timeout(PACE);
        }
        match framing {
            Framing::Chunked => writer.write_all(b"0\r\n\r\n")?,
            _ => writer.shutdown(Shutdown::Write)?,
        }
        io::Result::Ok(number)
    });
    let mut same = true;
    http::read_body(&mut reader, framing, |piece| same &= echo.take(piece))?;
    let sent = sender.join().map_err(|_| io::Error::other("the sender died"))??;
    if same { Ok(sent) } else { Err(io::Error::other("something else came back")) }
}

async fn over_http2(target: SocketAddr, grpc: bool, stop: &AtomicBool) -> StreamResult {
    let mut echo = Echo::default();
    let sent = talk_http2(target, grpc, stop, &mut echo).await;
    echo.result(sent.map_err(|error| error.to_string()))
}

async fn talk_http2(target: SocketAddr, grpc: bool, stop: &AtomicBool, echo: &mut Echo) -> Result<u64, Failure> {
    let tcp = tokio::net::TcpStream::connect(target).await?;
    tcp.set_nodelay(true)?;
    let (requests, connection) = h2::client::handshake(tcp).await?;
    spawn_local(async move {
        // what went wrong is told to the stream
        let _ = connection.await;
    });
    let kind = if grpc { GRPC } else { "application/octet-stream" };
    let head = ::http::Request::post(format!("http://{target}/echo")).header("x-answer", "echo");
    let head = head.header("content-type", kind).header("te", "trailers").body(())?;
    let (answer, mut up) = requests.ready().await?.send_request(head, false)?;
    let sending = async {
        let (mut number, mut pace) = (0, interval(PACE));
        while !stop.load(Ordering::SeqCst) {
            pace.tick().await;
            let text = line(number);
            send(&mut up, if grpc { message(text.as_bytes()) } else { Bytes::from(text) }).await?;
            number += 1;
        }
        up.send_data(Bytes::new(), true)?;
        Ok::<u64, Failure>(number)
    };
    let receiving = async {
        let mut body = answer.await?.into_body();
        let (mut messages, mut same) = (Messages::default(), true);
        receive(&mut body, |piece| match grpc {
            true => same &= messages.take(piece, |content| echo.pending.extend_from_slice(content)) && echo.take(&[]),
            false => same &= echo.take(piece),
        })
        .await?;
        let status = body.trailers().await?.and_then(|trailers| trailers.get("grpc-status").cloned());
        if grpc && status.as_ref().is_none_or(|status| status != "0") {
            return Err(format!("grpc-status {status:?}").into());
        }
        if same { Ok::<(), Failure>(()) } else { Err("something else came back".into()) }
    };
    let (sent, ()) = tokio::try_join!(sending, receiving)?;
    Ok(sent)
}

impl Echo {
    /// False: this is not what was sent.
    fn take(&mut self, piece: &[u8]) -> bool {
        self.pending.extend_from_slice(piece);
        while self.pending.len() >= LENGTH {
            let next: Vec<u8> = self.pending.drain(..LENGTH).collect();
            if next != line(self.received).as_bytes() {
                return false;
            }
            self.received += 1;
            if self.received == 1 {
                println!("{}", super::READY);
            }
        }
        true
    }

    fn result(self, sent: Result<u64, String>) -> StreamResult {
        let (sent, error) = match sent {
            Ok(sent) => (sent, None),
            Err(error) => (0, Some(error)),
        };
        StreamResult { sent, received: self.received, error }
    }
}

fn line(number: u64) -> String {
    format!("message {number:015}\n")
}

/// Of every message.
const LENGTH: usize = 24;
