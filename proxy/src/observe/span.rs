//! A record as an OpenTelemetry span, with the attributes of the HTTP semantic conventions (1.27 and later). Pure.
//!
//! The request goes on with the trace context that it came with, so this span and the next application's are children of the
//! same parent: the proxy's spans stand beside the application's, not between them.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minimesh_api::model::Direction;

use super::context::TraceContext;
use super::otlp::{KeyValue, REMOTE_PARENT, SAMPLED, Span, SpanKind, Status, StatusCode};
use super::record::{Record, Request};

/// The span of a request that belongs to a sampled trace; `id` is its own.
pub(super) fn of(record: &Record, id: u64) -> Option<Span> {
    let TraceContext { trace, parent, sampled: true } = record.trace? else { return None };
    let request = record.request.as_ref()?;
    let kind = match record.direction {
        Direction::Inbound => SpanKind::Server,
        Direction::Outbound => SpanKind::Client,
    };
    Some(Span {
        trace_id: trace.to_vec(),
        // an id of zeroes would mean none
        span_id: id.max(1).to_be_bytes().to_vec(),
        trace_state: record.trace_state.clone(),
        parent_span_id: parent.to_vec(),
        name: known_method(request).unwrap_or("HTTP").to_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanos(record.time),
        end_time_unix_nano: nanos(record.time + record.duration),
        attributes: attributes(record, request, kind),
        status: Some(status(record, kind)),
        flags: REMOTE_PARENT | SAMPLED,
    })
}

/// A server's span fails with a 5xx alone, a client's with a 4xx as well, and with the gRPC statuses that stand for these; both
/// where the proxy itself gave up.
fn status(record: &Record, kind: SpanKind) -> Status {
    let bad = if kind == SpanKind::Server { 500 } else { 400 };
    let bad_grpc = match (record.grpc, kind) {
        // unknown, deadline exceeded, unimplemented, internal, unavailable, data loss
        (Some(status), SpanKind::Server) => matches!(status, 2 | 4 | 12..=15),
        (status, _) => status.is_some_and(|status| status != 0),
    };
    let failed = bad_grpc || record.status.is_none_or(|status| status >= bad) || record.code().is_some();
    let code = if failed { StatusCode::Error } else { StatusCode::Unset };
    Status { message: record.code().unwrap_or_default().to_owned(), code: code.into() }
}

fn attributes(record: &Record, request: &Request, kind: SpanKind) -> Vec<KeyValue> {
    let mut list = Vec::with_capacity(24);
    match known_method(request) {
        Some(method) => list.push(KeyValue::text("http.request.method", method)),
        None => {
            list.push(KeyValue::text("http.request.method", "_OTHER"));
            list.push(KeyValue::text("http.request.method_original", lossy(&request.method)));
        }
    }
    list.push(KeyValue::text("url.scheme", "http"));
    list.push(KeyValue::text("url.path", lossy(&request.path)));
    list.extend(request.query.as_ref().map(|query| KeyValue::text("url.query", lossy(query))));
    if kind == SpanKind::Client {
        let query = request.query.as_ref().map(|query| format!("?{}", lossy(query))).unwrap_or_default();
        let url = format!("http://{}{}{query}", lossy(&request.host), lossy(&request.path));
        list.push(KeyValue::text("url.full", url));
    }
    let (host, port) = authority(&lossy(&request.host));
    list.push(KeyValue::text("server.address", host));
    list.extend(port.map(|port| KeyValue::integer("server.port", port.into())));
    list.extend(record.status.map(|status| KeyValue::integer("http.response.status_code", status.into())));
    if let Some(status) = record.grpc {
        list.push(KeyValue::text("rpc.system", "grpc"));
        list.push(KeyValue::integer("rpc.grpc.status_code", status.into()));
    }
    list.push(KeyValue::text("network.protocol.name", "http"));
    list.extend(record.wire.version().map(|version| KeyValue::text("network.protocol.version", version)));
    let peer = if kind == SpanKind::Client { record.endpoint } else { record.client };
    list.extend(peer.into_iter().flat_map(network_peer));
    if let (SpanKind::Server, Some(client)) = (kind, record.client) {
        list.push(KeyValue::text("client.address", client.ip().to_canonical().to_string()));
    }
    for (name, value) in &request.headers {
        match &**name {
            "user-agent" => list.push(KeyValue::text("user_agent.original", lossy(value))),
            name => list.push(KeyValue::text(&format!("http.request.header.{name}"), lossy(value))),
        }
    }
    if record.retries > 0 {
        list.push(KeyValue::integer("http.request.resend_count", record.retries.into()));
    }
    list.extend(error_type(record, kind).map(|word| KeyValue::text("error.type", word)));
    list.extend(own(record));
    list
}

