//! HTTP/1.0 and 1.1: strict, in place, without allocation.
//!
//! A head is parsed once and edited as byte ranges, so that case, order, duplicates and obs-text survive. `head` and `body`
//! are pure (`hop`: what a head says about the connection it came over); `exchange` moves one request and its response between
//! two connections. What is ambiguous is refused: two proxies that read a message differently are an attack waiting for its
//! request.

mod body;
mod edit;
mod exchange;
mod head;
mod hop;
mod lines;
mod rewrite;
mod transfer;

pub(crate) use body::{Body, Framing};
pub(crate) use edit::write_head;
pub(crate) use exchange::{Alarm, DELIVERED, Exchange, Failure, Guard};
pub(crate) use head::{HeadError, Method, RequestHead, ResponseHead, Strip, parse_request, parse_response};
pub(crate) use lines::Lines;
pub(crate) use rewrite::rewrite_head;
pub(crate) use transfer::{Broken, Conn, Hold, Transfer};
