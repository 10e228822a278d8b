//! The access log on its way to stdout: a bounded buffer per worker, and one thread that writes.
//!
//! A worker never waits: it formats into its buffer and hands the buffer over when it is full enough, or soon after the first
//! line. A reader of stdout that is slow costs lines, which are counted, and one that is gone costs all of them; neither costs
//! a request.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::line::Format;
use super::record::Record;
use crate::metrics::ObserveMetrics;

/// The way to the writer, for every worker.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    format: Format,
    chunks: SyncSender<Chunk>,
    metrics: Arc<ObserveMetrics>,
}

/// The writer's thread, from outside.
#[derive(Debug)]
pub(crate) struct Writing(oneshot::Receiver<()>);

/// One worker's part.
#[derive(Debug)]
pub(crate) struct Lines {
    log: AccessLog,
    pending: RefCell<Chunk>,
    /// There is something to hand over.
    begun: Notify,
}

/// Past the standard library's buffer, whose lock and whose line-wise flush are of no use here.
struct Stdout(File);

/// Whole lines.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    lines: u64,
}

impl AccessLog {
    /// Starts the writer on this process's stdout.
    pub(crate) fn to_stdout(format: Format, metrics: &Arc<ObserveMetrics>) -> io::Result<(AccessLog, Writing)> {
        let stdout = Stdout(File::from(io::stdout().as_fd().try_clone_to_owned()?));
        AccessLog::start(format, metrics, stdout)
    }

    /// Starts the writer. Its thread ends when every worker is gone.
    pub(crate) fn start(
        format: Format,
        metrics: &Arc<ObserveMetrics>,
        out: impl Write + Send + 'static,
    ) -> io::Result<(AccessLog, Writing)> {
        let (chunks, taken) = sync_channel(CHUNKS);
        let (ended, writing) = oneshot::channel();
        let counted = Arc::clone(metrics);
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            write_all(&taken, out, &counted);
            // nobody waits for the end of a proxy that runs
            let _ = ended.send(());
        })?;
        Ok((AccessLog { format, chunks, metrics: Arc::clone(metrics) }, Writing(writing)))
    }

    /// One worker's part of the log.
    pub(super) fn lines(self) -> Lines {
        Lines { log: self, pending: RefCell::default(), begun: Notify::new() }
    }
}

impl Writing {
    /// Waits until everything is written, as long as that is worth waiting for.
    pub(crate) async fn end(self) {
        // an error: the thread is gone, which is an end as well
        let _ = timeout(LAST_WORD, self.0).await;
    }
}

impl Lines {
    /// Writes a line, or counts it as dropped.
    pub(super) fn push(&self, record: &Record) {
        let mut pending = self.pending.borrow_mut();
        if pending.bytes.len() >= MOST_PENDING {
            return self.log.metrics.log_dropped(1);
        }
        if pending.lines == 0 {
            self.begun.notify_one();
        }
        self.log.format.write(&mut pending.bytes, record);
        pending.lines += 1;
        let enough = pending.bytes.len() >= ENOUGH;
        drop(pending);
        if enough {
            self.flush();
        }
    }

    /// Hands over what there is; false: the writer cannot take it now.
    fn flush(&self) -> bool {
        let chunk = self.pending.take();
        if chunk.lines == 0 {
            return true;
        }
        match self.log.chunks.try_send(chunk) {
            Ok(()) => true,
            Err(TrySendError::Full(chunk) | TrySendError::Disconnected(chunk)) => {
                self.pending.replace(chunk);
                false
            }
        }
    }

    /// Hands over what is left soon after it was written. Never ends by itself.
    pub(super) async fn keep_flushing(&self) {
        loop {
            self.begun.notified().await;
            sleep(SOON).await;
            while !self.flush() {
                sleep(SOON).await;
            }
        }
    }

