//! Reports for tests of merge, table and live: plausible rows of a proxy, changed by the test where it matters.

use std::{sync::Arc, time::Duration};

use minimesh_api::{
    histogram::{Histogram, bucket},
    model::{BackendKey, Direction, EdgeKey, EdgeProtocol, EdgeReport, ReportedEdge, Security, WorkloadRef},
};

/// The identity of a workload with a service account of its own name.
pub(crate) fn spiffe(name: &str) -> Arc<str> {
    format!("spiffe://cluster.local/ns/shop/sa/{name}").into()
}

/// A Deployment's pod.
pub(crate) fn reference(name: &str, pod: &str) -> WorkloadRef {
    WorkloadRef { namespace: "shop".into(), kind: "Deployment".into(), name: name.into(), pod: pod.into() }
}

/// `client` called `server` a hundred times in twenty seconds and verified it.
pub(crate) fn outbound(client: &str, server: &str) -> ReportedEdge {
    let key = EdgeKey {
        direction: Direction::Outbound,
        protocol: EdgeProtocol::Http,
        service: Some(BackendKey { namespace: "shop".into(), name: server.into(), port: 80 }),
        peer: Some(reference(server, &format!("{server}-1"))),
        port: 80,
        security: Security::Verified(spiffe(server)),
    };
    row(client, key)
}

/// `server` was called by `client` and verified it.
pub(crate) fn inbound(server: &str, client: &str) -> ReportedEdge {
    let key = EdgeKey {
        direction: Direction::Inbound,
        protocol: EdgeProtocol::Http,
        service: None,
        peer: None,
        port: 80,
        security: Security::Verified(spiffe(client)),
    };
    row(server, key)
}

/// `server` was asked in plaintext by its own node.
pub(crate) fn probe(server: &str) -> ReportedEdge {
    let mut row = inbound(server, "node");
    row.edge.key.security = Security::None(Security::NODE.into());
    row
}

/// The same over plain TCP: no requests, no latencies.
pub(crate) fn tcp(mut row: ReportedEdge) -> ReportedEdge {
    row.edge.key.protocol = EdgeProtocol::Tcp;
    row.edge = EdgeReport {
        requests: 0,
        successes: 0,
        failures: 0,
        latency: Histogram::default(),
        added: Histogram::default(),
        ..row.edge
    };
    row.total_requests = 0;
    row
}

fn row(reporter: &str, key: EdgeKey) -> ReportedEdge {
    let latency = |microseconds: u64, count| (bucket(microseconds) as u32, count);
    let edge = EdgeReport {
        key,
        requests: 100,
        successes: 100,
        failures: 0,
        tcp_opened: 5,
        tcp_closed: 3,
        bytes_read: 123_456,
        bytes_written: 7_890,
        latency: Histogram::from_counts([latency(900, 60), latency(2_500, 38), latency(21_000, 2)], 191_000),
        added: Histogram::from_counts([latency(80, 100)], 8_000),
    };
    ReportedEdge {
        reporter: reference(reporter, &format!("{reporter}-1")),
        reporter_identity: spiffe(reporter),
        edge,
        over: Duration::from_secs(20),
        total_requests: 100,
        total_failures: 0,
        age: Duration::from_secs(1),
    }
}
