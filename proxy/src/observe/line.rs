//! A record as a line of the access log, in JSON or as Apache's combined format writes it. Pure.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::Direction;

use super::record::{Record, Request};
use super::text::{apache, common_log, hex, json, json_displayed, milliseconds, rfc3339, write_to};
use crate::metrics::CloseReason;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Apache,
    Json,
}

impl Format {
    /// Appends a line with its end.
    pub(super) fn write(self, out: &mut Vec<u8>, record: &Record) {
        match self {
            Format::Apache => combined(out, record),
            Format::Json => object(out, record),
        }
        out.push(b'\n');
    }
}

/// One object; a field that is not known is left out.
fn object(out: &mut Vec<u8>, record: &Record) {
    out.extend(b"{\"time\":\"");
    rfc3339(out, record.time);
    out.push(b'"');
    let direction = match record.direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    };
    text(out, "direction", Some(direction));
    text(out, "protocol", Some(record.wire.word()));
    displayed(out, "client", record.client);
    if let Some(Request { method, path, query, host, .. }) = &record.request {
        bytes(out, "method", Some(method));
        bytes(out, "host", Some(host));
        bytes(out, "path", Some(path));
        bytes(out, "query", query.as_deref());
    }
    number(out, "status", record.status);
    number(out, "grpc_status", record.grpc);
    number(out, "request_bytes", Some(record.request_bytes));
    number(out, "response_bytes", Some(record.response_bytes));
    time(out, "duration_ms", record.duration);
    time(out, "added_ms", record.added);
    time(out, "waited_ms", record.waited);
    time(out, "upstream_ms", record.upstream());
    if let Some(trace) = &record.trace {
        name(out, "trace_id");
        out.push(b'"');
        hex(out, &trace.trace);
        out.push(b'"');
    }
    if let Some(route) = &record.route {
        let object = &route.object;
        displayed(out, "route", Some(format_args!("{}/{}/{}", object.kind, object.namespace, object.name)));
        number(out, "rule", Some(route.index));
        text(out, "rule_name", Some(&*route.name).filter(|name| !name.is_empty()));
    }
    displayed(out, "backend", record.backend.as_ref());
    displayed(out, "endpoint", record.endpoint);
    text(out, "client_identity", record.client_identity.as_deref());
    text(out, "server_identity", record.server_identity.as_deref());
    number(out, "retries", Some(record.retries));
    text(out, "error", record.code());
    text(out, "tls_server_name", record.tls_server_name.as_deref());
    text(out, "close", record.close.map(ending));
    headers(out, record.request.as_ref().map(|request| request.headers.as_slice()).unwrap_or_default());
    out.push(b'}');
}

/// `%h - %u [%t] "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`; the user is the client's SPIFFE ID.
fn combined(out: &mut Vec<u8>, record: &Record) {
    match record.client {
        Some(client) => write_to(out, format_args!("{}", client.ip().to_canonical())),
        None => out.push(b'-'),
    }
    write_to(out, format_args!(" - {} [", record.client_identity.as_deref().unwrap_or("-")));
    common_log(out, record.time);
    out.extend(b"] \"");
    match &record.request {
        None => out.push(b'-'),
        Some(Request { method, path, query, .. }) => {
            apache(out, method);
            out.push(b' ');
            apache(out, path);
            if let Some(query) = query {
                out.push(b'?');
                apache(out, query);
            }
            write_to(out, format_args!(" {}", record.wire.word()));
        }
    }
    match record.status {
        Some(status) => write_to(out, format_args!("\" {status} {}", record.response_bytes)),
        None => write_to(out, format_args!("\" - {}", record.response_bytes)),
    }
    for name in ["referer", "user-agent"] {
        out.extend(b" \"");
        match record.request.as_ref().and_then(|request| request.header(name)) {
            Some(value) => apache(out, value),
            None => out.push(b'-'),
        }
        out.push(b'"');
    }
}

/// Metrics leave the word out where there is nothing to say.
fn ending(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Clean => "clean",
        other => other.word(),
    }
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, field: &str, value: Option<&str>) {
    bytes(out, field, value.map(str::as_bytes));
}

fn bytes(out: &mut Vec<u8>, field: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        name(out, field);
        json(out, value);
    }
}

