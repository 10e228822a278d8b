//! Reports: what is said when, and what is not said again.

use std::time::Duration;

use minimesh_api::model::{Direction, EdgeKey, EdgeProtocol, Security};
use minimesh_api::wire::Report;
use tonic::Status;

use super::{story, story_with_reports};
use crate::metrics::EdgeLabels;

const EVERY: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_replica_is_told_everything_first_then_what_changed_and_nothing_when_nothing_did() {
    story_with_reports(EVERY, async |world| {
        let _stream = world.admitted().await;
        let (one, two) = (world.metrics.edge(edge(1), labels()), world.metrics.edge(edge(2), labels()));
        one.request();
        two.request();
        assert_eq!(said(&world.plane.report().await.take()), (true, vec![(1, 1), (2, 1)]));
        world.plane.no_report_within(Duration::from_secs(60)).await;
        two.request();
        let report = world.plane.report().await.take();
        assert_eq!(said(&report), (false, vec![(2, 2)]));
        two.read(10);
        assert_eq!(said(&world.plane.report().await.take()), (false, vec![(2, 2)]));
        world.plane.no_report_within(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_taken_is_said_again() {
    story_with_reports(EVERY, async |world| {
        let _stream = world.admitted().await;
        let one = world.metrics.edge(edge(1), labels());
        world.plane.report().await.take();
        one.request();
        world.plane.report().await.refuse(Status::unavailable("busy"));
        assert_eq!(said(&world.plane.report().await.take()), (false, vec![(1, 1)]));
        world.plane.no_report_within(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_connection_is_told_everything() {
    story_with_reports(EVERY, async |world| {
        let stream = world.admitted().await;
        let one = world.metrics.edge(edge(1), labels());
        one.request();
        world.plane.report().await.take();
        drop(stream);
        let mut stream = world.plane.stream().await;
        stream.subscriptions(2).await;
        assert_eq!(said(&world.plane.report().await.take()), (true, vec![(1, 1)]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_know_the_process_gets_everything_at_once() {
    story_with_reports(EVERY, async |world| {
        let _stream = world.admitted().await;
        let (one, _two) = (world.metrics.edge(edge(1), labels()), world.metrics.edge(edge(2), labels()));
        world.plane.report().await.take();
        one.request();
        assert_eq!(said(&world.plane.report().await.ask_for_all()), (false, vec![(1, 1)]));
        let (report, pause) = super::took(world.plane.report()).await;
        assert_eq!((said(&report.take()), pause), ((true, vec![(1, 1), (2, 0)]), Duration::ZERO));
        world.plane.no_report_within(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_last_report_has_everything_and_needs_a_connection() {
    story(async |world| {
        let control = std::rc::Rc::clone(&world.control);
        // nothing is dialled for it
        control.last_report().await;
        let _stream = world.admitted().await;
        let one = world.metrics.edge(edge(1), labels());
        one.request();
        let (report, ()) = tokio::join!(async { world.plane.report().await.take() }, control.last_report());
        assert_eq!(said(&report), (true, vec![(1, 1)]));
    })
    .await;
}

/// Whether it has everything; ports of the edges in it, and their requests.
fn said(report: &Report) -> (bool, Vec<(u16, u64)>) {
    (report.complete, report.edges.iter().map(|edge| (edge.key.port, edge.requests)).collect())
}

fn labels() -> EdgeLabels {
    EdgeLabels::default()
}

fn edge(port: u16) -> EdgeKey {
    EdgeKey {
        direction: Direction::Outbound,
        protocol: EdgeProtocol::Http,
        service: None,
        peer: None,
        port,
        security: Security::Verified("spiffe://cluster.local/ns/shop/sa/carts".into()),
    }
}
