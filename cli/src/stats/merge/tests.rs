//! Reports as proxies would send them, told as a story: who dialled whom, and what each side verified.

use minimesh_api::model::{BackendKey, EdgeKey, EdgeReport};

use super::*;
use crate::stats::testing::{inbound, outbound, probe, reference, spiffe, tcp};

fn edge<'e>(edges: &'e [Edge], source: &str, destination: &str) -> &'e Edge {
    let found =
        edges.iter().find(|edge| edge.source.to_string() == source && edge.destination.to_string() == destination);
    found.unwrap_or_else(|| panic!("no edge {source} -> {destination} in {edges:#?}"))
}

#[test]
fn an_edge_is_secured_when_both_sides_verified_each_other() {
    let rows = [outbound("front-end", "carts"), inbound("carts", "front-end")];
    let edges = edges(&rows);
    assert_eq!(edges.len(), 1);
    assert_eq!(edges[0].secured, Secured::Yes);
    assert_eq!(edges[0].client_identity, Some(spiffe("front-end")));
    assert_eq!(edges[0].server_identity, Some(spiffe("carts")));
}

#[test]
fn workloads_that_share_an_identity_are_each_secured_by_the_servers_report_of_it() {
    let shared = |mut row: ReportedEdge| {
        row.reporter_identity = spiffe("default");
        row
    };
    let rows = [shared(outbound("browser", "carts")), shared(outbound("client", "carts")), inbound("carts", "default")];
    let edges = edges(&rows);
    assert_eq!(edges.len(), 2);
    assert!(edge(&edges, "browser", "carts").secured.is_yes());
    assert!(edge(&edges, "client", "carts").secured.is_yes());
}

#[test]
fn one_sided_reports_are_not_secured_and_say_who_is_missing() {
    let only_client = [outbound("front-end", "carts"), inbound("carts", "orders"), outbound("orders", "carts")];
    let merged = edges(&only_client);
    let reason = "carts did not report that it verified front-end";
    assert_eq!(edge(&merged, "front-end", "carts").secured, Secured::No(reason.into()));
    assert!(edge(&merged, "orders", "carts").secured.is_yes());

    let only_server = edges(&[inbound("carts", "front-end"), outbound("front-end", "user")]);
    let reason = "front-end did not report that it verified carts";
    assert_eq!(edge(&only_server, "front-end", "carts").secured, Secured::No(reason.into()));
}

#[test]
fn a_server_that_never_reports_is_not_secured_whatever_the_client_says() {
    let edges = edges(&[outbound("front-end", "carts")]);
    assert_eq!(edge(&edges, "front-end", "carts").secured, Secured::No("carts did not report".into()));
}

#[test]
fn a_side_that_may_still_report_is_waited_for() {
    let young = ReportedEdge { over: Duration::from_secs(5), ..outbound("front-end", "carts") };
    let merged = edges(std::slice::from_ref(&young));
    assert_eq!(merged[0].secured, Secured::NotYet("carts did not report".into()));
    let mut plain = young;
    plain.edge.key.security = Security::None("not_meshed".into());
    assert!(matches!(edges(&[plain])[0].secured, Secured::No(_)), "what is known to be plaintext is said at once");
}

#[test]
fn a_client_that_verified_somebody_else_is_not_secured() {
    let mut wrong = outbound("front-end", "carts");
    wrong.edge.key.security = Security::Verified(spiffe("mallory"));
    let edges = edges(&[wrong, inbound("carts", "front-end")]);
    let Secured::No(reason) = &edge(&edges, "front-end", "carts").secured else { panic!("secured") };
    assert!(reason.contains(&*spiffe("mallory")), "{reason}");
}

#[test]
fn one_plaintext_row_among_verified_ones_unsecures_the_edge() {
    let mut plain = outbound("front-end", "carts");
    plain.edge.key.security = Security::None("not_meshed".into());
    let edges = edges(&[outbound("front-end", "carts"), plain, inbound("carts", "front-end")]);
    let reason = "front-end saw no verified identity (not_meshed)";
    assert_eq!(edge(&edges, "front-end", "carts").secured, Secured::No(reason.into()));
}

#[test]
fn plaintext_clients_are_an_edge_of_their_own_and_do_not_taint_others() {
    let mut stranger = inbound("carts", "nobody");
    stranger.edge.key.security = Security::None("no_tls_from_remote".into());
    stranger.edge.requests = 100;
    let edges = edges(&[outbound("front-end", "carts"), inbound("carts", "front-end"), stranger]);
    assert!(edge(&edges, "front-end", "carts").secured.is_yes());
    assert!(!edge(&edges, "unknown", "carts").secured.is_yes());
}

