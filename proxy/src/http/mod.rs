//! HTTP as it passes through the proxy.
//!
//! `h1` is our own codec for HTTP/1.x, used on both sides of both proxies. HTTP/2 will stand beside it as `h2`, over hyper.

pub(crate) mod h1;
