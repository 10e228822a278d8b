//! What several replicas of the control plane say, as if one had said it. Pure.
//!
//! A proxy reports to one replica at a time, and to another one after a while. Reports are cumulative since the proxy's start, so
//! the replica that was told last knows its totals; what was told to others lies before that, and is added where the spans
//! do not overlap. Nothing is counted twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use minimesh_api::model::{EdgeReport, ReportedEdge};

/// Joins the answers of all replicas, which were asked at the same moment.
pub(crate) fn join(answers: Vec<Vec<ReportedEdge>>) -> Vec<ReportedEdge> {
    let mut proxies: BTreeMap<(Arc<str>, Arc<str>), Vec<Told>> = BTreeMap::new();
    for answer in answers {
        let mut told: BTreeMap<(Arc<str>, Arc<str>), Vec<ReportedEdge>> = BTreeMap::new();
        for row in answer {
            told.entry((row.reporter.namespace.clone(), row.reporter.pod.clone())).or_default().push(row);
        }
        for (proxy, rows) in told {
            proxies.entry(proxy).or_default().extend(Told::of(rows));
        }
    }
    proxies.into_values().flat_map(one_proxy).collect()
}

/// What one replica knows of one proxy.
struct Told {
    rows: Vec<ReportedEdge>,
    /// Since the proxy's last report.
    age: Duration,
    /// How long ago the span began that its differences cover; `None`: there are no differences.
    began: Option<Duration>,
}

impl Told {
    fn of(rows: Vec<ReportedEdge>) -> Option<Told> {
        // of one proxy in one answer all rows have the same age and span
        let ReportedEdge { age, over, .. } = *rows.first()?;
        let counted = rows.iter().any(|row| row.edge.requests + row.edge.bytes_read + row.edge.bytes_written > 0);
        // a span that ended long ago reaches to the present already
        let ended = if age <= LATE { age } else { Duration::ZERO };
        Some(Told { age, began: counted.then_some(over + ended), rows })
    }
}

fn one_proxy(mut told: Vec<Told>) -> Vec<ReportedEdge> {
    told.sort_by_key(|told| told.age);
    let mut told = told.into_iter();
    let Some(mut newest) = told.next() else { return Vec::new() };
    let mut from = newest.began.unwrap_or(newest.age);
    for older in told {
        let Some(began) = older.began.filter(|_| older.age + SKEW >= from) else { continue };
        from = from.max(began);
        newest.began = Some(from);
        for row in older.rows {
            add(&mut newest.rows, row);
        }
    }
    if newest.began.is_some() {
        let ended = if newest.age <= LATE { newest.age } else { Duration::ZERO };
        let over = from.saturating_sub(ended);
        newest.rows.iter_mut().for_each(|row| row.over = over);
    }
    let age = newest.age;
    newest.rows.iter_mut().for_each(|row| row.age = age);
    newest.rows
}

/// Differences are added; totals stay those of the newest, and are nothing where that does not know the edge: it is of an earlier
/// process.
fn add(rows: &mut Vec<ReportedEdge>, older: ReportedEdge) {
    let known = rows.iter_mut().find(|row| row.edge.key == older.edge.key);
    let Some(row) = known else {
        let edge = EdgeReport { tcp_opened: 0, tcp_closed: 0, ..older.edge };
        rows.push(ReportedEdge { edge, total_requests: 0, total_failures: 0, ..older });
        return;
    };
    let (edge, more) = (&mut row.edge, older.edge);
    edge.requests += more.requests;
    edge.successes += more.successes;
    edge.failures += more.failures;
    edge.bytes_read += more.bytes_read;
    edge.bytes_written += more.bytes_written;
    edge.latency.add(&more.latency);
    edge.added.add(&more.added);
}

/// As in the control plane's store: a proxy that has been silent for longer is late, and its span reaches to the present.
const LATE: Duration = Duration::from_secs(15);
/// Between the moments at which replicas answer.
const SKEW: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::outbound;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A hundred requests until `age` ago. The span of who is late reaches to the present, as the control plane says it.
    fn row(pod: &str, age: u64, over: u64, total: u64) -> ReportedEdge {
        let mut row = outbound("front-end", "carts");
        row.reporter.pod = pod.into();
        (row.age, row.over, row.total_requests) = (seconds(age), seconds(over), total);
        row
    }

    fn silent(mut row: ReportedEdge) -> ReportedEdge {
        let edge = &mut row.edge;
        (edge.requests, edge.successes, edge.bytes_read, edge.bytes_written) = (0, 0, 0, 0);
        (edge.latency, edge.added) = Default::default();
        row
    }

    /// Requests, span, age and total of the only row.
    fn only(joined: &[ReportedEdge]) -> (u64, u64, u64, u64) {
        let [row] = joined else { panic!("{joined:?}") };
        (row.edge.requests, row.over.as_secs(), row.age.as_secs(), row.total_requests)
    }

    #[test]
    fn proxies_of_different_replicas_stand_beside_each_other_as_they_are() {
        let (a, b) = (row("front-end-1", 1, 20, 100), row("front-end-2", 2, 30, 200));
        assert_eq!(join(vec![vec![b.clone()], vec![a.clone()], vec![]]), [a, b]);
    }

    #[test]
    fn what_a_proxy_told_another_replica_before_is_added() {
        let joined = join(vec![vec![row("front-end-1", 30, 60, 700)], vec![row("front-end-1", 1, 25, 900)]]);
        assert_eq!(only(&joined), (200, 59, 1, 900));
        assert_eq!(joined[0].edge.latency.count(), 200);
    }

    #[test]
    fn a_span_that_is_covered_already_is_not_counted_again() {
        // the second replica was told of everything since the proxy's start
        let joined = join(vec![vec![row("front-end-1", 30, 60, 700)], vec![row("front-end-1", 1, 59, 900)]]);
        assert_eq!(only(&joined), (100, 59, 1, 900));
    }

    #[test]
    fn a_replica_that_was_told_totals_alone_leaves_the_numbers_to_the_one_before() {
        let joined = join(vec![vec![silent(row("front-end-1", 2, 60, 900))], vec![row("front-end-1", 6, 54, 890)]]);
        assert_eq!(only(&joined), (100, 58, 2, 900));
    }

    #[test]
    fn edges_of_a_process_that_is_gone_are_open_no_more() {
        let mut gone = row("front-end-1", 30, 60, 700);
        gone.edge.key.port = 81;
        let joined = join(vec![vec![gone], vec![row("front-end-1", 1, 20, 9)]]);
        let known: Vec<_> = joined
            .iter()
            .map(|row| (row.edge.requests, row.edge.tcp_opened - row.edge.tcp_closed, row.total_requests))
            .collect();
        assert_eq!(known, [(100, 2, 9), (100, 0, 0)]);
    }
}
