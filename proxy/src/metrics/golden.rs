//! Golden tests: every family with its type and labels, and the sums that must never go down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minimesh_api::model::{BackendKey, DefaultPolicy, Direction, EdgeProtocol, Security, WorkloadRef};
use prometheus_client::registry::Registry;

use super::*;

/// Renaming a metric or a label is a visible difference here; dashboards read them.
const FAMILIES: &str = "\
control_identity_cert_expiration_timestamp_seconds gauge
control_identity_cert_refresh_timestamp_seconds gauge
control_identity_cert_refreshes counter
inbound_http_authz_allow counter authz_group authz_kind authz_name client_id direction protocol srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
inbound_http_authz_deny counter client_id direction protocol srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
inbound_tcp_authz_allow counter direction no_tls_reason protocol target_addr target_ip target_port tls
inbound_tcp_authz_deny counter direction no_tls_reason protocol target_addr target_ip target_port tls
inbound_tcp_authz_terminate counter direction no_tls_reason protocol target_addr target_ip target_port tls
minimesh_accepted_connections gauge
minimesh_access_log_dropped counter
minimesh_access_log_written counter
minimesh_connect_seconds histogram direction le
minimesh_connects counter direction result
minimesh_detect counter direction result
minimesh_discovery_connected gauge
minimesh_discovery_connections counter
minimesh_discovery_failures counter reason
minimesh_discovery_nacks counter
minimesh_discovery_pending gauge
minimesh_discovery_refused_subscriptions counter
minimesh_discovery_silence_seconds gauge
minimesh_discovery_subscriptions gauge
minimesh_discovery_updates counter
minimesh_early_connect counter result
minimesh_edges gauge
minimesh_edges_dropped counter reason
minimesh_errors counter direction error
minimesh_handshakes counter direction kind
minimesh_identity_failures counter reason
minimesh_inbound_audited counter client_id direction protocol srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
minimesh_inbound_refused counter reason
minimesh_mirrors counter result
minimesh_pool_wait_seconds histogram le
minimesh_proxy_added_seconds histogram direction le
minimesh_reports counter result
minimesh_retries counter reason
minimesh_retries_skipped counter reason
minimesh_spans counter result
minimesh_workers gauge
request counter authority client_id direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone protocol server_id srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
response counter authority classification client_id direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone grpc_status protocol server_id srv_group srv_kind srv_name srv_port status_code target_addr target_ip target_port tls
response_latency_ms histogram authority client_id direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone le protocol server_id srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
tcp_close counter authority direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone errno peer protocol server_id target_addr target_ip target_port tls
tcp_connection_duration_ms histogram authority client_id direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone le no_tls_reason peer protocol server_id srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
tcp_open counter authority client_id direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone no_tls_reason peer protocol server_id srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
tcp_open_connections gauge authority client_id direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone no_tls_reason peer protocol server_id srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
tcp_read_bytes counter authority client_id direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone no_tls_reason peer protocol server_id srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
tcp_write_bytes counter authority client_id direction dst_deployment dst_namespace dst_pod dst_service dst_serviceaccount dst_zone no_tls_reason peer protocol server_id srv_group srv_kind srv_name srv_port target_addr target_ip target_port tls
";

#[test]
fn every_family_type_and_label_is_as_listed() {
    let metrics = Metrics::new(&["no_endpoints"]);
    let _edges = traffic(&metrics);
    let _worker = metrics.worker();
    let text = scrape(&metrics);
    let mut families: BTreeMap<&str, (&str, BTreeSet<&str>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.insert(name, (kind, BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (series, labels) = line
                .split_once('{')
                .map_or((line, ""), |(name, rest)| (name, rest.rsplit_once('}').expect("labels end").0));
            let series = series.split(' ').next().expect("a name");
            let family = families.iter_mut().rfind(|(name, _)| {
                ["", "_total", "_bucket", "_sum", "_count"].iter().any(|suffix| series == format!("{name}{suffix}"))
            });
            let known = &mut family.unwrap_or_else(|| panic!("no family for {series}")).1.1;
            known.extend(labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name));
        }
    }
    let found: String = families
        .iter()
        .map(|(name, (kind, labels))| {
            let words: Vec<&str> = [*name, *kind].into_iter().chain(labels.iter().copied()).collect();
            format!("{}\n", words.join(" "))
        })
        .collect();
    assert_eq!(found, FAMILIES);
}

