//! Streams that begin, break and end.

use std::time::Duration;

use minimesh_api::model::ResourceKey;
use minimesh_api::wire::{Request, State as Content};
use tokio::time::Instant;

use super::{LIFE, carts, port_policy, port_state, story, took};
use crate::control::State;

#[tokio::test(start_paused = true)]
async fn a_restarted_control_plane_is_told_what_is_held_and_nothing_is_lost_meanwhile() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let port = world.proxy.port(80).await;
        assert_eq!(stream.subscriptions(1).await, [(ResourceKey::Port(80), None)]);
        stream.put(ResourceKey::Port(80), 7, port_state()).await;
        let _endpoints = world.proxy.endpoints(&carts()).await;
        assert_eq!(stream.subscriptions(1).await, [(ResourceKey::Endpoints(carts()), None)]);

        world.plane.stop();
        world.plane.attempt().await;
        assert_eq!(*port.borrow(), State::Known(port_policy()));
        let _asked_meanwhile = world.proxy.port(81).await;
        world.plane.start();

        let (mut stream, pause) = took(world.plane.stream()).await;
        assert!(pause <= Duration::from_secs(5), "{pause:?}");
        let expected = [
            (ResourceKey::Endpoints(carts()), None),
            (ResourceKey::Port(80), Some(7)),
            (ResourceKey::Port(81), None),
            (ResourceKey::Trust, None),
            (ResourceKey::Workload, None),
        ];
        assert_eq!(stream.subscriptions(5).await, expected);
        stream.silence(Duration::from_secs(30)).await;
        assert_eq!(world.metric("minimesh_discovery_connections_total"), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_reached_its_age_is_followed_by_the_next_at_once() {
    story(async |world| {
        let mut stream = world.admitted().await;
        for _ in 0..3 {
            stream.silence(Duration::from_secs(1_800)).await;
            drop(stream);
            let pause;
            (stream, pause) = took(world.plane.stream()).await;
            assert!(pause <= Duration::from_millis(200), "{pause:?}");
            stream.subscriptions(2).await;
        }
        assert_eq!(world.metric("minimesh_discovery_failures_total{reason=\"unavailable\"}"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_as_soon_as_it_has_begun_is_opened_again_with_growing_pauses() {
    story(async |world| {
        drop(world.admitted().await);
        let begun = Instant::now();
        for _ in 0..40 {
            drop(world.plane.stream().await);
        }
        // full jitter between 10 ms and a bound of 5 s: 40 pauses are 100 s in the mean
        let all = begun.elapsed();
        assert!(all > Duration::from_secs(30) && all < Duration::from_secs(200), "{all:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_is_down_at_the_start_is_asked_within_bounds_until_it_comes() {
    story(async |world| {
        world.plane.stop();
        let mut last = world.plane.attempt().await;
        for _ in 0..30 {
            let attempt = world.plane.attempt().await;
            let pause = attempt - last;
            assert!(pause >= Duration::from_millis(10) && pause <= Duration::from_secs(5), "{pause:?}");
            last = attempt;
        }
        assert!(world.proxy.credentials().borrow().is_none());
        // the last one may not have been noticed yet
        let failures = world.metric("minimesh_identity_failures_total{reason=\"unreachable\"}");
        assert!((30..=31).contains(&failures), "{failures}");
        world.plane.start();
        let (call, pause) = took(world.plane.certify()).await;
        assert!(pause <= Duration::from_secs(5), "{pause:?}");
        call.grant(LIFE, LIFE / 3);
        world.plane.stream().await.subscriptions(2).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_workload_is_published_and_its_version_named_to_the_next_stream() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let workload = minimesh_api::model::Workload {
            workload: minimesh_api::model::WorkloadRef {
                namespace: "shop".into(),
                kind: "Deployment".into(),
                name: "front-end".into(),
                pod: "front-end-1".into(),
            },
            draining: false,
            cluster_networks: vec!["10.42.0.0/16".parse().expect("a network")],
            node_ips: vec!["10.42.0.1".parse().expect("an address")],
            probes: Vec::new(),
            grpc_probes: Vec::new(),
        };
        stream.put(ResourceKey::Workload, 3, Content::Workload(workload.clone())).await;
        assert_eq!(world.proxy.workload().borrow().known().map(|known| (**known).clone()), Some(workload));
        stream.silence(Duration::from_secs(60)).await;
        drop(stream);
        let mut stream = world.plane.stream().await;
        let expected = [(ResourceKey::Trust, None), (ResourceKey::Workload, Some(3))];
        assert_eq!(stream.subscriptions(2).await, expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_asked_for_is_not_answered() {
    story(async |world| {
        let mut stream = world.admitted().await;
        stream.update(ResourceKey::Port(80), 1, port_state()).await;
        stream.silence(Duration::from_secs(5)).await;
        let _port = world.proxy.port(80).await;
        assert_eq!(stream.said().await, Request::Subscribe { key: ResourceKey::Port(80), held_version: None });
    })
    .await;
}