#[test]
fn what_came_from_a_node_is_no_edge_but_is_told() {
    let mut stranger = inbound("user", "nobody");
    stranger.edge.key.security = Security::None("no_tls_from_remote".into());
    let rows = [probe("carts"), tcp(probe("carts-db")), stranger];
    assert_eq!(edges(&rows[..2]), []);
    assert_eq!(edges(&rows).len(), 1);
    let names: Vec<String> = asked_by_nodes(&rows).iter().map(|workload| workload.name.to_string()).collect();
    assert_eq!(names, ["carts", "carts-db"]);
    let carts = &served(&rows, false)[0];
    assert_eq!((&*carts.workload.name, carts.numbers.requests), ("carts", 0));
}

#[test]
fn plaintext_of_the_time_before_the_mesh_is_forgotten_with_the_window() {
    let mut before = outbound("front-end", "carts");
    before.edge.key.security = Security::None("not_meshed".into());
    before.edge.key.peer = Some(reference("carts", "carts-0"));
    // nothing within the window, nothing open; a hundred requests since the start
    before.edge = EdgeReport::nothing(before.edge.key);
    let mut stranger = inbound("carts", "nobody");
    stranger.edge.key.security = Security::None("no_tls_from_remote".into());
    stranger.edge = EdgeReport::nothing(stranger.edge.key);
    let rows = [before, outbound("front-end", "carts"), inbound("carts", "front-end"), stranger];
    let edges = edges(&rows);
    assert_eq!(edges.len(), 1, "{edges:#?}");
    assert_eq!(edges[0].secured, Secured::Yes);
    assert_eq!(served(&rows, false)[0].meshed, (1, 1), "the pod of that time is gone");
}

#[test]
fn a_client_without_identity_is_shown_however_quiet_it_is() {
    let mut http = inbound("carts", "nobody");
    http.edge.key.security = Security::None("no_tls_from_remote".into());
    (http.edge.requests, http.total_requests) = (1, 1);
    let mut connect = tcp(inbound("carts-db", "nobody"));
    connect.edge.key.security = Security::None("no_tls_from_remote".into());
    connect.edge = EdgeReport { tcp_opened: 1, tcp_closed: 1, bytes_read: 0, bytes_written: 0, ..connect.edge };
    let edges = edges(&[http, connect]);
    assert_eq!(edges.len(), 2);
    for server in ["carts", "carts-db"] {
        assert!(matches!(edge(&edges, "unknown", server).secured, Secured::No(_)), "{server}");
    }
}

#[test]
fn a_connection_that_only_found_out_who_speaks_first_is_part_of_the_http_edge() {
    let silent = |row| {
        let mut row = tcp(row);
        (row.edge.bytes_read, row.edge.bytes_written) = (0, 0);
        row
    };
    let rows = [
        outbound("front-end", "carts"),
        inbound("carts", "front-end"),
        silent(outbound("front-end", "carts")),
        silent(inbound("carts", "front-end")),
        silent(outbound("carts", "carts-db")),
        silent(inbound("carts-db", "carts")),
    ];
    let edges = edges(&rows);
    let found: Vec<_> = edges.iter().map(|edge| (edge.source.to_string(), edge.protocol)).collect();
    assert_eq!(found, [("carts".into(), EdgeProtocol::Tcp), ("front-end".into(), EdgeProtocol::Http)]);
    assert!(edges.iter().all(|edge| edge.secured.is_yes()));
}

#[test]
fn an_identity_that_nobody_reports_as_keeps_its_name() {
    let edges = edges(&[inbound("carts", "ghost")]);
    assert_eq!(edges[0].source, Party::Identity(spiffe("ghost")));
    assert!(!edges[0].secured.is_yes());
}

#[test]
fn workloads_that_share_an_identity_are_told_apart_by_what_they_dialled() {
    let mut shared = outbound("batch", "carts");
    shared.reporter_identity = spiffe("front-end");
    let rows = [outbound("front-end", "user"), inbound("user", "front-end"), shared, inbound("carts", "front-end")];
    let edges = edges(&rows);
    assert!(edge(&edges, "batch", "carts").secured.is_yes());
    assert!(edge(&edges, "front-end", "user").secured.is_yes());
}

#[test]
fn replicas_add_up_and_the_clients_numbers_win() {
    let mut second = outbound("front-end", "carts");
    second.reporter.pod = "front-end-2".into();
    second.edge.requests = 40;
    second.over = Duration::from_secs(40);
    let mut server = inbound("carts", "front-end");
    server.edge.requests = 7777;
    let edges = edges(&[outbound("front-end", "carts"), second, server]);
    let numbers = &edge(&edges, "front-end", "carts").numbers;
    // 100 requests in 20 s, and 40 in 40 s
    assert_eq!((numbers.requests, numbers.rps), (140, 6.0));
    assert_eq!(numbers.success_rate(), Some(1.0));
}

