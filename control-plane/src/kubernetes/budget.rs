//! How often the API server is asked whose token it is. Anybody who reaches the control plane can have it ask: without a bound a
//! stranger would put the load of the mesh's own start on the API server for as long as he likes. An address has so many questions at once
//! and then one at a time; and all together wait for each other in the order in which they came, for a moment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout};

/// What is left of it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// When each address that asked of late would have asked, had it kept to one question at a time.
    spent: Arc<watch::Sender<BTreeMap<IpAddr, Instant>>>,
    at_once: Arc<Semaphore>,
}

/// Why a question is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Exhausted {
    #[error("too many tokens from this address; one in {EACH:?} is looked at")]
    Address,
    #[error("too many tokens at once; try again")]
    All,
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget { spent: Arc::new(watch::channel(BTreeMap::new()).0), at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Resolves when a question of this address may be asked; it is over when the permit is dropped.
    pub(super) async fn take(&self, from: IpAddr) -> Result<SemaphorePermit<'_>, Exhausted> {
        let mut allowed = false;
        self.spent.send_if_modified(|spent| {
            allowed = spend(spent, from.to_canonical(), Instant::now());
            false
        });
        if !allowed {
            return Err(Exhausted::Address);
        }
        match timeout(WAIT, self.at_once.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Exhausted::All),
        }
    }
}

/// Whether an address may ask now; if so, it has asked.
fn spend(spent: &mut BTreeMap<IpAddr, Instant>, from: IpAddr, now: Instant) -> bool {
    if spent.len() >= ADDRESSES {
        // who has not asked for so long is like one who never did
        spent.retain(|_, until| *until > now);
    }
    if spent.len() >= ADDRESSES && !spent.contains_key(&from) {
        return false;
    }
    let until = spent.entry(from).or_insert(now);
    let next = (*until).max(now) + EACH;
    let allowed = next - now <= EACH * BURST;
    if allowed {
        *until = next;
    }
    allowed
}

/// An address may ask once in so long,
const EACH: Duration = Duration::from_secs(1);
/// and so often at once: pods behind one node's address, should it come to that, are up to 110.
const BURST: u32 = 128;
/// Questions of all that the API server has before it at one time: it answers one in milliseconds, so a thousand proxies that come back
/// at once have their certificates within a second or two.
const AT_ONCE: usize = 16;
/// A proxy waits for its certificate for 10 s.
const WAIT: Duration = Duration::from_secs(5);
/// Addresses that are remembered.
const ADDRESSES: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a2a_0000 + number).into()
    }

    #[test]
    fn an_address_that_asks_all_the_time_is_answered_once_in_a_second_and_nobody_else_notices() {
        let (mut spent, start) = (BTreeMap::new(), Instant::now());
        let asked = (0..1_000).filter(|_| spend(&mut spent, address(0), start)).count();
        assert_eq!(asked, BURST as usize);
        let minute = (0..600).map(|tenth| start + Duration::from_millis(100) * tenth);
        assert_eq!(minute.filter(|now| spend(&mut spent, address(0), *now)).count(), 59);
        assert!((1..=1_000).all(|pod| spend(&mut spent, address(pod), start)), "a thousand pods that start at once");
    }

    #[test]
    fn addresses_that_rest_are_forgotten_and_more_than_can_be_remembered_wait() {
        let (mut spent, start) = (BTreeMap::new(), Instant::now());
        let most = u32::try_from(ADDRESSES).unwrap();
        assert!((0..most).all(|pod| spend(&mut spent, address(pod), start)));
        assert!(!spend(&mut spent, address(most), start) && spend(&mut spent, address(0), start));
        assert!(spend(&mut spent, address(most), start + EACH));
        assert_eq!(spent.len(), 2, "{spent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn questions_beyond_those_that_are_asked_wait_for_their_turn_and_not_for_ever() {
        let budget = Budget::new();
        let mut asked = Vec::new();
        for pod in 0..16 {
            asked.push(budget.take(address(pod)).await.expect("asked"));
        }
        assert_eq!(budget.take(address(99)).await.map(drop), Err(Exhausted::All));
        let (turn, _) = tokio::join!(budget.take(address(99)), async { drop(asked.pop()) });
        drop(turn.expect("its turn"));
    }
}
