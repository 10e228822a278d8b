//! The load of a measurement: one process inside of the client's pod, which says in one JSON line what it saw.
//!
//! It must not be what is measured, so it is one thread over epoll for HTTP/1, and it says what it cost itself. An open loop
//! counts from the time at which a request was due, not from when it was sent: a stall is charged to every request that it
//! delays, which a generator that waits for answers would leave out (coordinated omission).
//!
//! ```text
//! http1      HTTP/1.1: as fast as answers come, or at a fixed rate
//! http2      HTTP/2 and gRPC, streams side by side
//! stream     bytes in one direction
//! hold       connections that are kept, and what they cost in memory
//! response   reads and judges an answer
//! watch      processor time and memory of the processes that are measured
//! ```

mod hold;
mod http1;
mod http2;
mod response;
mod stream;
mod watch;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::percentile;

pub use watch::{Cpu, resident_kib};

/// What goes wrong in a helper program is for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One point of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Whom to ask.
    pub address: SocketAddr,
    /// What to send.
    pub traffic: Traffic,
    /// Before anything is counted, seconds.
    pub warm: f64,
    /// While it is counted, seconds.
    pub window: f64,
    /// Processes whose time is taken, by their ids outside.
    pub watched: Vec<u32>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Traffic {
    /// HTTP/1.1, each connection asking again when it has its answer.
    Closed {
        /// So many.
        connections: usize,
    },
    /// Connections that are opened one after the other, ask once and stay.
    Hold {
        /// So many in the end, looked at in four steps.
        connections: usize,
    },
    /// HTTP/2, each stream followed by the next.
    Http2 {
        /// So many.
        connections: usize,
        /// On each.
        streams: usize,
        /// Unary calls instead of GET.
        grpc: bool,
    },
    /// HTTP/1.1 at a fixed rate, whatever comes back.
    Rate {
        /// Requests wait while none is free.
        connections: usize,
        /// Requests.
        per_second: f64,
    },
    /// Bytes over one connection, as fast as they go.
    Stream,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers, or bytes, in the window.
    pub completed: u64,
    /// Everything that was no right answer, in the window or not.
    pub errors: u64,
    /// How long the window was.
    pub seconds: f64,
    /// What each watched process used in it.
    pub cpu: Vec<Cpu>,
    /// What the load itself used in it, seconds.
    pub own_cpu: f64,
    /// What the whole machine used in it, seconds.
    pub machine_cpu: f64,
    /// How long answers took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Memory by connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
}

/// How long answers took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Answers that were due in the window.
    pub count: usize,
    /// Of them, those that had not come a second after its end; they count with the time that they had waited until then.
    pub unanswered: usize,
    /// Microseconds at each of [`PERCENTILES`].
    pub percentiles: Vec<f64>,
    /// How late the load itself was, the 99th percentile, microseconds: from when a request was due and a connection free.
    pub lag_p99: f64,
}

/// Memory at so many connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Open.
    pub connections: usize,
    /// Of each watched process.
    pub resident_kib: Vec<u64>,
}

/// Percentiles that are kept, as shares; the last is the worst of all.
pub const PERCENTILES: [f64; 12] = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0];

impl Outcome {
    /// Seconds of all watched processes.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu.iter().map(Cpu::seconds).sum()
    }
}

impl Latency {
    /// Of times in nanoseconds.
    fn of(mut nanoseconds: Vec<u64>, mut lags: Vec<u64>, unanswered: usize) -> Latency {
        nanoseconds.sort_unstable();
        lags.sort_unstable();
        let micros = |sorted: &[u64], share| percentile::of_sorted(sorted, share).unwrap_or(0) as f64 / 1e3;
        Latency {
            count: nanoseconds.len(),
            unanswered,
            percentiles: PERCENTILES.iter().map(|&share| micros(&nanoseconds, share)).collect(),
            lag_p99: micros(&lags, 0.99),
        }
    }

    /// Microseconds at one of [`PERCENTILES`].
    pub fn at(&self, share: f64) -> Option<f64> {
        let index = PERCENTILES.iter().position(|&known| known == share)?;
        self.percentiles.get(index).copied()
    }
}

/// When it is counted.
#[derive(Clone, Copy, Debug)]
struct Window {
    begin: Instant,
    end: Instant,
}

impl Window {
    fn of(plan: &Plan) -> Window {
        let begin = Instant::now() + Duration::from_secs_f64(plan.warm);
        Window { begin, end: begin + Duration::from_secs_f64(plan.window) }
    }

    fn contains(&self, instant: Instant) -> bool {
        (self.begin..self.end).contains(&instant)
    }
}

/// Does it. Says what came of it in one line of JSON.
pub fn run(plan: &str) -> Result<String, Failure> {
    let plan: Plan = serde_json::from_str(plan)?;
    let outcome = match plan.traffic {
        Traffic::Closed { connections } => http1::run(&plan, connections, None)?,
        Traffic::Hold { connections } => hold::run(&plan, connections)?,
        Traffic::Http2 { connections, streams, grpc } => http2::run(&plan, connections, streams, grpc)?,
        Traffic::Rate { connections, per_second } => http1::run(&plan, connections, Some(per_second))?,
        Traffic::Stream => stream::run(&plan)?,
    };
    Ok(serde_json::to_string(&outcome)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_kept_by_percentile_in_microseconds() {
        let latency = Latency::of((1..=1000).rev().map(|micros| micros * 1000).collect(), vec![7000], 0);
        assert_eq!((latency.count, latency.lag_p99), (1000, 7.0));
        let shares = [0.01, 0.5, 0.99, 0.999, 1.0].map(|share| latency.at(share));
        assert_eq!(shares, [Some(10.0), Some(500.0), Some(990.0), Some(999.0), Some(1000.0)]);
        assert_eq!(latency.at(0.42), None);
    }

    #[test]
    fn an_outcome_reads_back_as_written() {
        let outcome = Outcome { completed: 3, held: vec![Held::default()], ..Outcome::default() };
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }
}
