//! Reads an answer of the measurement's application, and judges it.

use std::io::{self, Read};

use crate::origin::BODY_LENGTH;

/// The request of every HTTP/1 load.
pub(super) const REQUEST: &[u8] =
    b"GET /bench HTTP/1.1\r\nHost: web.test.svc.cluster.local\r\nUser-Agent: minimesh-bench\r\nAccept: */*\r\n\r\n";

/// What has come of the answer that a connection waits for.
pub(super) struct Answer {
    buffer: Box<[u8; 8 * 1024]>,
    filled: usize,
    /// Head and body, once the head is known.
    length: Option<usize>,
    /// The first is looked at byte by byte.
    seen: bool,
}

impl Answer {
    pub(super) fn new() -> Answer {
        Answer { buffer: Box::new([0; 8 * 1024]), filled: 0, length: None, seen: false }
    }

    /// Reads as much as there is; true: the answer is there whole, and right. On a socket that blocks, it always is.
    pub(super) fn read(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        loop {
            let count = match stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            self.filled += count;
            if self.length.is_none() {
                self.length = self.head()?;
            }
            match self.length {
                Some(length) if self.filled == length => return self.whole(length).map(|()| true),
                Some(length) if self.filled > length => return Err(wrong("more than was asked for")),
                _ if self.filled == self.buffer.len() => return Err(wrong("longer than the application's")),
                _ => {}
            }
        }
    }

    /// Length of head and body.
    fn head(&self) -> io::Result<Option<usize>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.buffer[..self.filled]).map_err(|error| wrong(&error.to_string()))?;
        let httparse::Status::Complete(head) = parsed else { return Ok(None) };
        if response.code != Some(200) {
            return Err(wrong(&format!("status {:?}", response.code)));
        }
        let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
        match length {
            Some(BODY_LENGTH) => Ok(Some(head + BODY_LENGTH)),
            other => Err(wrong(&format!("content-length {other:?}"))),
        }
    }

    fn whole(&mut self, length: usize) -> io::Result<()> {
        let body = &self.buffer[length - BODY_LENGTH..length];
        if !self.seen && body.iter().any(|&byte| byte != b'x') {
            return Err(wrong("another body"));
        }
        (self.seen, self.filled, self.length) = (true, 0, None);
        Ok(())
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one piece after the other.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn answer(head: &str, body: &[u8]) -> Vec<u8> {
        [head.as_bytes(), b"\r\n\r\n", body].concat()
    }

    #[test]
    fn answers_come_in_pieces_and_one_after_the_other() {
        let good = answer("HTTP/1.1 200 OK\r\nContent-Length: 1024", &[b'x'; BODY_LENGTH]);
        let mut pieces = Pieces(vec![good[..10].to_vec(), good[10..100].to_vec()]);
        let mut reader = Answer::new();
        assert!(!reader.read(&mut pieces).unwrap());
        pieces.0.push(good[100..].to_vec());
        assert!(reader.read(&mut pieces).unwrap());
        pieces.0.push(good);
        assert!(reader.read(&mut pieces).unwrap());
    }

    #[test]
    fn wrong_answers_are_errors() {
        let body = [b'x'; BODY_LENGTH];
        let cases = [
            answer("HTTP/1.1 503 No\r\ncontent-length: 1024", &body),
            answer("HTTP/1.1 200 OK\r\ncontent-length: 3", b"xxx"),
            answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked", b"0\r\n\r\n"),
            answer("HTTP/1.1 200 OK\r\ncontent-length: 1024", &[b'y'; BODY_LENGTH]),
            [answer("HTTP/1.1 200 OK\r\ncontent-length: 1024", &body), b"H".to_vec()].concat(),
            b"nonsense\r\n\r\n".to_vec(),
            vec![],
        ];
        for case in cases {
            let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
            assert!(Answer::new().read(&mut Pieces(vec![case])).is_err(), "{shown}");
        }
    }
}
