//! HTTP as it passes through the proxy.
//!
//! `h1` is our own codec for HTTP/1.x, used on both sides of both proxies; HTTP/2 will stand beside it as `h2`, over hyper.
//! `server` reads requests off a connection and answers what the proxy itself must answer; `forward` takes one request over
//! one upstream connection.

mod forward;
pub(crate) mod h1;
mod retry;
mod server;

pub(crate) use forward::{Failed, Forwarded, GOODBYE, OWN_LINES, Passage, forward};
pub(crate) use retry::Retries;
pub(crate) use server::{Next, linger, next_request};
