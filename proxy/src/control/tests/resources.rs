//! What is asked for, taken, refused and forgotten.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::grpc::{self, endpoints, update};
use minimesh_api::model::{
    Endpoint, EndpointState, Endpoints, EndpointsDelta, HttpMatch, HttpRoute, HttpRule, ObjectRef, PassthroughReason,
    PathMatch, PlaintextReason, Protocol, ResourceKey, RuleOrder, ServiceTarget, Target, Timeouts, Transport,
};
use minimesh_api::wire::{EndpointsPart, Invalid, Request, State as Content};
use tokio::sync::watch;

use super::plane::Stream;
use super::{World, carts, port_state, story, took};
use crate::control::resources::MOST;
use crate::control::{State, TargetSnapshot};

#[tokio::test(start_paused = true)]
async fn a_route_that_cannot_be_compiled_is_refused_by_its_field_and_the_last_good_state_stays() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let target = world.proxy.target(address(1)).await;
        let key = ResourceKey::Target(address(1));
        assert_eq!(stream.subscriptions(1).await, [(key.clone(), None)]);
        stream.put(key.clone(), 1, Content::Target(Target::Passthrough(PassthroughReason::UndefinedPort))).await;
        stream.update(key.clone(), 2, Content::Target(service(PathMatch::Regex("(".into())))).await;
        let Request::Nack { key: refused, version: 2, invalid } = stream.said().await else { panic!("no nack") };
        assert_eq!(refused, key);
        assert_eq!(invalid.field, "service.http_routes[0].rules[0].matches[0].path");
        let known = target.borrow().known().cloned();
        assert!(matches!(known.as_deref(), Some(TargetSnapshot::Passthrough(PassthroughReason::UndefinedPort))));
        assert_eq!(world.metric("minimesh_discovery_nacks_total"), 1);
        stream.put(key, 3, Content::Target(service(PathMatch::Exact("/".into())))).await;
        let known = target.borrow().known().cloned();
        assert!(matches!(known.as_deref(), Some(TargetSnapshot::Service { .. })));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_protocol_does_not_allow_is_refused_by_its_field() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let _target = world.proxy.target(address(1)).await;
        let key = ResourceKey::Target(address(1));
        stream.subscriptions(1).await;
        let nothing = grpc::Target { kind: Some(grpc::target::Kind::Passthrough(grpc::Passthrough { reason: 0 })) };
        let state = Some(update::State::Target(nothing));
        stream.raw(grpc::Update { resource: Some((&key).into()), version: 4, state }).await;
        let Request::Nack { version: 4, invalid, .. } = stream.said().await else { panic!("no nack") };
        assert_eq!(invalid.field, "passthrough.reason");
        stream.silence(Duration::from_secs(5)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_come_in_chunks_and_change_by_deltas() {
    story(async |world| {
        let (mut stream, endpoints) = asked(world).await;
        stream.update(key(), 1, full([1, 2], true)).await;
        stream.silence(Duration::from_secs(1)).await;
        assert_eq!(*endpoints.borrow(), State::Pending, "a part is nothing");
        stream.put(key(), 1, full([3], false)).await;
        assert_eq!(*endpoints.borrow(), known([1, 2, 3]));
        stream.put(key(), 2, delta(1, [4], [2], false)).await;
        assert_eq!(*endpoints.borrow(), known([1, 3, 4]));
        stream.update(key(), 3, delta(2, [5], [], true)).await;
        stream.put(key(), 3, delta(2, [], [1], false)).await;
        assert_eq!(*endpoints.borrow(), known([3, 4, 5]));
        stream.put(key(), 4, full([], false)).await;
        assert_eq!(*endpoints.borrow(), known([]), "emptiness is explicit");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delta_against_another_base_is_refused_and_everything_asked_for_anew_once() {
    story(async |world| {
        let (mut stream, endpoints) = asked(world).await;
        stream.put(key(), 1, full([1], false)).await;
        let nack = |version| Request::Nack {
            key: key(),
            version,
            invalid: Invalid::new("delta.base_version", "not the version acknowledged last"),
        };
        stream.update(key(), 3, delta(2, [3], [], false)).await;
        assert_eq!(stream.said().await, nack(3));
        assert_eq!(stream.subscriptions(1).await, [(key(), None)]);
        assert_eq!(*endpoints.borrow(), known([1]));
        stream.update(key(), 3, delta(2, [3], [], false)).await;
        assert_eq!(stream.said().await, nack(3));
        stream.silence(Duration::from_secs(5)).await;
        stream.put(key(), 3, full([2, 3], false)).await;
        assert_eq!(*endpoints.borrow(), known([2, 3]));
        // it may happen again
        stream.update(key(), 5, delta(4, [3], [], false)).await;
        assert_eq!(stream.said().await, nack(5));
        assert_eq!(stream.subscriptions(1).await, [(key(), None)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_refused_series_of_chunks_does_not_pass_for_the_whole() {
    story(async |world| {
        let (mut stream, endpoints) = asked(world).await;
        stream.update(key(), 1, full([1], true)).await;
        let nameless = grpc::Endpoint::default();
        let body = Some(endpoints::Body::Full(endpoints::Full { endpoints: vec![nameless] }));
        let state = Some(update::State::Endpoints(grpc::Endpoints { body, more: true }));
        stream.raw(grpc::Update { resource: Some((&key()).into()), version: 1, state }).await;
        let Request::Nack { version: 1, invalid, .. } = stream.said().await else { panic!("no nack") };
        assert_eq!(invalid.field, "full.endpoints[0].transport");
        stream.update(key(), 1, full([3], false)).await;
        stream.silence(Duration::from_secs(5)).await;
        assert_eq!(*endpoints.borrow(), State::Pending);
        stream.put(key(), 1, full([1, 2, 3], false)).await;
        assert_eq!(*endpoints.borrow(), known([1, 2, 3]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn chunks_of_a_broken_stream_do_not_mix_with_those_of_the_next() {
    story(async |world| {
        let (stream, endpoints) = asked(world).await;
        stream.update(key(), 1, full([1], true)).await;
        drop(stream);
        let mut stream = world.plane.stream().await;
        stream.subscriptions(3).await;
        stream.put(key(), 1, full([2], false)).await;
        assert_eq!(*endpoints.borrow(), known([2]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_for_a_minute_is_no_longer_asked_for() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let read = world.proxy.port(80).await;
        let left = world.proxy.port(81).await;
        stream.subscriptions(2).await;
        drop(left);
        stream.silence(Duration::from_secs(50)).await;
        // somebody comes back: its minute begins again
        drop(world.proxy.port(81).await);
        let (said, pause) = took(stream.said()).await;
        assert_eq!(said, Request::Unsubscribe { key: ResourceKey::Port(81) });
        assert!(pause >= Duration::from_secs(60) && pause <= Duration::from_secs(90), "{pause:?}");
        stream.silence(Duration::from_secs(600)).await;
        drop(read);
        assert_eq!(stream.said().await, Request::Unsubscribe { key: ResourceKey::Port(80) });
        assert_eq!(world.metric("minimesh_discovery_subscriptions"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_the_resource_idle_for_longest_makes_room_and_read_ones_stay() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let mut ports = Vec::new();
        for port in 1..=MOST as u16 {
            ports.push(world.proxy.port(port).await);
        }
        stream.subscriptions(MOST).await;
        let refused = world.proxy.port(2_000).await;
        stream.silence(Duration::from_secs(1)).await;
        assert_eq!(*refused.borrow(), State::Pending);
        assert_eq!(world.metric("minimesh_discovery_refused_subscriptions_total"), 1);

        ports.remove(499); // port 500
        stream.silence(Duration::from_secs(20)).await;
        ports.remove(2); // port 3
        stream.silence(Duration::from_secs(20)).await;
        ports.push(world.proxy.port(2_001).await);
        assert_eq!(stream.said().await, Request::Unsubscribe { key: ResourceKey::Port(500) });
        assert_eq!(stream.subscriptions(1).await, [(ResourceKey::Port(2_001), None)]);
        ports.push(world.proxy.port(2_002).await);
        assert_eq!(stream.said().await, Request::Unsubscribe { key: ResourceKey::Port(3) });
        stream.subscriptions(1).await;
        stream.put(ResourceKey::Port(2_002), 1, port_state()).await;
        assert_eq!(world.metric("minimesh_discovery_subscriptions"), MOST as u64);
    })
    .await;
}

/// A stream on which the endpoints of carts were asked for.
async fn asked(world: &mut World) -> (Stream, watch::Receiver<State<Arc<Endpoints>>>) {
    let mut stream = world.admitted().await;
    let endpoints = world.proxy.endpoints(&carts()).await;
    assert_eq!(stream.subscriptions(1).await, [(key(), None)]);
    (stream, endpoints)
}

fn key() -> ResourceKey {
    ResourceKey::Endpoints(carts())
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 42, 0, last], 80))
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint {
        address: address(last),
        transport: Transport::Plaintext(PlaintextReason::NotMeshed),
        state: EndpointState::Serving,
        workload: None,
        zone: None,
    }
}

fn known<const N: usize>(last: [u8; N]) -> State<Arc<Endpoints>> {
    State::Known(Arc::new(Endpoints(last.map(endpoint).into())))
}

fn full<const N: usize>(last: [u8; N], more: bool) -> Content {
    Content::Endpoints(EndpointsPart::Full { endpoints: last.map(endpoint).into(), more })
}

fn delta<const N: usize, const M: usize>(base_version: u64, upserts: [u8; N], removed: [u8; M], more: bool) -> Content {
    let delta =
        EndpointsDelta { base_version, upserts: upserts.map(endpoint).into(), removed: removed.map(address).into() };
    Content::Endpoints(EndpointsPart::Delta { delta, more })
}

fn service(path: PathMatch) -> Target {
    let matches = vec![HttpMatch::All { path, headers: vec![], query: vec![], method: None }];
    let timeouts = Timeouts::default();
    let rule =
        HttpRule { name: "".into(), matches, filters: vec![], backends: vec![], timeouts, retry: None, session: None };
    let object = ObjectRef {
        group: "gateway.networking.k8s.io".into(),
        kind: "HTTPRoute".into(),
        namespace: "shop".into(),
        name: "carts".into(),
    };
    let http_routes = vec![HttpRoute { object, order: RuleOrder::Specificity, rules: vec![rule] }];
    Target::Service(ServiceTarget { service: carts(), protocol: Protocol::Detect, http_routes, client_affinity: None })
}
