//! How peers are told what a mesh would tell them: mutual TLS 1.3 between the two, HTTP as HTTP, bytes as bytes, one thread.

pub(crate) mod envoy;
pub(crate) mod haproxy;
