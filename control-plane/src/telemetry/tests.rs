//! Losing, repeating, delaying and restarting neither lose nor double.

use std::time::Duration;

use minimesh_api::histogram::Histogram;
use minimesh_api::model::{
    BackendKey, Direction, EdgeKey, EdgeProtocol, EdgeReport, ReportedEdge, Security, WorkloadRef,
};
use minimesh_api::wire::Report;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::Instant;

use super::ring::{HISTORY, Ring};
use super::store::{Reporter, Store, Taken};

const FIRST: [u8; 16] = [1; 16];
const SECOND: [u8; 16] = [2; 16];
const KNOWN: Taken = Taken { resend_all: false, dropped: 0 };
const MINUTE: Duration = Duration::from_secs(60);

fn reporter() -> Reporter {
    let workload = WorkloadRef {
        namespace: "shop".into(),
        kind: "Deployment".into(),
        name: "front-end".into(),
        pod: "front-end-1".into(),
    };
    Reporter { workload, identity: "spiffe://cluster.local/ns/shop/sa/front-end".into() }
}

fn key(port: u16) -> EdgeKey {
    EdgeKey {
        direction: Direction::Outbound,
        protocol: EdgeProtocol::Http,
        service: Some(BackendKey { namespace: "shop".into(), name: "carts".into(), port: 80 }),
        peer: None,
        port,
        security: Security::Verified("spiffe://cluster.local/ns/shop/sa/carts".into()),
    }
}

/// An edge that has seen so many requests, each of 20 µs and each on a connection of its own, of which one is open.
pub(crate) fn edge(port: u16, requests: u64) -> EdgeReport {
    EdgeReport {
        requests,
        successes: requests,
        tcp_opened: requests,
        tcp_closed: requests.saturating_sub(1),
        bytes_read: requests * 10,
        bytes_written: requests * 100,
        latency: Histogram::from_counts([(20, requests)], requests * 20),
        ..EdgeReport::nothing(key(port))
    }
}

fn report(instance: [u8; 16], uptime: u64, complete: bool, edges: Vec<EdgeReport>) -> Report {
    Report { instance, uptime: Duration::from_secs(uptime), edges, complete }
}

struct World {
    store: Store,
    start: Instant,
}

