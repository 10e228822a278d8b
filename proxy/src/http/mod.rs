//! HTTP as it passes through the proxy.
//!
//! `h1` is our own codec for HTTP/1.x, used on both sides of both proxies: `server` reads requests off a connection, `forward`
//! takes one request over one upstream connection. `h2` is the same for HTTP/2, over the h2 crate.

mod forward;
pub(crate) mod h1;
pub(crate) mod h2;
mod own;
mod retry;
mod server;

pub(crate) use forward::{Failed, Forwarded, GOODBYE, OWN_LINES, Passage, forward};
pub(crate) use retry::{KEY, Retries, is_idempotent};
pub(crate) use server::{HeadLimits, Next, linger, next_request};
