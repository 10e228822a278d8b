//! A proxy whose clock is outside of somebody's certificate says "clock", and recovers by itself when the clock is set.

use std::time::Duration;

use minimesh_identity::PeerError;
use tokio::time::sleep;

use super::{LIFE, World, story, took};

/// More than any certificate here lives, and less than their authority does.
const DAYS: i64 = 3 * 24 * 60 * 60;

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_wrong_from_the_start_is_named_and_the_token_kept() {
    for wrong in [DAYS, -DAYS] {
        story(async |world| {
            world.clock.set(wrong);
            world.plane.no_certify_within(Duration::from_secs(60)).await;
            assert!(clock(world) >= 10, "{wrong}");
            assert_eq!(failures(world, "tls"), 0, "{wrong}: nothing else is at fault");
            world.clock.set(0);
            let (call, pause) = took(world.plane.certify()).await;
            assert!(pause <= Duration::from_secs(5), "{wrong}: {pause:?}");
            call.grant(LIFE, LIFE / 3);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_out_of_the_certificate_is_named_and_the_certificate_stays() {
    story(async |world| {
        let _stream = world.admitted().await;
        let first = world.proxy.credentials().borrow().clone().expect("admitted");
        assert_eq!(clock(world), 0);
        world.clock.set(DAYS);
        // certificates age by the wall's clock, which is looked at once a minute
        world.plane.no_certify_within(Duration::from_secs(120)).await;
        assert!(clock(world) >= 10);
        let kept = world.proxy.credentials().borrow().clone().expect("still there");
        assert_eq!(kept.generation(), first.generation(), "peers' clocks may be right");
        world.clock.set(0);
        world.plane.certify().await.grant(LIFE, LIFE / 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_issued_and_does_not_hold_by_this_clock_is_used_and_the_clock_named() {
    story(async |world| {
        // within the control plane's certificate, not within the short one that comes
        world.clock.set(600);
        world.plane.certify().await.grant(Duration::from_secs(60), Duration::from_secs(20));
        let mut credentials = world.proxy.credentials();
        let used = credentials.wait_for(Option::is_some).await.expect("published").clone().expect("there");
        let judged = used.check_own(used.leaf().not_after() + Duration::from_secs(1));
        assert!(matches!(judged, Err(PeerError::Expired { .. })), "{judged:?}");
        while clock(world) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(failures(world, "protocol"), 0);
    })
    .await;
}

fn clock(world: &World) -> u64 {
    failures(world, "clock")
}

fn failures(world: &World, reason: &str) -> u64 {
    world.metric(&format!("minimesh_identity_failures_total{{reason=\"{reason}\"}}"))
}
