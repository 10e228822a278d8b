//! Certificates and trust: asked for, renewed, changed while the stream goes on.

use std::time::Duration;

use minimesh_api::model::{ResourceKey, TrustBundle};
use minimesh_api::wire::State as Content;
use minimesh_identity::authority::Authority;
use tonic::Status;

use super::plane::trust;
use super::{BUNDLE, LIFE, TOKEN, World, front_end, port_state, story, took};

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_at_a_third_of_its_life_while_the_stream_goes_on() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let mut credentials = world.proxy.credentials();
        let first = credentials.borrow_and_update().clone().expect("admitted");
        assert_eq!(*first.id(), front_end());
        let mut call = took(world.plane.certify()).await;
        for renewals in 1..=3 {
            let (at, third) = (call.1.as_secs_f64(), (LIFE / 3).as_secs_f64());
            assert!(at >= third * 0.9 && at <= third * 1.1 + 10.0, "{at} s of {third}");
            call.0.grant(LIFE, LIFE / 3);
            credentials.changed().await.expect("published");
            let renewed = credentials.borrow_and_update().clone().expect("renewed");
            assert_eq!(renewed.generation(), first.generation() + renewals);
            assert_ne!(renewed.leaf().serial(), first.leaf().serial());
            call = took(world.plane.certify()).await;
        }
        let _port = world.proxy.port(80).await;
        stream.subscriptions(1).await;
        stream.put(ResourceKey::Port(80), 1, port_state()).await;
        assert_eq!(world.metric("minimesh_discovery_connections_total"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_should_be_renewed_at_once_is_not_renewed_without_pause() {
    story(async |world| {
        world.plane.certify().await.grant(LIFE, Duration::ZERO);
        let (call, pause) = took(world.plane.certify()).await;
        assert!(pause >= Duration::from_millis(500), "{pause:?}");
        call.grant(LIFE, LIFE / 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_token_is_read_again_for_every_certificate() {
    story(async |world| {
        let call = world.plane.certify().await;
        assert_eq!(call.token, "first");
        world.folder.write(TOKEN, "second\n");
        call.refuse(Status::unauthenticated("unknown token"));
        let call = world.plane.certify().await;
        assert_eq!(call.token, "second");
        assert_eq!(failures(world, "refused"), 1);
        std::fs::remove_file(world.folder.path(TOKEN)).expect("removed");
        call.grant(LIFE, LIFE / 3);
        let mut stream = world.plane.stream().await;
        stream.subscriptions(2).await;
        // at the renewal there is no token; the last certificate stays
        world.plane.no_certify_within(LIFE).await;
        assert!(failures(world, "token_file") > 100, "tried every 5 s at least");
        assert!(world.proxy.credentials().borrow().is_some());
        world.folder.write(TOKEN, "third");
        let (call, pause) = took(world.plane.certify()).await;
        assert_eq!(call.token, "third");
        assert!(pause <= Duration::from_secs(5), "{pause:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_larger_bundle_is_in_force_at_once_and_needs_no_new_certificate() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let mut credentials = world.proxy.credentials();
        let first = credentials.borrow_and_update().clone().expect("admitted");
        let next = Authority::create("cluster.local").expect("an authority");
        let both = trust(&[&world.plane.authority, &next]);
        stream.put(ResourceKey::Trust, 2, Content::Trust(both.clone())).await;
        let changed = credentials.borrow_and_update().clone().expect("published");
        assert_eq!((changed.bundle().roots().len(), changed.generation()), (2, first.generation() + 1));
        assert_eq!(changed.leaf().serial(), first.leaf().serial());
        // the same again changes nothing
        stream.put(ResourceKey::Trust, 3, Content::Trust(both)).await;
        assert!(!credentials.has_changed().expect("open"));
        world.plane.no_certify_within(LIFE / 4).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bundle_without_our_own_root_is_in_force_at_once_and_another_certificate_asked_for() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let next = Authority::create("cluster.local").expect("an authority");
        world.plane.impersonate(&next);
        drop(stream);
        // it trusts the old root alone: the mounted file tells of the new one
        world.folder.write(BUNDLE, &next.bundle().expect("a bundle").to_pem());
        let (call, pause) = took(world.plane.certify()).await;
        assert!(pause <= Duration::from_secs(10), "{pause:?}");
        call.grant_of(&next, LIFE, LIFE / 3);
        stream = world.plane.stream().await;
        stream.subscriptions(2).await;
        stream.put(ResourceKey::Trust, 2, Content::Trust(trust(&[&next]))).await;
        let credentials = world.proxy.credentials().borrow().clone().expect("admitted");
        assert_eq!(*credentials.bundle(), next.bundle().expect("a bundle"));

        let third = Authority::create("cluster.local").expect("an authority");
        stream.put(ResourceKey::Trust, 3, Content::Trust(trust(&[&third]))).await;
        let credentials = world.proxy.credentials().borrow().clone().expect("admitted");
        assert_eq!(
            *credentials.bundle(),
            third.bundle().expect("a bundle"),
            "a bundle that shrinks is in force at once"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_the_root_that_goes_is_replaced_soon_and_no_other() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let next = Authority::create("cluster.local").expect("an authority");
        let roots = trust(&[&world.plane.authority, &next]);
        let issuing = |place| Content::Trust(TrustBundle { issuing: Some(place), ..roots.clone() });
        stream.put(ResourceKey::Trust, 2, issuing(0)).await;
        world.plane.no_certify_within(LIFE / 4).await;
        stream.put(ResourceKey::Trust, 3, issuing(1)).await;
        let (call, pause) = took(world.plane.certify()).await;
        assert!(pause <= Duration::from_secs(10), "{pause:?}");
        call.grant_of(&next, LIFE, LIFE / 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bundle_of_another_trust_domain_is_refused() {
    story(async |world| {
        let mut stream = world.admitted().await;
        let mut other = trust(&[&world.plane.authority]);
        other.trust_domain = "elsewhere.test".to_owned();
        stream.update(ResourceKey::Trust, 2, Content::Trust(other)).await;
        let said = stream.said().await;
        assert!(matches!(said, minimesh_api::wire::Request::Nack { version: 2, .. }), "{said:?}");
        let credentials = world.proxy.credentials().borrow().clone().expect("admitted");
        assert_eq!(*credentials.bundle(), world.plane.bundle());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn someone_else_at_the_control_planes_address_gets_no_token() {
    story(async |world| {
        world.plane.impersonate(&Authority::create("cluster.local").expect("an authority"));
        world.plane.no_certify_within(Duration::from_secs(60)).await;
        assert!(failures(world, "tls") >= 10);
        assert_eq!(failures(world, "unreachable"), 0);
        world.plane.start();
        world.plane.certify().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_control_plane_is_called_a_matter_of_clocks() {
    story(async |world| {
        world.plane.expire();
        world.plane.no_certify_within(Duration::from_secs(60)).await;
        assert!(failures(world, "clock") >= 10);
        assert_eq!(failures(world, "tls"), 0);
        world.plane.start();
        world.plane.certify().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_the_bundle_does_not_vouch_for_is_not_published() {
    story(async |world| {
        let call = world.plane.certify().await;
        call.grant_with_trust_of(&Authority::create("cluster.local").expect("an authority"));
        world.plane.certify().await;
        assert!(world.proxy.credentials().borrow().is_none());
        assert_eq!(failures(world, "protocol"), 1);
    })
    .await;
}

fn failures(world: &World, reason: &str) -> u64 {
    world.metric(&format!("minimesh_identity_failures_total{{reason=\"{reason}\"}}"))
}