fn displayed(out: &mut Vec<u8>, field: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        name(out, field);
        json_displayed(out, value);
    }
}

fn number(out: &mut Vec<u8>, field: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        name(out, field);
        write_to(out, format_args!("{value}"));
    }
}

fn time(out: &mut Vec<u8>, field: &str, value: Duration) {
    name(out, field);
    milliseconds(out, value);
}

fn headers(out: &mut Vec<u8>, headers: &[(Arc<str>, Vec<u8>)]) {
    if headers.is_empty() {
        return;
    }
    name(out, "headers");
    for (index, (header, value)) in headers.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        json(out, header.as_bytes());
        out.push(b':');
        json(out, value);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::super::testing::record;
    use super::*;
    use crate::error::Kind;
    use crate::observe::record::Wire;

    fn line(format: Format, record: &Record) -> String {
        let mut out = Vec::new();
        format.write(&mut out, record);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_request_in_json() {
        let expected = concat!(
            r#"{"time":"2026-11-22T18:24:10.007Z","direction":"outbound","protocol":"HTTP/1.1","client":"10.42.0.9:40000","#,
            r#""method":"POST","host":"carts","path":"/carts/1/items","status":201,"request_bytes":312,"response_bytes":98,"#,
            r#""duration_ms":12.500,"added_ms":0.250,"waited_ms":2.000,"upstream_ms":10.250,"#,
            r#""trace_id":"0af7651916cd43dd8448eb211c80319c","route":"HTTPRoute/shop/carts","rule":1,"rule_name":"items","#,
            r#""backend":"shop/carts:80","endpoint":"10.42.0.7:8080","client_identity":"spiffe://cluster.local/ns/shop/sa/front-end","#,
            r#""server_identity":"spiffe://cluster.local/ns/shop/sa/carts","retries":1,"headers":{"user-agent":"curl/8"}}"#,
            "\n"
        );
        assert_eq!(line(Format::Json, &record()), expected);
    }

    #[test]
    fn a_request_in_apaches_combined_format() {
        let expected = "10.42.0.9 - spiffe://cluster.local/ns/shop/sa/front-end [22/Nov/2026:18:24:10 +0000] \
                        \"POST /carts/1/items HTTP/1.1\" 201 98 \"-\" \"curl/8\"\n";
        assert_eq!(line(Format::Apache, &record()), expected);
    }

    #[test]
    fn an_opaque_connection_and_a_request_that_could_not_be_read() {
        let mut opaque = Record { wire: Wire::Tcp, request: None, status: None, trace: None, route: None, ..record() };
        opaque.error = Some(Kind::ConnectRefused);
        let text = line(Format::Json, &opaque);
        assert!(text.contains(r#""protocol":"TCP","client":"10.42.0.9:40000","request_bytes":312,"#), "{text}");
        assert!(text.ends_with("\"retries\":1,\"error\":\"connect_refused\"}\n"), "{text}");
        assert!(line(Format::Apache, &opaque).ends_with("+0000] \"-\" - 98 \"-\" \"-\"\n"));
    }

    #[test]
    fn a_peer_cannot_write_a_line_of_its_own() {
        let forged =
            b"/x HTTP/1.1\" 200 0 \"-\" \"-\"\n10.0.0.1 - admin [now] \"GET /\",\"status\":200}\n{\"a\":\"".to_vec();
        let mut hostile = record();
        hostile.request = Some(Request {
            method: b"G\nT".to_vec(),
            path: forged.clone(),
            query: Some(forged.clone()),
            host: forged.clone(),
            headers: vec![("user-agent".into(), forged)],
        });
        for format in [Format::Apache, Format::Json] {
            let text = line(format, &hostile);
            assert_eq!(text.matches('\n').count(), 1, "{text}");
        }
        let read: serde_json::Value = serde_json::from_str(&line(Format::Json, &hostile)).expect("one document");
        assert_eq!((&read["status"], &read["method"]), (&201.into(), &"G\nT".into()));
        // nine fields, as in every line
        let text = line(Format::Apache, &hostile);
        let quotes = text.replace("\\\\", "").replace("\\\"", "").matches('"').count();
        assert_eq!(quotes, 6, "{text}");
    }
}
