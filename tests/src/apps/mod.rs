//! Applications and clients of the stories. Each is one file and one line in the table here; each says on standard output, in
//! JSON or in single words, what a test wants to know.

mod capture;
mod collector;
mod dial;
mod flags;
mod flood;
mod grpc_call;
mod hoard;
mod http_load;
mod http_request;
mod http_server;
mod long_stream;
mod open_loop;
mod rogue;
mod tcp_client;
mod tcp_server;

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use crate::Failure;
use flags::Flags;

pub(crate) use capture::packets;
pub use collector::Span;
pub use flood::{DONE as FLOOD_DONE, Flood};
pub use grpc_call::{Call, CallResult};
pub use hoard::{Hoard, Shape};
pub use http_load::{LoadPlan, LoadProtocol, LoadResult};
pub use http_request::{Request, Response};
pub use long_stream::{Carrier, StreamResult};
pub use open_loop::{OpenLoopPlan, OpenLoopResult};
pub use rogue::{Rogue, RogueResult};
pub use tcp_client::{Exchange, ExchangeResult};

type App = fn(&Flags) -> Result<(), Failure>;

const APPS: &[(&str, App)] = &[
    ("capture", capture::run),
    ("collector", collector::run),
    ("dial", dial::run),
    ("flood", flood::run),
    ("grpc-call", grpc_call::run),
    ("hoard", hoard::run),
    ("http-load", http_load::run),
    ("http-request", http_request::run),
    ("http-server", http_server::run),
    ("long-stream", long_stream::run),
    ("open-loop", open_loop::run),
    ("rogue", rogue::run),
    ("tcp-client", tcp_client::run),
    ("tcp-server", tcp_server::run),
];

/// What an application prints when it is ready for clients.
pub const READY: &str = "ready";

/// Listens on every address: one socket for both families where the kernel has both.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
}

/// Runs the application that `arguments` name.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let (name, rest) = arguments.split_first().ok_or("no application named")?;
    let (_, app) = APPS.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no application {name:?}"))?;
    app(&Flags::new(rest)?)
}
