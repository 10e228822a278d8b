//! What a client is told when the proxy itself has to answer: a problem document, or for gRPC a status without a message.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use minimesh_api::model::Direction;
use minimesh_route::Field;

use super::{Downstream, is_grpc};
use crate::error::{Kind, Row, describe};

/// How the answer to a request is to look, noted before the request's head goes elsewhere.
pub(crate) struct Reply {
    /// gRPC's content type, as the client named it.
    grpc: Option<HeaderValue>,
    accept: Option<HeaderValue>,
    head_only: bool,
    /// Which proxy speaks.
    hop: Direction,
}

impl Reply {
    pub(crate) fn of(head: &Parts, hop: Direction) -> Reply {
        let grpc = is_grpc(&head.headers).then(|| head.headers.get(CONTENT_TYPE).cloned()).flatten();
        Reply { grpc, accept: head.headers.get(ACCEPT).cloned(), head_only: head.method == Method::HEAD, hop }
    }

    /// Whether the request is gRPC's.
    pub(crate) fn is_grpc(&self) -> bool {
        self.grpc.is_some()
    }

    /// The status line and gRPC status that the client will see.
    pub(crate) fn seen(&self, row: &Row) -> (u16, Option<u8>) {
        if self.is_grpc() { (200, Some(row.grpc)) } else { (row.status, None) }
    }
}

/// Answers a request that failed. `not_delivered`: to a proxy of ours; the request went nowhere, send it elsewhere.
pub(crate) fn answer(kind: Kind, reply: &Reply, not_delivered: bool, down: &mut Downstream) {
    let row = kind.row();
    let mut response = Response::new(());
    let headers = response.headers_mut();
    let mut add = |name: HeaderName, value: &str| {
        // words of our own table
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    if not_delivered {
        add(ERROR, Kind::NotDelivered.row().code);
        add(CAUSE, row.code);
    } else {
        add(ERROR, row.code);
    }
    let hop = match reply.hop {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    };
    let mut body = Bytes::new();
    match &reply.grpc {
        Some(_) => {
            add(GRPC_STATUS, &row.grpc.to_string());
            // ASCII without '%': nothing to be escaped
            add(GRPC_MESSAGE, &format!("minimesh: {} ({hop} proxy)", row.code));
        }
        None => {
            let (media, text) = describe(kind, reply.hop, reply.accept.as_ref().map(HeaderValue::as_bytes));
            add(CONTENT_TYPE, media);
            add(CONTENT_LENGTH, &text.len().to_string());
            body = Bytes::from(text);
        }
    }
    if let Some(grpc) = &reply.grpc {
        headers.append(CONTENT_TYPE, grpc.clone());
    } else if let Ok(status) = StatusCode::from_u16(row.status) {
        *response.status_mut() = status;
    }
    let end = reply.head_only || body.is_empty();
    // a client that is gone needs no answer
    if let (Ok(mut to), false) = (down.respond().send_response(response, end), end) {
        let _ = to.send_data(body, true);
    }
}

/// Gives an answer that a route demands: a redirect, or to a preflight. It has no body.
pub(crate) fn tell(status: u16, fields: &[Field], down: &mut Downstream) {
    let mut response = Response::new(());
    if let Ok(status) = StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            response.headers_mut().append(*name, value);
        }
    }
    // a client that is gone needs no answer
    let _ = down.respond().send_response(response, true);
}

const ERROR: HeaderName = HeaderName::from_static("minimesh-error");
const CAUSE: HeaderName = HeaderName::from_static("minimesh-cause");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