    /// Hands over the last lines; those that the writer does not take in time are counted.
    pub(super) async fn end(&self) {
        let until = Instant::now() + LAST_WORD;
        while !self.flush() && Instant::now() < until {
            sleep(SOON).await;
        }
        let left = self.pending.take();
        self.log.metrics.log_dropped(left.lines);
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                // a pipe that somebody else made non-blocking
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The life of the writer's thread.
fn write_all(chunks: &Receiver<Chunk>, mut out: impl Write, metrics: &ObserveMetrics) {
    let mut failing = false;
    let mut torn = false;
    while let Ok(chunk) = chunks.recv() {
        // the rest of a line that broke off must not become the beginning of another
        let result = if torn { patiently(&mut out, b"\n").map(|_| ()) } else { Ok(()) };
        let result = result.and_then(|()| {
            torn = false;
            patiently(&mut out, &chunk.bytes).inspect_err(|_| torn = true)
        });
        match result {
            Ok(()) => {
                metrics.log_written(chunk.lines);
                failing = false;
            }
            Err(error) => {
                metrics.log_dropped(chunk.lines);
                if !failing {
                    tracing::warn!(%error, "the access log cannot be written to stdout; lines are dropped");
                }
                failing = true;
            }
        }
    }
}

fn patiently(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Handed over when a buffer has this many bytes: some thirty lines.
const ENOUGH: usize = 8 * 1024;
/// A worker's buffer while the writer is behind: some five hundred lines, then lines are dropped.
const MOST_PENDING: usize = 128 * 1024;
/// Buffers on their way to the writer, each at most as large as that: a megabyte in all.
const CHUNKS: usize = 8;
/// A line appears this long after its request, so that most writes carry many.
const SOON: Duration = Duration::from_millis(50);
/// At the end of the proxy.
const LAST_WORD: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::testing::record;
    use super::*;

    /// Takes what the test lets it take.
    struct Gate {
        open: mpsc::Receiver<io::Result<usize>>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // a test that is over opens the gate for good
            let count = self.open.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            let _ = self.written.send(bytes[..count].to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct World {
        lines: Lines,
        writing: Writing,
        metrics: Arc<ObserveMetrics>,
        open: mpsc::Sender<io::Result<usize>>,
        written: mpsc::Receiver<Vec<u8>>,
    }

    fn world() -> World {
        let ((open, gate), (sender, written)) = (mpsc::channel(), mpsc::channel());
        let metrics = Arc::new(ObserveMetrics::default());
        let gate = Gate { open: gate, written: sender };
        let (log, writing) = AccessLog::start(Format::Apache, &metrics, gate).expect("a thread");
        World { lines: log.lines(), writing, metrics, open, written }
    }

    fn line() -> usize {
        let mut out = Vec::new();
        Format::Apache.write(&mut out, &record());
        out.len()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_handed_over_soon_and_in_one_write() {
        let World { lines, written, open, .. } = world();
        open.send(Ok(usize::MAX)).expect("a gate");
        lines.push(&record());
        lines.push(&record());
        let began = Instant::now();
        tokio::select! { () = lines.keep_flushing() => {} () = sleep(2 * SOON) => {} }
        assert!(began.elapsed() <= 2 * SOON);
        assert_eq!(written.recv().expect("a write").len(), 2 * line());
    }

    #[tokio::test]
    async fn a_reader_that_is_stuck_costs_lines_and_no_waiting() {
        let World { lines, metrics, open, writing, .. } = world();
        // in the queue, in the writer's hands, and the worker's own
        let most = (CHUNKS + 2) * (MOST_PENDING / line() + 1);
        for _ in 0..2 * most {
            lines.push(&record());
        }
        let dropped = metrics.log_dropped_lines();
        assert!(dropped >= most as u64, "{dropped} of {}", 2 * most);
        drop(open);
        lines.end().await;
        drop(lines);
        writing.end().await;
        assert_eq!(metrics.log_written_lines() + metrics.log_dropped_lines(), 2 * most as u64);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_costs_lines_and_a_torn_line_is_ended() {
        let World { lines, metrics, open, writing, written } = world();
        for step in [Ok(10), Err(io::ErrorKind::BrokenPipe.into()), Ok(usize::MAX), Ok(usize::MAX)] {
            open.send(step).expect("a gate");
        }
        lines.push(&record());
        lines.flush();
        lines.push(&record());
        lines.flush();
        drop(lines);
        writing.end().await;
        assert_eq!((metrics.log_written_lines(), metrics.log_dropped_lines()), (1, 1));
        let written: Vec<Vec<u8>> = written.iter().collect();
        assert_eq!(written.iter().map(Vec::len).collect::<Vec<_>>(), [10, 1, line()]);
        assert_eq!(written[1], b"\n");
    }
}