impl World {
    fn new() -> World {
        // Far enough from the clock's own beginning that any age can be subtracted.
        World { store: Store::default(), start: Instant::now() + HISTORY * 4 }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn report(&mut self, second: u64, report: Report) -> Taken {
        let now = self.at(second);
        self.store.report(&reporter(), report, now)
    }

    fn edges(&self, second: u64, window: Duration) -> Vec<ReportedEdge> {
        self.store.edges(window, self.at(second))
    }

    /// Requests in the window and since the start, of the only edge.
    fn requests(&self, second: u64, window: Duration) -> (u64, u64) {
        match self.edges(second, window).as_slice() {
            [edge] => (edge.edge.requests, edge.total_requests),
            edges => panic!("not one edge: {edges:?}"),
        }
    }
}

#[test]
fn a_young_proxy_is_counted_from_its_start() {
    let mut world = World::new();
    assert_eq!(world.report(100, report(FIRST, 5, true, vec![edge(80, 50)])), KNOWN);
    let edges = world.edges(100, MINUTE);
    let expected = ReportedEdge {
        reporter: reporter().workload,
        reporter_identity: reporter().identity,
        edge: edge(80, 50),
        over: Duration::from_secs(5),
        total_requests: 50,
        total_failures: 0,
        age: Duration::ZERO,
    };
    assert_eq!(edges, [expected]);
}

#[test]
fn a_lost_report_is_contained_in_the_next() {
    let mut world = World::new();
    world.report(0, report(FIRST, 5, true, vec![edge(80, 10)]));
    // The one at 5 s, with 20 requests, never arrives.
    world.report(10, report(FIRST, 15, false, vec![edge(80, 30)]));
    assert_eq!(world.requests(10, MINUTE), (30, 30));
}

#[test]
fn a_repeated_report_adds_nothing() {
    let mut world = World::new();
    for second in [0, 1, 2] {
        world.report(second, report(FIRST, 5, true, vec![edge(80, 10)]));
    }
    assert_eq!(world.requests(2, MINUTE), (10, 10));
}

#[test]
fn a_report_that_comes_late_is_ignored() {
    let mut world = World::new();
    world.report(0, report(FIRST, 5, true, vec![edge(80, 10)]));
    world.report(5, report(FIRST, 15, false, vec![edge(80, 30)]));
    world.report(6, report(FIRST, 10, false, vec![edge(80, 20)]));
    world.report(7, report(FIRST, 20, false, vec![edge(80, 40)]));
    assert_eq!(world.requests(7, MINUTE), (40, 40));
}

#[test]
fn a_restarted_proxy_begins_at_zero_and_what_it_did_before_stays() {
    let mut world = World::new();
    world.report(0, report(FIRST, 5, true, vec![edge(80, 10)]));
    world.report(8, report(SECOND, 3, true, vec![edge(80, 4)]));
    assert_eq!(world.requests(8, MINUTE), (14, 4));
    // The last word of the old process, overtaken by the new one's first.
    world.report(9, report(FIRST, 9, false, vec![edge(80, 12)]));
    assert_eq!(world.requests(9, MINUTE), (16, 4));
    assert_eq!(world.edges(9, MINUTE)[0].over, Duration::from_secs(14));
}

#[test]
fn connections_of_an_earlier_process_are_not_open() {
    let mut world = World::new();
    world.report(0, report(FIRST, 5, true, vec![edge(81, 10)]));
    world.report(8, report(SECOND, 3, true, vec![edge(80, 4)]));
    let open = |edge: &ReportedEdge| (edge.edge.key.port, edge.edge.tcp_opened - edge.edge.tcp_closed);
    assert_eq!(world.edges(8, MINUTE).iter().map(open).collect::<Vec<_>>(), [(80, 1), (81, 0)]);
}

#[test]
fn a_store_that_does_not_know_a_proxy_asks_for_everything_and_counts_nothing_until_then() {
    let mut world = World::new();
    let partial = report(FIRST, 3_600, false, vec![edge(80, 1_000_000)]);
    assert_eq!(world.report(0, partial.clone()), Taken { resend_all: true, dropped: 0 });
    assert_eq!(world.edges(0, MINUTE), []);
    world.report(5, Report { complete: true, uptime: Duration::from_secs(3_605), ..partial });
    // An hour's requests are no traffic of this minute.
    assert_eq!(world.requests(5, MINUTE), (0, 1_000_000));
    world.report(10, report(FIRST, 3_610, false, vec![edge(80, 1_000_050), edge(81, 7)]));
    let counted = |edge: &ReportedEdge| (edge.edge.requests, edge.total_requests, edge.over);
    let edges: Vec<_> = world.edges(10, MINUTE).iter().map(counted).collect();
    assert_eq!(edges, [(50, 1_000_050, Duration::from_secs(5)), (7, 7, Duration::from_secs(5))]);
}

#[test]
fn a_window_holds_what_was_added_in_it() {
    let mut world = World::new();
    for step in 0..=60 {
        world.report(step * 5, report(FIRST, 5 + step * 5, step == 0, vec![edge(80, 5 + step * 5)]));
    }
    for window in [10, 30, 60, 120, 300] {
        let edges = world.edges(300, Duration::from_secs(window));
        assert_eq!(edges[0].edge.requests, edges[0].over.as_secs(), "one request a second in {window} s");
        assert!(edges[0].over.as_secs().abs_diff(window) <= 8, "{window} s: {:?}", edges[0].over);
    }
}

#[test]
fn numbers_stop_when_the_reports_stop() {
    let mut world = World::new();
    world.report(0, report(FIRST, 5, true, vec![edge(80, 100)]));
    world.report(5, report(FIRST, 10, false, vec![edge(80, 200)]));
    assert_eq!(world.requests(5, Duration::from_secs(10)), (200, 200));
    assert_eq!(world.requests(40, Duration::from_secs(10)), (0, 200));
    assert_eq!(world.edges(40, Duration::from_secs(10))[0].age, Duration::from_secs(35));
    assert_eq!(world.edges(70, Duration::from_secs(10)), []);
}

#[test]
fn a_proxy_that_is_silent_for_long_is_forgotten() {
    let mut world = World::new();
    world.report(0, report(FIRST, 5, true, vec![edge(80, 100)]));
    let later = world.at(HISTORY.as_secs() + 1);
    world.store.sweep(later);
    assert!(world.report(2_000, report(FIRST, 2_005, false, vec![edge(80, 101)])).resend_all);
}

#[test]
fn fifteen_minutes_are_a_few_dozen_slots() {
    let start = Instant::now();
    let mut ring = Ring::default();
    for step in 0..1_000u64 {
        let at = |step: u64| start + Duration::from_secs(step * 5);
        ring.push(at(step), at(step + 1), [(key(80), edge(80, 1))].into());
    }
    assert!(ring.len() <= 50, "{}", ring.len());
    let sum = ring.sum(HISTORY, start + Duration::from_secs(5_000));
    let (from, to) = sum.span.expect("slots");
    assert_eq!(sum.added[&key(80)].requests, (to - from).as_secs() / 5);
}

#[derive(Clone, Debug)]
enum Step {
    Late,
    Lost,
    Repeated,
    Restart,
    Sent,
}

proptest! {
    #[test]
    fn whatever_happens_to_reports_every_request_is_counted_once(
        steps in vec((prop_oneof![
            2 => Just(Step::Sent), 1 => Just(Step::Lost), 1 => Just(Step::Repeated), 1 => Just(Step::Late),
            1 => Just(Step::Restart)
        ], 0u64..20), 1..40)
    ) {
        let mut world = World::new();
        let (mut second, mut uptime, mut requests, mut earlier, mut number) = (0, 5, 0, 0, 1u8);
        let mut held: Option<Report> = None;
        let mut fresh = true;
        for (step, more) in steps {
            (second, uptime, requests) = (second + 5, uptime + 5, requests + more);
            let now = report([number; 16], uptime, fresh, vec![edge(80, requests)]);
            match step {
                Step::Lost => {}
                // Kept back, and sent after the next one.
                Step::Late => held = Some(now),
                Step::Sent | Step::Repeated => {
                    let times = if matches!(step, Step::Repeated) { 2 } else { 1 };
                    for _ in 0..times {
                        prop_assert!(!world.report(second, now.clone()).resend_all);
                    }
                    fresh = false;
                    if let Some(held) = held.take() {
                        world.report(second, held);
                    }
                }
                Step::Restart => {
                    // Says its last word, and begins anew.
                    prop_assert!(!world.report(second, now).resend_all);
                    held = None;
                    (earlier, requests, uptime, fresh, number) = (earlier + requests, 0, 0, true, number + 1);
                }
            }
        }
        prop_assert!(!world.report(second + 5, report([number; 16], uptime + 5, fresh, vec![edge(80, requests)])).resend_all);
        let edges = world.edges(second + 5, HISTORY);
        let sum = |count: fn(&ReportedEdge) -> u64| edges.iter().map(count).sum::<u64>();
        prop_assert_eq!(sum(|edge| edge.edge.requests), earlier + requests);
        prop_assert_eq!(sum(|edge| edge.edge.latency.count()), earlier + requests);
        prop_assert_eq!(sum(|edge| edge.total_requests), requests);
    }
}
