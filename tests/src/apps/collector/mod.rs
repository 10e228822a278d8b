//! A trace collector: takes spans by OTLP over gRPC and over HTTP on one port, and says each on a line of JSON. What OTLP's messages
//! are is written here once more, from opentelemetry-proto, so that no fault of the mesh's is shared.
//!
//! ```text
//! --behaviour take    as it should
//! --behaviour hang    takes connections, and never answers
//! ```

mod protobuf;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::LocalSet;

use super::flags::Flags;
use crate::Failure;
use crate::http::{self as http1, Head};
use crate::http2::{Messages, receive};
use protobuf::{Field, field, fields, number, text};

/// A span as it arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// `grpc` or `http`.
    pub over: String,
    /// Of the resource.
    pub resource: BTreeMap<String, Value>,
    /// Name.
    pub name: String,
    /// 2: server, 3: client.
    pub kind: u64,
    /// In hex.
    pub trace_id: String,
    /// In hex.
    pub span_id: String,
    /// In hex.
    pub parent_span_id: String,
    /// As W3C writes it.
    pub trace_state: String,
    /// W3C's flags, and whether the parent is remote.
    pub flags: u64,
    /// 0: unset, 2: error.
    pub status: u64,
    /// Nanoseconds from its begin to its end.
    pub nanos: u64,
    /// By name.
    pub attributes: BTreeMap<String, Value>,
}

/// With what HTTP/2 begins.
const PREFACE: &[u8] = b"PRI";

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let hangs = flags.text("behaviour")? == "hang";
    let listener = super::listen(flags.parsed("port")?)?;
    println!("{}", super::READY);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            let ended = if hangs { hang(stream) } else { connection(stream) };
            if let Err(error) = ended {
                println!("connection: {error}");
            }
        });
    }
    Ok(())
}

/// Reads what comes, until the client has had enough.
fn hang(mut stream: TcpStream) -> Result<(), Failure> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn connection(stream: TcpStream) -> Result<(), Failure> {
    let mut first = [0; PREFACE.len()];
    while stream.peek(&mut first)? < first.len() {
        // the rest is on its way, or there is none
        if stream.peek(&mut first)? == 0 {
            return Ok(());
        }
    }
    if first != *PREFACE {
        return over_http(stream);
    }
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, over_grpc(stream))
}

fn over_http(stream: TcpStream) -> Result<(), Failure> {
    let (mut writer, mut reader) = (stream.try_clone()?, BufReader::new(stream));
    while let Some(head) = Head::read(&mut reader)? {
        let mut body = Vec::new();
        http1::read_body(&mut reader, head.request_framing(), |piece| body.extend_from_slice(piece))?;
        let asked = (head.request_line(), head.get("content-type"));
        if asked != (("POST", "/v1/traces"), Some("application/x-protobuf")) {
            writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            return Err(format!("{asked:?} is not OTLP").into());
        }
        say("http", &body)?;
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

async fn over_grpc(stream: TcpStream) -> Result<(), Failure> {
    let mut connection = h2::server::handshake(tokio::net::TcpStream::from_std(stream)?).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        tokio::task::spawn_local(async move {
            let taken = async {
                let (head, mut body) = request.into_parts();
                if head.uri.path() != "/opentelemetry.proto.collector.trace.v1.TraceService/Export" {
                    return Err(Failure::from(format!("{} is not OTLP", head.uri.path())));
                }
                let (mut message, mut messages, mut whole) = (Vec::new(), Messages::default(), true);
                receive(&mut body, |piece| whole &= messages.take(piece, |part| message.extend_from_slice(part)))
                    .await?;
                if !whole || !messages.is_complete() {
                    return Err("half a message".into());
                }
                say("grpc", &message)?;
                let response = Response::builder().header("content-type", "application/grpc").body(())?;
                let mut stream = respond.send_response(response, false)?;
                // an answer without fields: everything was taken
                stream.send_data(Bytes::from_static(&[0; 5]), false)?;
                let status = [(::http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))];
                Ok(stream.send_trailers(HeaderMap::from_iter(status))?)
            };
            if let Err(error) = taken.await {
                println!("call: {error}");
            }
        });
    }
    Ok(())
}

/// Prints the spans of an `ExportTraceServiceRequest`.
fn say(over: &str, message: &[u8]) -> Result<(), Failure> {
    let mut lines = String::new();
    for resource_spans in field(&fields(message)?, 1) {
        let resource_spans = fields(resource_spans.bytes()?)?;
        let mut resource = BTreeMap::new();
        for one in field(&resource_spans, 1) {
            resource.extend(attributes(&fields(one.bytes()?)?, 1)?);
        }
        for scope_spans in field(&resource_spans, 2) {
            for span in field(&fields(scope_spans.bytes()?)?, 2) {
                let span = read(over, &resource, &fields(span.bytes()?)?)?;
                lines.push_str(&serde_json::to_string(&span)?);
                lines.push('\n');
            }
        }
    }
    // one write, so that lines of many threads do not mix
    io::stdout().write_all(lines.as_bytes())?;
    Ok(())
}

/// `opentelemetry.proto.trace.v1.Span`.
fn read(over: &str, resource: &BTreeMap<String, Value>, span: &[(u64, Field<'_>)]) -> Result<Span, Failure> {
    let hex = |tag| -> Result<String, Failure> {
        let bytes = field(span, tag).next().map_or(Ok(&[][..]), Field::bytes)?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    let mut status = 0;
    for one in field(span, 15) {
        status = number(&fields(one.bytes()?)?, 3)?;
    }
    Ok(Span {
        over: over.to_owned(),
        resource: resource.clone(),
        trace_id: hex(1)?,
        span_id: hex(2)?,
        trace_state: text(span, 3)?,
        parent_span_id: hex(4)?,
        name: text(span, 5)?,
        kind: number(span, 6)?,
        nanos: number(span, 8)?.saturating_sub(number(span, 7)?),
        attributes: attributes(span, 9)?,
        status,
        flags: number(span, 16)?,
    })
}

/// `opentelemetry.proto.common.v1.KeyValue`s.
fn attributes(message: &[(u64, Field<'_>)], tag: u64) -> Result<BTreeMap<String, Value>, Failure> {
    let mut attributes = BTreeMap::new();
    for pair in field(message, tag) {
        let pair = fields(pair.bytes()?)?;
        let mut value = Value::Null;
        for one in field(&pair, 2) {
            value = match fields(one.bytes()?)?[..] {
                [(1, Field::Bytes(text))] => std::str::from_utf8(text)?.into(),
                [(3, Field::Varint(number))] => (number as i64).into(),
                [(4, Field::Fixed64(bits))] => f64::from_bits(bits).into(),
                ref other => return Err(format!("an attribute of another kind: {other:?}").into()),
            };
        }
        attributes.insert(text(&pair, 1)?, value);
    }
    Ok(attributes)
}
