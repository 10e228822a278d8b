//! A client of bytes: waits for a greeting or stays idle if it is told to, sends, ends its direction, reads to the end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flags::Flags;
use crate::Failure;
use crate::body::{Body, Digest};

/// What to do on one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exchange {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Reads a line before it sends anything.
    pub wait_for_greeting: bool,
    /// Then says nothing for so long, and expects to hear nothing.
    pub idle_millis: u64,
    /// Then sends so many bytes of seed 1 …
    pub send: u64,
    /// … but reads so many lines after the first byte.
    pub lines_first: usize,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeResult {
    /// The first line, if one was waited for.
    pub greeting: String,
    /// SHA-256 of what was sent.
    pub sent_sha256: String,
    /// Lines read after the first byte.
    pub lines: Vec<String>,
    /// Bytes that came after.
    pub received: u64,
    /// Their SHA-256.
    pub received_sha256: String,
    /// The last of them, as text.
    pub tail: String,
    /// What went wrong.
    pub error: Option<String>,
}

const PATIENCE: Duration = Duration::from_secs(20);
/// Kept of the end, as text.
const TAIL: usize = 200;

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let exchange: Exchange = flags.json("exchange")?;
    let mut result = ExchangeResult::default();
    if let Err(error) = run_exchange(&exchange, &mut result) {
        result.error = Some(format!("{:?}: {error}", error.kind()));
    }
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

fn run_exchange(exchange: &Exchange, result: &mut ExchangeResult) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&exchange.address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    if exchange.wait_for_greeting {
        reader.read_line(&mut result.greeting)?;
    }
    if exchange.idle_millis > 0 {
        idle(&mut reader, Duration::from_millis(exchange.idle_millis))?;
    }
    let mut body = Body::new(1, exchange.send);
    result.sent_sha256 = Body::new(1, exchange.send).sha256();
    if exchange.lines_first > 0 {
        writer.write_all(body.fill(&mut [0]))?;
    }
    for _ in 0..exchange.lines_first {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        result.lines.push(line);
    }
    let sender = std::thread::spawn(move || send(&mut writer, body));
    receive(&mut reader, result)?;
    sender.join().map_err(|_| io::Error::other("the sender died"))?
}

/// Expects silence, and an open connection.
fn idle(reader: &mut BufReader<TcpStream>, time: Duration) -> io::Result<()> {
    reader.get_ref().set_read_timeout(Some(time))?;
    let heard = reader.fill_buf().map(<[u8]>::len);
    reader.get_ref().set_read_timeout(Some(PATIENCE))?;
    match heard {
        Ok(0) => Err(io::Error::other("closed while idle")),
        Ok(_) => Err(io::Error::other("bytes while idle")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(()),
        Err(error) => Err(error),
    }
}

fn send(writer: &mut TcpStream, mut body: Body) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while body.left() > 0 {
        writer.write_all(body.fill(&mut buffer))?;
    }
    writer.shutdown(Shutdown::Write)
}

fn receive(reader: &mut impl Read, result: &mut ExchangeResult) -> io::Result<()> {
    let (mut digest, mut buffer, mut tail) = (Digest::new(), vec![0; 64 * 1024], Vec::new());
    loop {
        let length = reader.read(&mut buffer)?;
        if length == 0 {
            result.received_sha256 = digest.finish();
            result.tail = String::from_utf8_lossy(&tail).into_owned();
            return Ok(());
        }
        digest.update(&buffer[..length]);
        result.received += length as u64;
        tail.extend_from_slice(&buffer[length.saturating_sub(TAIL)..length]);
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
}
