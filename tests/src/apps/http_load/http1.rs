//! The load over HTTP/1: one request after another.

use std::io::{BufReader, BufWriter, Write};
use std::net::TcpStream;

use minimesh_balance::Rng;

use super::{LoadPlan, LoadProtocol, PATIENCE, Plan, Work};
use crate::body::{Body, Digest};
use crate::http::{self, Framing, Head};

struct Connection<'w> {
    work: &'w Work,
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
    old: bool,
    usable: bool,
}

/// One connection, until it is closed or there is nothing left to do.
pub(super) fn connection(work: &Work, first: u64, protocol: LoadProtocol, rng: &mut Rng) {
    let mut next = Some(first);
    let old = protocol == LoadProtocol::Http10;
    let mut connection = Connection::open(work, old).map_err(|error| format!("connect: {error}"));
    while let Some(id) = next {
        let plan = work.draw(id, protocol, rng);
        while let Some(early) = work.early(id) {
            std::thread::park_timeout(early);
        }
        let outcome = match &mut connection {
            Ok(connection) => connection.exchange(&plan, rng),
            Err(error) => Err(error.clone()),
        };
        let usable = outcome.is_ok() && !plan.close && connection.as_ref().is_ok_and(|open| open.usable);
        work.say(&plan, outcome);
        next = if usable { work.take() } else { None };
    }
}

impl Connection<'_> {
    fn open(work: &Work, old: bool) -> std::io::Result<Connection<'_>> {
        let stream = TcpStream::connect_timeout(&work.plan.target, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
        let writer = BufWriter::with_capacity(64 * 1024, stream);
        Ok(Connection { work, reader, writer, old, usable: true })
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
        if self.old && head.get("transfer-encoding").is_some() {
            return Err("chunks for a client of HTTP/1.0".to_owned());
        }
        let mut received = Digest::new();
        http::read_body(&mut self.reader, head.response_framing(), |piece| received.update(piece))
            .map_err(|error| format!("answer's body: {error}"))?;
        let kept = if self.old { head.says_keep_alive() } else { head.keeps_alive() };
        self.usable = kept && head.response_framing() != Framing::UntilClose;
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
        let old = self.old;
        let framing = if plan.chunked && !old { Framing::Chunked } else { Framing::Length(plan.sends) };
        let (writer, LoadPlan { target, headers, .. }) = (&mut self.writer, &self.work.plan);
        let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
        write!(writer, "{} /load/{} {version}\r\nHost: {target}\r\nX-Id: {}\r\n", plan.method, plan.id, plan.id)?;
        for (name, value) in headers {
            write!(writer, "{name}: {value}\r\n")?;
        }
        write!(writer, "X-Answer-Bytes: {}\r\n", plan.receives)?;
        writer.write_all(if plan.answer_chunked { b"X-Answer-Framing: chunked\r\n" } else { b"" })?;
        match framing {
            Framing::Chunked => writer.write_all(b"Transfer-Encoding: chunked\r\n")?,
            _ => write!(writer, "Content-Length: {}\r\n", plan.sends)?,
        }
        writer.write_all(match (plan.close, old) {
            (true, _) => b"Connection: close\r\n\r\n",
            (false, true) => b"Connection: keep-alive\r\n\r\n",
            (false, false) => b"\r\n",
        })?;
        http::write_body(writer, framing, body, rng)
    }
}
