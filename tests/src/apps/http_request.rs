//! One request, one answer, as JSON.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flags::Flags;
use crate::Failure;
use crate::http::{self, Head};

/// A request to send on a connection of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Beside `Content-Length`, `Connection: close`, and the address as `Host` where it is not here.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Status; 0: no answer, and `body` says why.
    pub status: u16,
    /// Headers as received.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let request: Request = flags.json("request")?;
    let failed = |error: std::io::Error| Response { status: 0, headers: Vec::new(), body: error.to_string() };
    println!("{}", serde_json::to_string(&request.send().unwrap_or_else(failed))?);
    Ok(())
}

impl Request {
    /// GET without anything else.
    pub fn get(address: SocketAddr, target: &str) -> Request {
        Request { address, method: "GET".into(), target: target.into(), headers: Vec::new(), body: String::new() }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: impl ToString) -> Request {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// With another method and a body.
    pub fn body(mut self, method: &str, body: &str) -> Request {
        (self.method, self.body) = (method.into(), body.into());
        self
    }

    /// Sends it from here.
    pub fn send(&self) -> std::io::Result<Response> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n{}", self.body.len(), self.body));
        stream.write_all(text.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let head = Head::read(&mut reader)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut body = Vec::new();
        if self.method != "HEAD" {
            http::read_body(&mut reader, head.response_framing(), |piece| body.extend_from_slice(piece))?;
        }
        let status = head.status().unwrap_or_default();
        Ok(Response { status, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Status and the proxy's own word for what went wrong.
    pub fn verdict(&self) -> (u16, Option<&str>) {
        (self.status, self.header("minimesh-error"))
    }
}
