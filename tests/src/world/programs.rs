//! Programs of the stories that run in a pod, and what they say.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Process, lines};
use crate::apps::{LoadResult, Span, StreamResult};
use crate::{protocol, wait};

/// An HTTP server in a pod, with its log of ids.
pub struct HttpServer<'w> {
    /// The server.
    pub process: Process<'w>,
    pub(super) log: PathBuf,
}

/// A trace collector in a pod.
pub struct Collector<'w> {
    /// The collector.
    pub process: Process<'w>,
}

impl Collector<'_> {
    /// Spans that it has taken.
    pub fn spans(&self) -> Vec<Span> {
        // the last line may be half written
        let output = self.process.output();
        let lines = output.split_inclusive('\n').filter(|line| line.starts_with('{') && line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).expect("a span")).collect()
    }
}

impl HttpServer<'_> {
    /// `id SHA-256` of every request that it has received whole.
    pub fn received(&self) -> Vec<String> {
        lines(&self.log)
    }

    /// Waits until it has received so many requests.
    pub fn wait_for_requests(&self, count: usize) {
        wait::eventually("somebody asks", || (self.received().len() >= count).then_some(()));
    }

    /// Waits until nobody has asked it for so long.
    pub fn wait_for_silence(&self, silence: Duration) {
        let (mut seen, mut since) = (self.received().len(), Instant::now());
        wait::eventually("nobody asks a pod that is gone", || {
            let now = self.received().len();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            (since.elapsed() > silence).then_some(())
        });
    }
}

/// Many requests under way.
pub struct Load<'w> {
    pub(super) process: Process<'w>,
    pub(super) log: PathBuf,
}

impl Load<'_> {
    /// Whether it still sends.
    pub fn is_running(&self) -> bool {
        self.process.status() == protocol::Status::Running
    }

    /// Waits for the last answer. Says what became of the requests, and `id SHA-256` of each that succeeded.
    pub fn finish(self, patience: Duration) -> (LoadResult, Vec<String>) {
        let output = self.process.succeed_within(patience);
        (serde_json::from_str(&output).expect("it says what became of it"), lines(&self.log))
    }
}

/// A conversation under way.
pub struct LongStream<'w> {
    pub(super) process: Process<'w>,
}

impl LongStream<'_> {
    /// Has the client end it, and says how it went.
    pub fn finish(self) -> StreamResult {
        self.process.terminate();
        let output = self.process.output();
        let said = output.lines().last().and_then(|line| serde_json::from_str(line).ok());
        said.unwrap_or_else(|| panic!("it says how it went: {output}{}", self.process.log()))
    }
}