/// What no convention has a name for.
fn own(record: &Record) -> impl Iterator<Item = KeyValue> {
    let route = record.route.as_ref().map(|route| format!("{}/{}", route.object.namespace, route.object.name));
    let rule = record.route.as_ref().map(|route| KeyValue::integer("minimesh.rule", route.index as i64));
    let backend = record.backend.as_ref().map(|key| format!("{}/{}:{}", key.namespace, key.name, key.port));
    let identity = |identity: &Option<std::sync::Arc<str>>| identity.as_deref().map(str::to_owned);
    let texts = [
        ("minimesh.route", route),
        ("minimesh.backend", backend),
        ("minimesh.client_identity", identity(&record.client_identity)),
        ("minimesh.server_identity", identity(&record.server_identity)),
        ("minimesh.error", record.code().map(str::to_owned)),
    ];
    let texts = texts.into_iter().filter_map(|(key, value)| Some(KeyValue::text(key, value?)));
    let times = [("minimesh.added_ms", record.added), ("minimesh.waited_ms", record.waited)];
    let times = times.map(|(key, time)| KeyValue::number(key, time.as_secs_f64() * 1000.0));
    let bytes = [("minimesh.request_bytes", record.request_bytes), ("minimesh.response_bytes", record.response_bytes)];
    let bytes = bytes.map(|(key, count)| KeyValue::integer(key, i64::try_from(count).unwrap_or(i64::MAX)));
    texts.chain(rule).chain(times).chain(bytes)
}

/// The code of our own error, else the status where it is one.
fn error_type(record: &Record, kind: SpanKind) -> Option<String> {
    let failed = status(record, kind).code == i32::from(StatusCode::Error);
    let number = record.grpc.filter(|status| *status != 0).map(u16::from).or(record.status);
    let word = || record.code().map(str::to_owned).or(number.map(|status| status.to_string()));
    if failed { word() } else { None }
}

fn network_peer(address: SocketAddr) -> [KeyValue; 2] {
    [
        KeyValue::text("network.peer.address", address.ip().to_canonical().to_string()),
        KeyValue::integer("network.peer.port", address.port().into()),
    ]
}

/// Methods that the conventions know; others could be anything, and a span's name must not be.
fn known_method(request: &Request) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    KNOWN.into_iter().find(|known| known.as_bytes() == request.method)
}

