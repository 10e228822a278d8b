//! As much HTTP/1.1 as the test applications need, written on its own so that no fault of the mesh's codec is shared.

use std::io::{self, BufRead, Read, Write};

use minimesh_balance::Rng;

use crate::body::Body;

/// A request's or response's head.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// First line.
    pub start: String,
    /// Names as received.
    pub headers: Vec<(String, String)>,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `transfer-encoding: chunked`
    Chunked,
    /// `content-length`
    Length(u64),
    /// Until the connection ends.
    UntilClose,
}

impl Head {
    /// Reads a head; `None`: the connection ended before its first byte.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
        let Some(start) = line(reader)? else { return Ok(None) };
        let mut head = Head { start, headers: Vec::new() };
        loop {
            let text = line(reader)?.ok_or_else(|| invalid("the connection ended in a head"))?;
            if text.is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = text.split_once(':').ok_or_else(|| invalid("a header without colon"))?;
            head.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The first header of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// The same as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.split(' ').nth(1)?.parse().ok()
    }

    /// Method and target of a request.
    pub fn request_line(&self) -> (&str, &str) {
        let mut parts = self.start.split(' ');
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }

    /// Whether the sender wants to keep the connection.
    pub fn keeps_alive(&self) -> bool {
        !self.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Whether the sender says that it keeps the connection: HTTP/1.0 closes it otherwise.
    pub fn says_keep_alive(&self) -> bool {
        self.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive"))
    }

    /// Framing of a request's body.
    pub fn request_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    /// Framing of a response's body, to a request that was not HEAD.
    pub fn response_framing(&self) -> Framing {
        match self.status() {
            Some(100..=199 | 204 | 304) => Framing::Length(0),
            _ => self.framing().unwrap_or(Framing::UntilClose),
        }
    }

    fn framing(&self) -> Option<Framing> {
        let chunked = self.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if chunked { Some(Framing::Chunked) } else { self.number("content-length").map(Framing::Length) }
    }
}

/// Hands every piece of a body to `each`.
pub fn read_body(reader: &mut impl BufRead, framing: Framing, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    match framing {
        Framing::Length(length) => pieces(reader, length, &mut each),
        Framing::UntilClose => loop {
            let piece = reader.fill_buf()?;
            if piece.is_empty() {
                return Ok(());
            }
            each(piece);
            let length = piece.len();
            reader.consume(length);
        },
        Framing::Chunked => loop {
            let size = line(reader)?.ok_or_else(|| invalid("the connection ended before a chunk"))?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk size that is no number"))?;
            pieces(reader, size, &mut each)?;
            let end = line(reader)?;
            if size == 0 && end.as_deref() == Some("") {
                return Ok(());
            }
            // after the last chunk come trailers, up to an empty line
            if size > 0 && end.as_deref() != Some("") {
                return Err(invalid("a chunk that is longer than its size"));
            }
            if size == 0 {
                while !line(reader)?.ok_or_else(|| invalid("the connection ended in trailers"))?.is_empty() {}
                return Ok(());
            }
        },
    }
}

/// Writes a body, in chunks of random sizes where it is chunked.
pub fn write_body(writer: &mut impl Write, framing: Framing, mut body: Body, rng: &mut Rng) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while body.left() > 0 {
        let size = if framing == Framing::Chunked { 1 + rng.below(buffer.len()) } else { buffer.len() };
        let piece = body.fill(&mut buffer[..size]);
        match framing {
            Framing::Chunked => {
                write!(writer, "{:x}\r\n", piece.len())?;
                writer.write_all(piece)?;
                writer.write_all(b"\r\n")?;
            }
            Framing::Length(_) | Framing::UntilClose => writer.write_all(piece)?,
        }
    }
    if framing == Framing::Chunked {
        writer.write_all(b"0\r\n\r\n")?;
    }
    writer.flush()
}

fn pieces(reader: &mut impl BufRead, length: u64, each: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Err(invalid("the connection ended in a body"));
        }
        let size = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        each(&piece[..size]);
        reader.consume(size);
        left -= size as u64;
    }
    Ok(())
}

/// A line without its CR LF; `None`: the connection ended before it.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(64 * 1024).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let line = bytes.strip_suffix(b"\r\n").ok_or_else(|| invalid("a line without CR LF"))?;
    Ok(Some(String::from_utf8_lossy(line).into_owned()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for framing in [Framing::Chunked, Framing::Length(200_000)] {
            let (mut wire, mut read) = (Vec::new(), Vec::new());
            write_body(&mut wire, framing, Body::new(3, 200_000), &mut Rng::new(1)).unwrap();
            wire.extend_from_slice(b"next");
            let mut reader = &wire[..];
            read_body(&mut reader, framing, |piece| read.extend_from_slice(piece)).unwrap();
            assert_eq!(crate::body::sha256(&read), Body::new(3, 200_000).sha256());
            assert_eq!(reader, b"next");
        }
    }

    #[test]
    fn trailers_are_passed_over() {
        let mut reader = &b"1\r\na\r\n0\r\nx: y\r\n\r\nnext"[..];
        read_body(&mut reader, Framing::Chunked, |piece| assert_eq!(piece, b"a")).unwrap();
        assert_eq!(reader, b"next");
    }
}