#[test]
fn a_failure_before_an_endpoint_was_chosen_counts_for_the_workload_behind_the_service() {
    let mut failed = outbound("front-end", "carts");
    failed.edge.key.peer = None;
    failed.edge.key.security = Security::None("no_endpoints".into());
    failed.edge = EdgeReport {
        requests: 2,
        failures: 2,
        successes: 0,
        tcp_opened: 0,
        tcp_closed: 0,
        bytes_read: 0,
        bytes_written: 0,
        ..failed.edge
    };
    failed.total_requests = 2;
    failed.total_failures = 2;
    let edges = edges(&[outbound("front-end", "carts"), failed.clone(), inbound("carts", "front-end")]);
    let carts = edge(&edges, "front-end", "carts");
    assert!(carts.secured.is_yes(), "nothing went over a wire in the clear");
    assert_eq!(carts.numbers.total_failures, 2);
    assert_eq!(super::edges(&[failed])[0].destination.to_string(), "carts");
}

#[test]
fn what_carried_nothing_or_never_left_the_pod_is_no_edge() {
    let mut quiet = outbound("front-end", "carts");
    quiet.edge =
        EdgeReport { requests: 0, tcp_opened: 0, tcp_closed: 0, bytes_read: 0, bytes_written: 0, ..quiet.edge };
    quiet.total_requests = 0;
    let mut own = outbound("front-end", "front-end");
    own.edge.key.security = Security::None("loopback".into());
    assert_eq!(edges(&[quiet, own]), []);
}

#[test]
fn a_gone_proxy_has_no_open_connections_but_its_counts_stay() {
    let mut gone = outbound("front-end", "carts");
    gone.age = Duration::from_secs(300);
    let edges = edges(&[gone]);
    assert_eq!((edges[0].numbers.tcp_open, edges[0].numbers.requests), (0, 100));
}

#[test]
fn workloads_count_what_comes_in_and_how_many_pods_report() {
    let mut unmeshed = outbound("front-end", "carts");
    unmeshed.edge.key.peer = Some(reference("carts", "carts-2"));
    let rows = [outbound("front-end", "carts"), unmeshed, inbound("carts", "front-end")];
    let all = served(&rows, false);
    let carts = all.iter().find(|row| &*row.workload.name == "carts").unwrap();
    assert_eq!((carts.meshed, carts.numbers.requests), ((1, 2), 100));
    let front_end = all.iter().find(|row| &*row.workload.name == "front-end").unwrap();
    assert_eq!((front_end.meshed, front_end.numbers.requests), ((1, 1), 0));
    let pods = served(&rows, true);
    let names: Vec<_> = pods.iter().filter_map(|row| row.pod.as_deref()).collect();
    assert_eq!(names, ["carts-1", "carts-2", "front-end-1"]);
}

/// Every combination of what the two sides may say, against the sentence in the issue.
#[test]
fn secured_means_that_both_sides_verified_the_others_identity() {
    let client_says = [
        None,
        Some(Security::Verified(spiffe("b"))),
        Some(Security::Verified(spiffe("x"))),
        Some(Security::None("r".into())),
    ];
    let server_says = [
        None,
        Some(Security::Verified(spiffe("a"))),
        Some(Security::Verified(spiffe("x"))),
        Some(Security::None("r".into())),
    ];
    for client in &client_says {
        for server in &server_says {
            // both are known to the mesh through other edges
            let mut rows = vec![outbound("a", "c"), outbound("b", "c")];
            rows.extend(client.clone().map(|security| {
                let mut row = outbound("a", "b");
                row.edge.key.security = security;
                row
            }));
            rows.extend(server.clone().map(|security| {
                let mut row = inbound("b", "a");
                row.edge.key.security = security;
                row
            }));
            let edges = edges(&rows);
            let found = edges.iter().find(|edge| edge.source.to_string() == "a" && edge.destination.to_string() == "b");
            let expected = *client == client_says[1] && *server == server_says[1];
            assert_eq!(found.is_some_and(|edge| edge.secured.is_yes()), expected, "{client:?} {server:?}");
        }
    }
}

#[test]
fn every_row_is_counted_in_exactly_one_edge_whatever_the_order() {
    let mut rows = Vec::new();
    for (client, server) in [("a", "b"), ("a", "c"), ("b", "c"), ("c", "a"), ("d", "a")] {
        rows.extend([outbound(client, server), inbound(server, client)]);
    }
    rows.push(ReportedEdge {
        edge: EdgeReport {
            key: EdgeKey {
                service: Some(BackendKey { namespace: "shop".into(), name: "c".into(), port: 80 }),
                ..outbound("e", "c").edge.key
            },
            ..outbound("e", "c").edge
        },
        ..outbound("e", "c")
    });
    let forwards = edges(&rows);
    rows.reverse();
    assert_eq!(forwards, edges(&rows));
    assert_eq!(forwards.iter().map(|edge| edge.numbers.requests).sum::<u64>(), 600);
}
