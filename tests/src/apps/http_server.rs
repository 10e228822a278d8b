//! An HTTP server that trusts nobody: logs the id and the SHA-256 of every request that reached it whole, and answers with a
//! body that follows from the id.
//!
//! ```text
//! x-id: N                the request's id; logged as `N SHA-256`
//! x-answer-bytes: N      length of the answer's body
//! x-answer-framing: …    `chunked` or `length`
//! x-answer-status: N     instead of 200
//! x-answer: never        waits until the client goes away
//! ```
//!
//! On SIGTERM it answers what has begun, with `connection: close`, closes idle connections and ends.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use minimesh_balance::Rng;

use super::flags::Flags;
use crate::body::{Body, Digest};
use crate::http::{self, Framing, Head};
use crate::{Failure, wait};

struct Server {
    name: String,
    log: File,
    draining: AtomicBool,
    open: AtomicUsize,
}

/// How often an idle connection looks whether it should close.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, flags.parsed("port")?))?;
    let server = Arc::new(Server {
        name: flags.text("name")?.to_owned(),
        log: OpenOptions::new().create(true).append(true).open(flags.text("log")?)?,
        draining: AtomicBool::new(false),
        open: AtomicUsize::new(0),
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
    fn connection(&self, stream: TcpStream, seed: u64) -> io::Result<()> {
        let mut rng = Rng::new(seed);
        let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
        let mut writer = BufWriter::with_capacity(64 * 1024, stream);
        while self.next_request_begins(&mut reader)? {
            let Some(head) = Head::read(&mut reader)? else { break };
            let mut digest = Digest::new();
            if head.get("expect").is_some() {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                writer.flush()?;
            }
            http::read_body(&mut reader, head.request_framing(), |piece| digest.update(piece))?;
            let digest = digest.finish();
            if let Some(id) = head.get("x-id") {
                // one write for one line, so that lines of many threads do not mix
                (&self.log).write_all(format!("{id} {digest}\n").as_bytes())?;
            }
            if head.get("x-answer") == Some("never") {
                return reader.read(&mut [0]).map(drop);
            }
            let close = !head.keeps_alive() || self.draining.load(Ordering::SeqCst);
            self.answer(&head, &digest, close, &mut writer, &mut rng)?;
            if close {
                break;
            }
        }
        Ok(())
    }

    /// Waits for a request's first byte, or for the reason why there will be none.
    fn next_request_begins(&self, reader: &mut BufReader<TcpStream>) -> io::Result<bool> {
        reader.get_ref().set_read_timeout(Some(LOOK))?;
        loop {
            match reader.fill_buf() {
                Ok(bytes) => {
                    let begun = !bytes.is_empty();
                    reader.get_ref().set_read_timeout(None)?;
                    return Ok(begun);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.draining.load(Ordering::SeqCst) {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(
        &self,
        request: &Head,
        digest: &str,
        close: bool,
        writer: &mut impl Write,
        rng: &mut Rng,
    ) -> io::Result<()> {
        let id = request.number("x-id").unwrap_or_default();
        let length = request.number("x-answer-bytes").unwrap_or_default();
        let status = request.number("x-answer-status").unwrap_or(200);
        let framing =
            if request.get("x-answer-framing") == Some("chunked") { Framing::Chunked } else { Framing::Length(length) };
        let (method, target) = request.request_line();
        write!(writer, "HTTP/1.1 {status} Test\r\nX-Server: {}\r\nX-Id: {id}\r\n", self.name)?;
        write!(writer, "X-Received-Sha256: {digest}\r\nX-Received-Target: {target}\r\n")?;
        for (name, value) in request.headers.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-seen-"))
        {
            write!(writer, "{name}: {value}\r\n")?;
        }
        match framing {
            Framing::Chunked => writer.write_all(b"Transfer-Encoding: chunked\r\n")?,
            _ => write!(writer, "Content-Length: {length}\r\n")?,
        }
        writer.write_all(if close { b"Connection: close\r\n\r\n" } else { b"\r\n" })?;
        if method == "HEAD" {
            return writer.flush();
        }
        http::write_body(writer, framing, Body::new(id, length), rng)
    }
}
