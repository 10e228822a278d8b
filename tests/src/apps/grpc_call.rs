//! One gRPC call with one message, as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::flags::Flags;
use crate::Failure;
use crate::http2::{GRPC, message, receive};

/// A call to make on a connection of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Where to connect to.
    pub address: SocketAddr,
    /// As `/package.Service/Method`.
    pub path: String,
    /// Metadata.
    pub headers: Vec<(String, String)>,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallResult {
    /// HTTP's.
    pub status: u16,
    /// gRPC's; none: there was none.
    pub grpc_status: Option<u32>,
    /// Whether it came without anything before it: `Trailers-Only`.
    pub trailers_only: bool,
    /// Of the response's beginning, then of its end.
    pub headers: Vec<(String, String)>,
    /// Why there was no answer.
    pub error: Option<String>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Call {
    /// A call without metadata.
    pub fn new(address: SocketAddr, path: &str) -> Call {
        Call { address, path: path.into(), headers: Vec::new() }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: impl ToString) -> Call {
        self.headers.push((name.into(), value.to_string()));
        self
    }
}

impl CallResult {
    /// The first header of that name, of the response's beginning or end.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }
}

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let call: Call = flags.json("call")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = LocalSet::new().block_on(&runtime, async {
        match timeout(PATIENCE, make(&call)).await {
            Ok(result) => result.unwrap_or_else(|error| failed(&error.to_string())),
            Err(_) => failed("no answer"),
        }
    });
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

fn failed(why: &str) -> CallResult {
    CallResult { error: Some(why.to_owned()), ..CallResult::default() }
}

async fn make(call: &Call) -> Result<CallResult, Failure> {
    let (requests, connection) = h2::client::handshake(TcpStream::connect(call.address).await?).await?;
    tokio::task::spawn_local(async move {
        // what went wrong is told to the call
        let _ = connection.await;
    });
    let head = http::Request::post(format!("http://{}{}", call.address, call.path));
    let head = head.header("content-type", GRPC).header("te", "trailers");
    let head = call.headers.iter().fold(head, |head, (name, value)| head.header(name, value)).body(())?;
    let (answer, mut stream) = requests.ready().await?.send_request(head, false)?;
    stream.send_data(message(b"ping"), true)?;
    let (head, mut body) = answer.await?.into_parts();
    let trailers_only = body.is_end_stream();
    receive(&mut body, |_| {}).await?;
    let trailers = body.trailers().await?.unwrap_or_default();
    let mut headers = Vec::new();
    for map in [&head.headers, &trailers] {
        headers.extend(listed(map));
    }
    let status = |map: &HeaderMap| map.get("grpc-status")?.to_str().ok()?.parse().ok();
    Ok(CallResult {
        status: head.status.as_u16(),
        grpc_status: status(&trailers).or_else(|| status(&head.headers)),
        trailers_only,
        headers,
        error: None,
    })
}

fn listed(map: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
