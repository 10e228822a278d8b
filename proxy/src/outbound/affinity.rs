//! A Service's `sessionAffinity: ClientIP`: who asks from one address stays with one endpoint. A sidecar's client is its own pod, so
//! there is one choice per backend (which knows one family of addresses).
//!
//! Each worker keeps its own. The first choice is by hash of pod and endpoint, so that workers make the same one and pods
//! spread. Called by `backend` alone.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::backend::Tried;
use super::endpoint::Endpoint;

/// Whom this pod stays with.
#[derive(Default)]
pub(super) struct Affinity {
    /// How long after its last use a choice is forgotten; `None`: the Service wants nothing of the kind.
    lasts: Cell<Option<Duration>>,
    held: RefCell<Option<Held>>,
}

struct Held {
    endpoint: Rc<Endpoint>,
    used: Instant,
}

impl Affinity {
    /// As the Service says now.
    pub(super) fn set(&self, lasts: Option<Duration>) {
        self.lasts.set(lasts);
        if lasts.is_none() {
            self.held.take();
        }
    }

    /// The endpoint to stay with, or from now on; `None`: the Service does not ask for it, or nobody is left to try. `client` is what
    /// tells this pod from others.
    pub(super) fn pick<C: Hash>(
        &self,
        serving: &[Rc<Endpoint>],
        tried: &Tried,
        client: impl FnOnce() -> C,
    ) -> Option<Rc<Endpoint>> {
        let lasts = self.lasts.get()?;
        let now = Instant::now();
        let mut held = self.held.borrow_mut();
        if let Some(Held { endpoint, used }) = held.as_mut()
            && now.duration_since(*used) < lasts
            && !tried.contains(endpoint.address)
            && serving.iter().any(|other| Rc::ptr_eq(other, endpoint))
        {
            *used = now;
            return Some(Rc::clone(endpoint));
        }
        let client = client();
        let untried = serving.iter().filter(|endpoint| !tried.contains(endpoint.address));
        let endpoint = untried.max_by_key(|endpoint| weight(&client, endpoint))?;
        *held = Some(Held { endpoint: Rc::clone(endpoint), used: now });
        Some(Rc::clone(endpoint))
    }
}

/// Rendezvous hashing: of each pair of pod and endpoint, the same in every worker.
fn weight(client: &impl Hash, endpoint: &Endpoint) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    endpoint.address.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u8) -> Vec<Rc<Endpoint>> {
        let address = |last| ([10, 42, 0, last], 80).into();
        (1..=count).map(|last| Endpoint::passthrough(address(last), "not_meshed")).collect()
    }

    fn on() -> Affinity {
        let affinity = Affinity::default();
        affinity.set(Some(Duration::from_secs(60)));
        affinity
    }

    fn picked(affinity: &Affinity, serving: &[Rc<Endpoint>], client: u32) -> Option<std::net::SocketAddr> {
        affinity.pick(serving, &Tried::default(), || client).map(|endpoint| endpoint.address)
    }

    #[tokio::test(start_paused = true)]
    async fn a_choice_holds_until_it_was_not_used_for_so_long() {
        let affinity = on();
        let (few, more) = (endpoints(1), endpoints(50));
        let first = few[0].address;
        let serving: Vec<_> = few.iter().chain(&more[1..]).cloned().collect();
        assert_eq!(picked(&affinity, &few, 1), Some(first));
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(59)).await;
            assert_eq!(picked(&affinity, &serving, 1), Some(first), "others came, and it was used");
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(picked(&affinity, &serving, 1), picked(&on(), &serving, 1), "as if it were the first time");
    }

    #[tokio::test(start_paused = true)]
    async fn workers_choose_alike_and_pods_spread() {
        let serving = endpoints(4);
        let choices: std::collections::BTreeSet<_> = (0..100).map(|pod| picked(&on(), &serving, pod)).collect();
        assert_eq!(choices.len(), 4);
        assert!((0..100).all(|pod| picked(&on(), &serving, pod) == picked(&on(), &serving, pod)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_serve_any_more_or_was_tried_is_left() {
        let affinity = on();
        let serving = endpoints(3);
        let first = picked(&affinity, &serving, 7).unwrap();
        let left: Vec<_> = serving.iter().filter(|endpoint| endpoint.address != first).cloned().collect();
        let second = picked(&affinity, &left, 7).unwrap();
        assert_eq!(picked(&affinity, &serving, 7), Some(second), "it does not go back");
        let mut tried = Tried::default();
        assert!(tried.again(Some(second)));
        let third = affinity.pick(&serving, &tried, || 7).unwrap().address;
        assert!(third != second);
        assert_eq!(picked(&affinity, &serving, 7), Some(third), "it stays where it was answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_ask_for_it_is_balanced() {
        let affinity = on();
        let serving = endpoints(3);
        assert!(picked(&affinity, &serving, 7).is_some());
        affinity.set(None);
        assert_eq!(picked(&affinity, &serving, 7), None);
        assert_eq!(picked(&on(), &[], 7), None);
    }
}
