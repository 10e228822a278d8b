//! A client that sends many requests of many sizes and believes nothing: it compares every byte that comes back, and logs what
//! it knows to have been answered, for comparison with the servers' logs.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use minimesh_balance::Rng;

use super::flags::Flags;
use crate::Failure;
use crate::body::{Body, Digest};
use crate::http::{self, Framing, Head};

/// What became of all requests.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LoadResult {
    /// Answered, every byte right.
    pub succeeded: u64,
    /// Everything else, by id, with what was wrong.
    pub failed: Vec<(u64, String)>,
    /// Of bodies.
    pub bytes_sent: u64,
    /// Of bodies.
    pub bytes_received: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
}

/// DESIGN part 6: no answer in 5 s is a failed request.
const PATIENCE: Duration = Duration::from_secs(5);
/// A connection is closed by the client after about this many requests.
const REQUESTS_PER_CONNECTION: usize = 200;

enum Ended {
    Failure(u64, String),
    Success { id: u64, digest: String, sent: u64, received: u64 },
}

struct Plan {
    id: u64,
    sends: u64,
    receives: u64,
    chunked: bool,
    answer_chunked: bool,
    close: bool,
}

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let target: SocketAddr = flags.parsed("target")?;
    let (requests, connections): (u64, u64) = (flags.parsed("requests")?, flags.parsed("connections")?);
    let (first, largest): (u64, u64) = (flags.parsed("first-id")?, flags.parsed("largest-body")?);
    let mut log = BufWriter::new(File::create(flags.text("log")?)?);
    let next = AtomicU64::new(first);
    let begun = Instant::now();
    let mut result = LoadResult { succeeded: 0, failed: Vec::new(), bytes_sent: 0, bytes_received: 0, seconds: 0.0 };
    let (sender, receiver) = mpsc::sync_channel(64);
    std::thread::scope(|scope| -> Result<(), Failure> {
        for number in 0..connections {
            let (sender, next) = (sender.clone(), &next);
            scope
                .spawn(move || client(target, next, first + requests, largest, &mut Rng::new(first ^ number), &sender));
        }
        drop(sender);
        for ended in receiver {
            match ended {
                Ended::Failure(id, what) => result.failed.push((id, what)),
                Ended::Success { id, digest, sent, received } => {
                    result.succeeded += 1;
                    result.bytes_sent += sent;
                    result.bytes_received += received;
                    writeln!(log, "{id} {digest}")?;
                }
            }
        }
        Ok(())
    })?;
    log.flush()?;
    result.seconds = begun.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

/// One connection after another, one request after another.
fn client(
    target: SocketAddr,
    next: &AtomicU64,
    end: u64,
    largest: u64,
    rng: &mut Rng,
    ended: &mpsc::SyncSender<Ended>,
) {
    let mut connection: Option<Connection> = None;
    loop {
        let id = next.fetch_add(1, Ordering::Relaxed);
        if id >= end {
            return;
        }
        let plan = Plan::draw(id, largest, rng);
        let current = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(target),
        };
        let outcome = current.map_err(|error| format!("connect: {error}")).and_then(|mut open| {
            let digest = open.exchange(&plan, rng)?;
            Ok((open, digest))
        });
        let said = match outcome {
            Ok((open, digest)) => {
                connection = Some(open).filter(|open| !plan.close && open.usable);
                Ended::Success { id, digest, sent: plan.sends, received: plan.receives }
            }
            Err(what) => Ended::Failure(id, what),
        };
        if ended.send(said).is_err() {
            return;
        }
    }
}

impl Plan {
    fn draw(id: u64, largest: u64, rng: &mut Rng) -> Plan {
        Plan {
            id,
            sends: size(largest, rng),
            receives: size(largest, rng),
            chunked: rng.below(2) == 0,
            answer_chunked: rng.below(2) == 0,
            close: rng.below(REQUESTS_PER_CONNECTION) == 0,
        }
    }
}

/// 90 % up to 4 KiB, 9 % up to 256 KiB, 1 % up to `largest`; within the larger classes every doubling is as likely.
fn size(largest: u64, rng: &mut Rng) -> u64 {
    const SMALL: u64 = 4 * 1024;
    const MIDDLE: u64 = 256 * 1024;
    match rng.below(100) {
        0 => log_uniform(MIDDLE, largest, rng),
        1..=9 => log_uniform(SMALL, MIDDLE.min(largest), rng),
        _ => rng.below(SMALL as usize + 1) as u64,
    }
}

fn log_uniform(low: u64, high: u64, rng: &mut Rng) -> u64 {
    let exponent = rng.below(1_000_001) as f64 / 1e6;
    (low as f64 * (high.max(low) as f64 / low as f64).powf(exponent)) as u64
}

struct Connection {
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
    target: SocketAddr,
    usable: bool,
}

impl Connection {
    fn open(target: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
        Ok(Connection { reader, writer: BufWriter::with_capacity(64 * 1024, stream), target, usable: true })
    }

    /// Sends a request and checks its answer; says the SHA-256 of what was sent.
    fn exchange(&mut self, plan: &Plan, rng: &mut Rng) -> Result<String, String> {
        let sent = Body::new(!plan.id, plan.sends);
        let digest = Body::new(!plan.id, plan.sends).sha256();
        self.send(plan, sent, rng).map_err(|error| format!("send: {error}"))?;
        let head = loop {
            let head = Head::read(&mut self.reader).map_err(|error| format!("answer: {error}"))?;
            let head = head.ok_or("answer: the connection was closed")?;
            if head.status() != Some(100) {
                break head;
            }
        };
        if head.status() != Some(200) {
            return Err(format!("{} ({})", head.start, head.get("minimesh-error").unwrap_or("application")));
        }
        let mut received = Digest::new();
        http::read_body(&mut self.reader, head.response_framing(), |piece| received.update(piece))
            .map_err(|error| format!("answer's body: {error}"))?;
        self.usable = head.keeps_alive();
        if head.number("x-id") != Some(plan.id) {
            return Err(format!("the answer to {:?}", head.get("x-id")));
        }
        if head.get("x-received-sha256") != Some(&digest) {
            return Err("the server received other bytes".to_owned());
        }
        if received.finish() != Body::new(plan.id, plan.receives).sha256() {
            return Err("other bytes came back".to_owned());
        }
        Ok(digest)
    }

    fn send(&mut self, plan: &Plan, body: Body, rng: &mut Rng) -> std::io::Result<()> {
        let framing = if plan.chunked { Framing::Chunked } else { Framing::Length(plan.sends) };
        let writer = &mut self.writer;
        write!(writer, "POST /load/{} HTTP/1.1\r\nHost: {}\r\nX-Id: {}\r\n", plan.id, self.target, plan.id)?;
        write!(writer, "X-Answer-Bytes: {}\r\n", plan.receives)?;
        writer.write_all(if plan.answer_chunked { b"X-Answer-Framing: chunked\r\n" } else { b"" })?;
        match framing {
            Framing::Chunked => writer.write_all(b"Transfer-Encoding: chunked\r\n")?,
            _ => write!(writer, "Content-Length: {}\r\n", plan.sends)?,
        }
        writer.write_all(if plan.close { b"Connection: close\r\n\r\n" } else { b"\r\n" })?;
        http::write_body(writer, framing, body, rng)
    }
}
