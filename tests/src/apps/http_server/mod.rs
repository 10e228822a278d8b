//! An HTTP server that trusts nobody: logs the id and the SHA-256 of every request that reached it whole, and answers with a
//! body that follows from the id. It speaks HTTP/1 and HTTP/2, gRPC among it, whichever the client begins with.
//!
//! ```text
//! x-id: N                the request's id; logged as `N SHA-256`
//! x-answer-bytes: N      length of the answer's body
//! x-answer-framing: …    `chunked` or `length`; over HTTP/2 `chunked` brings trailers
//! x-answer-status: N     instead of 200
//! x-answer: never        waits until the client goes away
//! x-tell: NAME,NAME      answers with `x-told-NAME` for each header of these names, as received
//! x-answer: echo         gives back every byte as it comes; over HTTP/1.1 after 101 where an upgrade is asked for
//! ```
//!
//! On SIGTERM it answers what has begun, with `connection: close` or GOAWAY, closes idle connections and ends; or, with
//! `--leave at-once`, it is gone without a word, as programs are that know nothing of SIGTERM. With `--leave when-silent` it goes on
//! as if nothing had happened until nobody asks any more, and then leaves politely: as programs do that know of load balancers.

mod http1;
mod http2;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::flags::Flags;
use crate::{Failure, wait};

struct Server {
    name: String,
    log: File,
    draining: AtomicBool,
    open: AtomicUsize,
    requests: AtomicUsize,
}

/// How often an idle connection looks whether it should close.
const LOOK: Duration = Duration::from_millis(50);
/// Nobody has asked for so long: nobody will.
const SILENCE: Duration = Duration::from_millis(500);
/// With what HTTP/2 begins, and no method does.
const PREFACE: &[u8] = b"PRI";

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let listener = super::listen(flags.parsed("port")?)?;
    let server = Arc::new(Server {
        name: flags.text("name")?.to_owned(),
        log: OpenOptions::new().create(true).append(true).open(flags.text("log")?)?,
        draining: AtomicBool::new(false),
        open: AtomicUsize::new(0),
        requests: AtomicUsize::new(0),
    });
    let accepting = Arc::clone(&server);
    std::thread::spawn(move || accept(&listener, &accepting));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        println!("{}", super::READY);
        terminate.recv().await;
        io::Result::Ok(())
    })?;
    match flags.text("leave")? {
        "at-once" => return Ok(()),
        "when-silent" => server.wait_for_silence(),
        _ => {}
    }
    server.draining.store(true, Ordering::SeqCst);
    wait::eventually("connections end", || (server.open.load(Ordering::SeqCst) == 0).then_some(()));
    Ok(())
}

fn accept(listener: &TcpListener, server: &Arc<Server>) {
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(stream) = stream else { continue };
        let server = Arc::clone(server);
        server.open.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            if let Err(error) = server.connection(stream, number as u64) {
                println!("connection: {error}");
            }
            server.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

impl Server {
    fn connection(self: &Arc<Server>, stream: TcpStream, seed: u64) -> io::Result<()> {
        stream.set_nodelay(true)?;
        match self.begins_with_preface(&stream)? {
            Some(true) => http2::serve(self, stream),
            Some(false) => self.serve_http1(stream, seed),
            None => Ok(()),
        }
    }

    /// Waits for a connection's first bytes; `None`: there will be none.
    fn begins_with_preface(&self, stream: &TcpStream) -> io::Result<Option<bool>> {
        stream.set_read_timeout(Some(LOOK))?;
        let mut first = [0; PREFACE.len()];
        loop {
            match stream.peek(&mut first) {
                Ok(0) => return Ok(None),
                // the rest is on its way
                Ok(length) if length < first.len() && PREFACE.starts_with(&first[..length]) => std::thread::yield_now(),
                Ok(length) => {
                    stream.set_read_timeout(None)?;
                    return Ok(Some(first[..length] == *PREFACE));
                }
                Err(error) if self.is_to_wait(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset || is_timeout(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// A time-out of an idle connection that is no reason to end it.
    fn is_to_wait(&self, error: &io::Error) -> bool {
        is_timeout(error) && !self.draining.load(Ordering::SeqCst)
    }

    fn wait_for_silence(&self) {
        let (mut seen, mut since) = (self.requests.load(Ordering::SeqCst), Instant::now());
        wait::eventually("nobody asks", || {
            let now = self.requests.load(Ordering::SeqCst);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            (since.elapsed() > SILENCE).then_some(())
        });
    }

    /// Logs a request that has been received whole.
    fn received(&self, id: &str, digest: &str) -> io::Result<()> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        // one write for one line, so that lines of many threads do not mix
        (&self.log).write_all(format!("{id} {digest}\n").as_bytes())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Whether a header is one of those that a request asks to be told.
fn names(list: &str, name: &str) -> bool {
    list.split(',').any(|one| one.trim().eq_ignore_ascii_case(name))
}
