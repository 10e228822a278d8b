//! Envoy's: static, without Istio's filters and statistics of its own, so that a mesh made of it costs more.

use std::net::Ipv4Addr;

use minimesh_benches::origin::{HTTP1, HTTP2, SINK};
use serde_json::{Value, json};

use crate::certificates::{Certificates, dns_name, identity};
use crate::peer::{inbound, outbound};
use crate::round::SERVICES;

/// What goes between two proxies for a port.
#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Bytes,
    Http1,
    Http2,
}

/// Of the client's side.
pub(crate) fn client(certificates: &Certificates, server: Ipv4Addr, http2_between: bool) -> Value {
    let between = |port| match port {
        SINK => Protocol::Bytes,
        HTTP1 if !http2_between => Protocol::Http1,
        _ => Protocol::Http2,
    };
    let listeners = SERVICES.map(|(name, port, _)| listener(name, outbound(port), port, None));
    let clusters = SERVICES.map(|(name, port, _)| {
        let protocol = between(port);
        let mut context = tls(certificates, "client", protocol);
        context["@type"] = json!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext");
        context["sni"] = json!(dns_name("server"));
        cluster(name, &server.to_string(), port, protocol, Some(context))
    });
    bootstrap(&listeners, &clusters)
}

/// Of the server's side.
pub(crate) fn server(certificates: &Certificates) -> Value {
    let listeners = SERVICES.map(|(name, port, _)| {
        let protocol = if port == SINK { Protocol::Bytes } else { Protocol::Http2 };
        let mut context = tls(certificates, "server", protocol);
        context["@type"] = json!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext");
        context["require_client_certificate"] = json!(true);
        listener(name, inbound(port), port, Some(context))
    });
    let clusters = SERVICES.map(|(name, port, _)| {
        let protocol = match port {
            SINK => Protocol::Bytes,
            HTTP2 => Protocol::Http2,
            _ => Protocol::Http1,
        };
        cluster(name, "127.0.0.1", port, protocol, None)
    });
    bootstrap(&listeners, &clusters)
}

fn bootstrap(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({ "static_resources": { "listeners": listeners, "clusters": clusters } })
}

fn listener(name: &str, port: u16, application: u16, tls: Option<Value>) -> Value {
    let filter = if application == SINK { bytes(name) } else { http(name) };
    let mut chain = json!({ "filters": [filter] });
    if let Some(tls) = tls {
        chain["transport_socket"] = json!({ "name": "envoy.transport_sockets.tls", "typed_config": tls });
    }
    json!({ "name": name, "address": address("0.0.0.0", port), "filter_chains": [chain] })
}

fn http(name: &str) -> Value {
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": "AUTO",
            "route_config": {
                "virtual_hosts": [{
                    "name": name,
                    "domains": ["*"],
                    "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": name, "timeout": "0s" } }],
                }],
            },
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
            }],
        },
    })
}

fn bytes(name: &str) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": name,
            "cluster": name,
        },
    })
}

fn cluster(name: &str, host: &str, port: u16, protocol: Protocol, tls: Option<Value>) -> Value {
    let unlimited = json!({
        "max_connections": u32::MAX, "max_pending_requests": u32::MAX, "max_requests": u32::MAX, "max_retries": u32::MAX,
    });
    let endpoint = json!({ "endpoint": { "address": address(host, port) } });
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": { "thresholds": [unlimited] },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = json!({ "name": "envoy.transport_sockets.tls", "typed_config": tls });
    }
    let options = match protocol {
        Protocol::Bytes => return cluster,
        Protocol::Http1 => "http_protocol_options",
        Protocol::Http2 => "http2_protocol_options",
    };
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { options: {} },
        },
    });
    cluster
}

/// TLS 1.3 of one side, which takes the other side's identity and no other.
fn tls(certificates: &Certificates, side: &str, protocol: Protocol) -> Value {
    let peer = if side == "client" { "server" } else { "client" };
    let own = json!({ "filename": certificates.leaf(side) });
    let alpn: &[&str] = match (side, protocol) {
        (_, Protocol::Bytes) => &[],
        ("server", _) => &["h2", "http/1.1"],
        (_, Protocol::Http1) => &["http/1.1"],
        (_, Protocol::Http2) => &["h2"],
    };
    json!({
        "common_tls_context": {
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
            "alpn_protocols": alpn,
            "tls_certificates": [{ "certificate_chain": own, "private_key": own }],
            "validation_context": {
                "trusted_ca": { "filename": certificates.authority() },
                "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": identity(peer) } }],
            },
        },
    })
}

fn address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}
