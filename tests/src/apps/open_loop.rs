//! Clients that come whether or not earlier ones were answered: an open loop, each on a connection of its own, until standard
//! input ends.
//!
//! A server that stalls is then seen by everybody who comes meanwhile, as in the world.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::flags::Flags;
use crate::Failure;
use crate::http::{self, Framing, Head};

/// What is asked for, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenLoopPlan {
    /// Where to.
    pub target: SocketAddr,
    /// Taken in turn.
    pub paths: Vec<String>,
    /// So many come in a second.
    pub per_second: u32,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenLoopResult {
    /// 200, and the whole body.
    pub succeeded: u64,
    /// Everything else …
    pub failed: u64,
    /// … the first of them: seconds since the beginning, and what was wrong.
    pub examples: Vec<(f64, String)>,
    /// The longest wait for a good answer, in seconds.
    pub slowest: f64,
    /// From the first client to the last.
    pub seconds: f64,
}

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let plan: OpenLoopPlan = flags.json("plan")?;
    // a client that is not answered in time has given up before it is its turn again: none is ever late because of another
    let clients = plan.per_second * (PATIENCE.as_secs() as u32 + 1);
    let (stop, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let (ended, receiver) = mpsc::sync_channel(64);
    for number in 0..clients {
        let (plan, stop, ended) = (plan.clone(), Arc::clone(&stop), ended.clone());
        let client = move || client(&plan, number, clients, begun, &stop, &ended);
        std::thread::Builder::new().stack_size(STACK).spawn(client)?;
    }
    drop(ended);
    let ending = Arc::clone(&stop);
    std::thread::spawn(move || {
        let mut nothing = Vec::new();
        // the test closes it when it has seen enough, or is gone
        let _ = std::io::stdin().read_to_end(&mut nothing);
        ending.store(true, Ordering::Release);
    });
    let mut result = OpenLoopResult::default();
    for (at, outcome) in receiver {
        match outcome {
            Ok(took) => {
                result.succeeded += 1;
                result.slowest = result.slowest.max(took.as_secs_f64());
            }
            Err(what) => {
                result.failed += 1;
                if result.examples.len() < EXAMPLES {
                    result.examples.push((at.as_secs_f64(), what));
                }
            }
        }
    }
    result.seconds = begun.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

type Ended = (Duration, Result<Duration, String>);

/// One of many: asks when it is due, and once in each round.
fn client(
    plan: &OpenLoopPlan,
    number: u32,
    all: u32,
    begun: Instant,
    stop: &AtomicBool,
    ended: &mpsc::SyncSender<Ended>,
) {
    for round in 0u64.. {
        let turn = u64::from(number) + round * u64::from(all);
        let due = Duration::from_secs_f64(turn as f64 / f64::from(plan.per_second));
        while let Some(early) = due.checked_sub(begun.elapsed()).filter(|early| !early.is_zero()) {
            if stop.load(Ordering::Acquire) {
                return;
            }
            std::thread::park_timeout(early.min(STOP_WITHIN));
        }
        let path = &plan.paths[(turn % plan.paths.len() as u64) as usize];
        let outcome = ask(plan.target, path).map_err(|what| format!("GET {path}: {what}"));
        let took = begun.elapsed().saturating_sub(due);
        let outcome = match outcome {
            Ok(()) if took > PATIENCE => Err(format!("GET {path}: answered after {took:?}")),
            outcome => outcome.map(|()| took),
        };
        if ended.send((due, outcome)).is_err() {
            return;
        }
    }
}

fn ask(target: SocketAddr, path: &str) -> Result<(), String> {
    let connect = || {
        let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let mut stream = connect().map_err(|error: std::io::Error| format!("connect: {error}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("send: {error}"))?;
    let mut reader = BufReader::new(stream);
    let head = Head::read(&mut reader).map_err(|error| format!("answer: {error}"))?.ok_or("closed without answer")?;
    let framing = head.response_framing();
    let mut body = Vec::new();
    http::read_body(&mut reader, framing, |piece| body.extend_from_slice(piece))
        .map_err(|error| format!("answer's body: {error}"))?;
    if head.status() != Some(200) {
        let by = head.get("minimesh-error").unwrap_or("application");
        return Err(format!("{} ({by}): {}", head.start, String::from_utf8_lossy(&body)));
    }
    // a body without an end of its own may have been cut
    if framing == Framing::UntilClose { Err("a body without length".to_owned()) } else { Ok(()) }
}

/// No answer in 5 s is a failed request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon an idle client sees that it is over.
const STOP_WITHIN: Duration = Duration::from_millis(100);
/// There are hundreds of them.
const STACK: usize = 128 * 1024;
/// Failures that are told in full.
const EXAMPLES: usize = 20;