/// Host and port of an authority; an IPv6 address loses its brackets.
fn authority(text: &str) -> (String, Option<u16>) {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && port.parse::<u16>().is_ok() => (host, port.parse().ok()),
        _ => (text, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn nanos(time: SystemTime) -> u64 {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::otlp::{AnyValue, Value};
    use super::super::testing::record;
    use super::*;
    use crate::error::Kind;

    fn attribute(span: &Span, key: &str) -> Option<Value> {
        let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
        found.value.clone().and_then(|AnyValue { value }| value)
    }

    fn text(span: &Span, key: &str) -> Option<String> {
        match attribute(span, key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn outbound_is_a_client_span_below_the_span_that_sent_the_request() {
        let span = of(&record(), 7).expect("sampled");
        assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!(span.span_id, [0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!((span.name.as_str(), span.kind()), ("POST", SpanKind::Client));
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 12_500_000);
        assert_eq!(text(&span, "url.full").as_deref(), Some("http://carts/carts/1/items"));
        assert_eq!(text(&span, "network.peer.address").as_deref(), Some("10.42.0.7"));
        assert_eq!(attribute(&span, "http.response.status_code"), Some(Value::Integer(201)));
        assert_eq!(attribute(&span, "http.request.resend_count"), Some(Value::Integer(1)));
        assert_eq!(text(&span, "minimesh.route").as_deref(), Some("shop/carts"));
        assert_eq!(span.status.map(|status| status.code), Some(StatusCode::Unset.into()));
    }

    #[test]
    fn inbound_is_a_server_span_that_a_404_does_not_fail() {
        let mut inbound = Record { direction: Direction::Inbound, status: Some(404), ..record() };
        let span = of(&inbound, 7).expect("sampled");
        assert_eq!((span.kind(), text(&span, "url.full")), (SpanKind::Server, None));
        assert_eq!(text(&span, "client.address").as_deref(), Some("10.42.0.9"));
        assert_eq!(span.status.map(|status| status.code), Some(StatusCode::Unset.into()));
        inbound.direction = Direction::Outbound;
        let span = of(&inbound, 7).expect("sampled");
        assert_eq!(span.status.clone().map(|status| status.code), Some(StatusCode::Error.into()));
        assert_eq!(text(&span, "error.type").as_deref(), Some("404"));
    }

    #[test]
    fn a_calls_own_status_decides_as_the_conventions_say() {
        let call = |direction, status| {
            of(&Record { direction, status: Some(200), grpc: Some(status), ..record() }, 7).expect("sampled")
        };
        let not_found = call(Direction::Inbound, 5);
        assert_eq!(not_found.status.clone().map(|status| status.code), Some(StatusCode::Unset.into()));
        assert_eq!(attribute(&not_found, "rpc.grpc.status_code"), Some(Value::Integer(5)));
        for failed in [call(Direction::Outbound, 5), call(Direction::Inbound, 14)] {
            assert_eq!(failed.status.clone().map(|status| status.code), Some(StatusCode::Error.into()));
        }
        assert_eq!(text(&call(Direction::Outbound, 5), "error.type").as_deref(), Some("5"));
    }

    #[test]
    fn an_error_of_the_proxy_is_named() {
        let refused = Record { error: Some(Kind::PolicyDenied), status: Some(403), ..record() };
        let span = of(&Record { direction: Direction::Inbound, ..refused }, 7).expect("sampled");
        assert_eq!(text(&span, "error.type").as_deref(), Some("policy_denied"));
        assert_eq!(span.status.map(|status| (status.code, status.message)), Some((2, "policy_denied".to_owned())));
    }

    #[test]
    fn what_is_not_sampled_or_has_no_trace_has_no_span() {
        let unsampled = record().trace.map(|trace| TraceContext { sampled: false, ..trace });
        assert_eq!(of(&Record { trace: unsampled, ..record() }, 7), None);
        assert_eq!(of(&Record { trace: None, ..record() }, 7), None);
    }

    #[test]
    fn a_methods_name_cannot_be_chosen_by_the_client() {
        let mut odd = record();
        odd.request = odd.request.map(|request| Request { method: b"BREW".to_vec(), ..request });
        let span = of(&odd, 7).expect("sampled");
        assert_eq!((span.name.as_str(), text(&span, "http.request.method").as_deref()), ("HTTP", Some("_OTHER")));
        assert_eq!(text(&span, "http.request.method_original").as_deref(), Some("BREW"));
    }

    #[test]
    fn authorities_come_apart() {
        assert_eq!(authority("carts:80"), ("carts".into(), Some(80)));
        assert_eq!(authority("carts"), ("carts".into(), None));
        assert_eq!(authority("[::1]:8080"), ("::1".into(), Some(8080)));
        assert_eq!(authority("[::1]"), ("::1".into(), None));
    }
}
