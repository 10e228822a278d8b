//! Requests over HTTP/1.0 and 1.1.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use minimesh_balance::Rng;

use super::{LOOK, Server, is_timeout};
use crate::body::{Body, Digest};
use crate::http::{self, Framing, Head};

type Reader = BufReader<TcpStream>;
type Writer = BufWriter<TcpStream>;

impl Server {
    pub(super) fn serve_http1(&self, stream: TcpStream, seed: u64) -> io::Result<()> {
        let mut rng = Rng::new(seed);
        let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
        let mut writer = BufWriter::with_capacity(64 * 1024, stream);
        while self.next_request_begins(&mut reader)? {
            let Some(head) = Head::read(&mut reader)? else { break };
            if head.get("expect").is_some() {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                writer.flush()?;
            }
            if head.get("x-answer") == Some("echo") {
                return echo(&head, &mut reader, &mut writer);
            }
            let mut digest = Digest::new();
            http::read_body(&mut reader, head.request_framing(), |piece| digest.update(piece))?;
            let digest = digest.finish();
            if let Some(id) = head.get("x-id") {
                self.received(id, &digest)?;
            }
            if head.get("x-answer") == Some("never") {
                return reader.read(&mut [0]).map(drop);
            }
            if !self.answer(&head, &digest, &mut writer, &mut rng)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for a request's first byte, or for the reason why there will be none.
    fn next_request_begins(&self, reader: &mut Reader) -> io::Result<bool> {
        reader.get_ref().set_read_timeout(Some(LOOK))?;
        loop {
            match reader.fill_buf() {
                Ok(bytes) => {
                    let begun = !bytes.is_empty();
                    reader.get_ref().set_read_timeout(None)?;
                    return Ok(begun);
                }
                Err(error) if self.is_to_wait(&error) => {}
                // stopped and continued: a socket with a time-out is then told so (signal(7))
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Says whether the connection stays open.
    fn answer(&self, request: &Head, digest: &str, writer: &mut Writer, rng: &mut Rng) -> io::Result<bool> {
        let id = request.number("x-id").unwrap_or_default();
        let length = request.number("x-answer-bytes").unwrap_or_default();
        let status = request.number("x-answer-status").unwrap_or(200);
        let old = request.start.ends_with(" HTTP/1.0");
        let framing = match (request.get("x-answer-framing"), old) {
            (Some("chunked"), false) => Framing::Chunked,
            (Some("chunked"), true) => Framing::UntilClose,
            _ => Framing::Length(length),
        };
        let wanted = if old { request.says_keep_alive() } else { request.keeps_alive() };
        let keep = wanted && framing != Framing::UntilClose && !self.draining.load(Ordering::SeqCst);
        let (method, target) = request.request_line();
        write!(writer, "HTTP/1.1 {status} Test\r\nX-Server: {}\r\nX-Id: {id}\r\n", self.name)?;
        write!(writer, "X-Received-Sha256: {digest}\r\nX-Received-Target: {target}\r\n")?;
        for (name, value) in &request.headers {
            if name.to_ascii_lowercase().starts_with("x-seen-") {
                write!(writer, "{name}: {value}\r\n")?;
            }
        }
        let asked = |name: &String| request.get("x-tell").is_some_and(|names| super::names(names, name));
        for (name, value) in request.headers.iter().filter(|(name, _)| asked(name)) {
            write!(writer, "X-Told-{name}: {value}\r\n")?;
        }
        match framing {
            Framing::Chunked => writer.write_all(b"Transfer-Encoding: chunked\r\n")?,
            Framing::Length(length) => write!(writer, "Content-Length: {length}\r\n")?,
            Framing::UntilClose => {}
        }
        writer.write_all(match (keep, old) {
            (false, _) => b"Connection: close\r\n\r\n",
            (true, true) => b"Connection: keep-alive\r\n\r\n",
            (true, false) => b"\r\n",
        })?;
        if method == "HEAD" {
            writer.flush()?;
        } else {
            http::write_body(writer, framing, Body::new(id, length), rng)?;
        }
        Ok(keep)
    }
}

/// Answers while it is still being asked.
fn echo(request: &Head, reader: &mut Reader, writer: &mut Writer) -> io::Result<()> {
    if request.get("upgrade").is_some() {
        writer.write_all(b"HTTP/1.1 101 Test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")?;
        writer.flush()?;
        let mut outcome = Ok(());
        http::read_body(reader, Framing::UntilClose, |piece| {
            if outcome.is_ok() {
                outcome = writer.write_all(piece).and_then(|()| writer.flush());
            }
        })?;
        return outcome;
    }
    writer.write_all(b"HTTP/1.1 200 Test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")?;
    writer.flush()?;
    let mut outcome = Ok(());
    http::read_body(reader, request.request_framing(), |piece| {
        let mut give_back = || {
            write!(writer, "{:x}\r\n", piece.len())?;
            writer.write_all(piece)?;
            writer.write_all(b"\r\n")?;
            writer.flush()
        };
        if outcome.is_ok() {
            outcome = give_back();
        }
    })?;
    outcome?;
    writer.write_all(b"0\r\n\r\n")?;
    writer.flush()
}