#[test]
fn samples_are_what_was_counted() {
    let metrics = Metrics::new(&["no_endpoints", "connect_refused"]);
    let _edges = traffic(&metrics);
    let worker = metrics.worker();
    worker.error(Direction::Outbound, 1);
    worker.connect(Direction::Outbound, Connected::Ok, Duration::from_micros(300));
    let text = scrape(&metrics);
    for expected in [
        "request_total{direction=\"outbound\",protocol=\"http\",authority=\"carts.shop.svc.cluster.local:80\",\
         target_addr=\"10.42.0.9:8080\",target_ip=\"10.42.0.9\",target_port=\"8080\",tls=\"true\",\
         server_id=\"spiffe://cluster.local/ns/shop/sa/carts\",dst_namespace=\"shop\",dst_service=\"carts\",\
         dst_deployment=\"carts\",dst_pod=\"carts-1\",dst_serviceaccount=\"carts\",dst_zone=\"a\"} 3",
        "classification=\"success\",status_code=\"200\"} 1",
        "classification=\"failure\",status_code=\"503\"} 1",
        "classification=\"failure\",status_code=\"200\",grpc_status=\"14\"} 1",
        "minimesh_errors_total{direction=\"outbound\",error=\"connect_refused\"} 1",
        "minimesh_errors_total{direction=\"outbound\",error=\"no_endpoints\"} 0",
        "minimesh_connect_seconds_bucket{le=\"0.0005\",direction=\"outbound\"} 1",
        "minimesh_connect_seconds_bucket{le=\"0.00025\",direction=\"outbound\"} 0",
        "minimesh_workers 1",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
}

#[test]
fn totals_survive_the_shards_that_counted_them() {
    let metrics = Metrics::new(&[]);
    for _ in 0..3 {
        drop(traffic(&metrics));
        let live = traffic(&metrics);
        assert!(live.len() == 3);
    }
    let reports = metrics.reports();
    assert_eq!(reports.len(), 3);
    assert_eq!(reports.iter().map(|edge| edge.requests).sum::<u64>(), 6 * 4);
    assert_eq!(reports.iter().map(|edge| edge.tcp_opened).sum::<u64>(), 6 * 3);
    let http = reports.iter().find(|edge| edge.key.direction == Direction::Outbound).expect("an outbound edge");
    assert_eq!((http.successes, http.failures, http.latency.count(), http.added.count()), (6, 12, 18, 18));
}

#[test]
fn beyond_the_cap_idle_edges_make_room_and_live_ones_overflow() {
    let metrics = Metrics::with_edge_limit(&[], 2);
    let edge = |port: u16| {
        let cells = metrics.edge(EdgeKey { port, ..outbound() }, EdgeLabels::default());
        cells.request();
        cells
    };
    drop(edge(1));
    let _live = [edge(2), edge(3)];
    assert_eq!(ports(&metrics), [1, 2, 3], "the idle edge is still reported");
    assert!(!scrape(&metrics).contains("target_port=\"1\""), "and no longer exposed");
    let _more = [edge(4), edge(5)];
    let reports = metrics.reports();
    assert_eq!(ports(&metrics), [0, 1, 2, 3], "live edges stay; new ones overflow");
    assert_eq!(reports.iter().map(|edge| edge.requests).sum::<u64>(), 5, "nothing is lost, nothing counted twice");
    let text = scrape(&metrics);
    assert!(text.contains("minimesh_edges_dropped_total{reason=\"no_room\"} 2"), "{text}");
    assert!(text.contains("minimesh_edges_dropped_total{reason=\"evicted\"} 1"), "{text}");
}

#[test]
fn an_evicted_edge_that_comes_back_goes_on_where_it_was_and_is_counted_nowhere_else() {
    let metrics = Metrics::with_edge_limit(&[], 1);
    let visit = |port: u16| metrics.edge(EdgeKey { port, ..outbound() }, EdgeLabels::default()).request();
    for port in [1, 2, 1, 2, 1] {
        visit(port);
    }
    let requests: Vec<_> = metrics.reports().iter().map(|edge| (edge.key.port, edge.requests)).collect();
    assert_eq!(requests, [(1, 3), (2, 2)]);
    assert_eq!(scrape(&metrics).matches("\nrequest_total{").count(), 1);
}

/// Ports of the edges; 0 is the overflow edge.
fn ports(metrics: &Metrics) -> Vec<u16> {
    let mut ports: Vec<u16> = metrics.reports().iter().map(|edge| edge.key.port).collect();
    ports.sort_unstable();
    ports
}

fn scrape(metrics: &Arc<Metrics>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(metrics.clone())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

/// Two outbound requests over one connection, one refused and one audited inbound request, one opaque inbound connection.
fn traffic(metrics: &Metrics) -> Vec<Arc<EdgeCells>> {
    let labels = EdgeLabels { target: "10.42.0.9:8080".parse().ok(), zone: Some("a".into()), policy: None };
    let out = metrics.edge(outbound(), labels);
    out.opened();
    let took = (Duration::from_micros(2_500), Duration::from_micros(40));
    for (status, class) in [(200, Classification::Success), (503, Classification::Failure)] {
        out.request();
        out.response(status, class, took.0, took.1);
    }
    out.request();
    out.grpc_response(14, took.0, took.1);
    out.read(10);
    out.written(20);
    out.closed(CloseReason::Clean, Duration::from_secs(3));
    let inbound = EdgeKey {
        direction: Direction::Inbound,
        service: None,
        peer: None,
        security: Security::Verified("spiffe://cluster.local/ns/shop/sa/front-end".into()),
        ..outbound()
    };
    let policy = Some(Policy::from(DefaultPolicy::AllAuthenticated));
    let into = metrics.edge(inbound.clone(), EdgeLabels { policy, ..EdgeLabels::default() });
    into.opened();
    into.request();
    into.denied();
    into.audited();
    into.response(403, Classification::Success, took.0, took.1);
    let plain =
        EdgeKey { protocol: EdgeProtocol::Tcp, security: Security::None("no_tls_from_remote".into()), ..inbound };
    let opaque = metrics.edge(plain, EdgeLabels::default());
    opaque.opened();
    vec![out, into, opaque]
}

fn outbound() -> EdgeKey {
    EdgeKey {
        direction: Direction::Outbound,
        protocol: EdgeProtocol::Http,
        service: Some(BackendKey { namespace: "shop".into(), name: "carts".into(), port: 80 }),
        peer: Some(WorkloadRef {
            namespace: "shop".into(),
            kind: "Deployment".into(),
            name: "carts".into(),
            pod: "carts-1".into(),
        }),
        port: 8080,
        security: Security::Verified("spiffe://cluster.local/ns/shop/sa/carts".into()),
    }
}
