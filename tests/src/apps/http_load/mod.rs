//! A client that sends many requests of many sizes and believes nothing: it compares every byte that comes back, and logs what
//! it knows to have been answered, for comparison with the servers' logs.

mod http1;
mod http2;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use minimesh_balance::Rng;
use serde::{Deserialize, Serialize};

use super::flags::Flags;
use crate::Failure;

/// Many requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Where to.
    pub target: SocketAddr,
    /// So many.
    pub requests: u64,
    /// Their ids begin here; keeps those of several clients apart.
    pub first_id: u64,
    /// In bytes, each way.
    pub largest_body: u64,
    /// Open at the same time.
    pub connections: u64,
    /// Each connection speaks one of these.
    pub protocols: Vec<LoadProtocol>,
    /// Every other request, where it is no gRPC call, is a PUT; the others are POSTs.
    pub puts: bool,
    /// Not more than so many a second; none: as many as there can be.
    pub per_second: Option<u64>,
    /// About so many requests until the client closes a connection; none: it never does.
    pub requests_per_connection: Option<usize>,
    /// More headers, the same for every request.
    pub headers: Vec<(String, String)>,
}

/// What a connection of the load speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadProtocol {
    /// One bidirectional stream per request, in messages.
    Grpc,
    /// With keep-alive.
    Http10,
    /// With chunked bodies, too.
    Http11,
    /// Prior knowledge; several requests at once.
    Http2,
}

/// What became of all requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadResult {
    /// Answered, every byte right.
    pub succeeded: u64,
    /// Everything else …
    pub failed: u64,
    /// … the first of them by id, with their methods and what was wrong.
    pub examples: Vec<(u64, String)>,
    /// Of bodies.
    pub bytes_sent: u64,
    /// Of bodies.
    pub bytes_received: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
}

/// No answer in 5 s is a failed request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Failures that are told in full.
const EXAMPLES: usize = 200;

enum Ended {
    Failure(u64, String),
    Success { id: u64, digest: String, sent: u64, received: u64 },
}

/// What the connections share.
struct Work {
    plan: LoadPlan,
    begun: Instant,
    next: AtomicU64,
    ended: mpsc::SyncSender<Ended>,
}

/// One request.
struct Plan {
    id: u64,
    method: &'static str,
    sends: u64,
    receives: u64,
    chunked: bool,
    answer_chunked: bool,
    close: bool,
}

impl LoadPlan {
    /// Requests in HTTP/1.1, nine of ten small and one in a hundred large.
    pub fn new(target: SocketAddr, requests: u64) -> LoadPlan {
        LoadPlan {
            target,
            requests,
            first_id: 1,
            largest_body: 16 << 20,
            connections: 8,
            protocols: vec![LoadProtocol::Http11],
            requests_per_connection: Some(200),
            puts: false,
            per_second: None,
            headers: Vec::new(),
        }
    }
}

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let plan: LoadPlan = flags.json("plan")?;
    let mut log = BufWriter::new(File::create(flags.text("log")?)?);
    let begun = Instant::now();
    let mut result = LoadResult::default();
    let (ended, receiver) = mpsc::sync_channel(64);
    let (connections, next) = (plan.connections, AtomicU64::new(plan.first_id));
    let work = std::sync::Arc::new(Work { plan, begun, next, ended });
    for number in 0..connections {
        let work = std::sync::Arc::clone(&work);
        std::thread::spawn(move || work.run(&mut Rng::new(work.plan.first_id ^ number)));
    }
    drop(work);
    for ended in receiver {
        match ended {
            Ended::Failure(id, what) => {
                result.failed += 1;
                if result.examples.len() < EXAMPLES {
                    result.examples.push((id, what));
                }
            }
            Ended::Success { id, digest, sent, received } => {
                result.succeeded += 1;
                result.bytes_sent += sent;
                result.bytes_received += received;
                writeln!(log, "{id} {digest}")?;
            }
        }
    }
    log.flush()?;
    result.seconds = begun.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

impl Work {
    /// One connection after another.
    fn run(&self, rng: &mut Rng) {
        while let Some(id) = self.take() {
            let protocol = self.plan.protocols[rng.below(self.plan.protocols.len())];
            match protocol {
                LoadProtocol::Grpc | LoadProtocol::Http2 => http2::connection(self, id, protocol, rng),
                LoadProtocol::Http10 | LoadProtocol::Http11 => http1::connection(self, id, protocol, rng),
            }
        }
    }

    /// The next request's id.
    fn take(&self) -> Option<u64> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        (id < self.plan.first_id + self.plan.requests).then_some(id)
    }

    /// How long it is until this request may be sent.
    fn early(&self, id: u64) -> Option<Duration> {
        let due = Duration::from_secs_f64((id - self.plan.first_id) as f64 / self.plan.per_second? as f64);
        due.checked_sub(self.begun.elapsed())
    }

    fn say(&self, plan: &Plan, outcome: Result<String, String>) {
        let Plan { id, method, sends: sent, receives: received, .. } = *plan;
        let ended = match outcome {
            Ok(digest) => Ended::Success { id, digest, sent, received },
            Err(what) => Ended::Failure(id, format!("{method}: {what}")),
        };
        // it listens as long as somebody may speak
        let _ = self.ended.send(ended);
    }

    fn draw(&self, id: u64, protocol: LoadProtocol, rng: &mut Rng) -> Plan {
        let largest = self.plan.largest_body;
        let put = self.plan.puts && id.is_multiple_of(2) && protocol != LoadProtocol::Grpc;
        Plan {
            id,
            method: if put { "PUT" } else { "POST" },
            sends: size(largest, rng),
            receives: size(largest, rng),
            chunked: rng.below(2) == 0,
            answer_chunked: rng.below(2) == 0,
            close: self.plan.requests_per_connection.is_some_and(|about| rng.below(about) == 0),
        }
    }
}

/// 90 % up to 4 KiB, 9 % up to 256 KiB, 1 % up to `largest`; within the larger classes every doubling is as likely.
fn size(largest: u64, rng: &mut Rng) -> u64 {
    const SMALL: u64 = 4 * 1024;
    const MIDDLE: u64 = 256 * 1024;
    match rng.below(100) {
        0 => log_uniform(MIDDLE.min(largest), largest, rng),
        1..=9 => log_uniform(SMALL.min(largest), MIDDLE.min(largest), rng),
        _ => rng.below(SMALL.min(largest) as usize + 1) as u64,
    }
}

fn log_uniform(low: u64, high: u64, rng: &mut Rng) -> u64 {
    let exponent = rng.below(1_000_001) as f64 / 1e6;
    (low as f64 * (high.max(low) as f64 / low as f64).powf(exponent)) as u64
}
