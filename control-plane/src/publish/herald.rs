//! When it is told what became of routes: once every proxy that went by the routes as they were has acknowledged what came instead, or has
//! had a second for it. Whoever waits for `Accepted` and asks then finds the route in force.
//!
//! What a proxy acknowledged last is held by its session: a version that nobody holds any more was followed by all.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use minimesh_index::RouteStatus;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Published;

/// Tells of routes; of what changes meanwhile the latest.
#[derive(Debug)]
pub(super) struct Herald(watch::Sender<Judged>);

#[derive(Clone, Debug, Default)]
struct Judged {
    routes: Option<Arc<[RouteStatus]>>,
    /// Lives of what was replaced.
    before: Vec<watch::Receiver<()>>,
}

impl Herald {
    /// Starts the task that waits; what it tells: nothing before anything was judged.
    pub(super) fn spawn() -> (Herald, watch::Receiver<Option<Arc<[RouteStatus]>>>) {
        let (judged, mut news) = watch::channel(Judged::default());
        let (told, routes) = watch::channel(None);
        tokio::spawn(async move {
            while news.changed().await.is_ok() {
                let Judged { routes, before } = news.borrow_and_update().clone();
                let followed = join_all(before.into_iter().map(ended));
                // A proxy that does not answer keeps nobody waiting any longer.
                let _ = timeout(LONGEST, followed).await;
                told.send_replace(routes);
            }
        });
        (Herald(judged), routes)
    }

    /// Takes in what was judged, beside what proxies held until now; answers what was judged before.
    pub(super) fn tell(
        &self,
        routes: Arc<[RouteStatus]>,
        replaced: impl Iterator<Item = Arc<Published>>,
    ) -> Arc<[RouteStatus]> {
        let mut before = None;
        self.0.send_modify(|judged| {
            before = judged.routes.replace(routes);
            judged.before.retain(|life| life.has_changed().is_ok());
            judged.before.extend(replaced.map(|published| published.life()));
        });
        before.unwrap_or_default()
    }
}

async fn ended(mut life: watch::Receiver<()>) {
    while life.changed().await.is_ok() {}
}

/// DESIGN, part 5.
const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use minimesh_index::{Kind, ObjectKey};
    use tokio::time::Instant;

    use super::*;
    use crate::testing::{endpoints, full};

    fn judged(name: &str) -> Arc<[RouteStatus]> {
        let route = ObjectKey::new(Kind::HttpRoute, "shop", name);
        Arc::from([RouteStatus { route, uid: None, generation: None, parents: Vec::new() }])
    }

    fn version(last: u8) -> Arc<Published> {
        let key = minimesh_api::model::ResourceKey::Trust;
        Arc::new(Published::new(key, full(endpoints([last])), Instant::now()))
    }

    #[tokio::test(start_paused = true)]
    async fn routes_are_told_when_nobody_holds_what_was_before_and_after_a_second_at_the_latest() {
        let (herald, mut told) = Herald::spawn();
        assert_eq!(*told.borrow_and_update(), None);
        herald.tell(judged("first"), std::iter::empty());
        told.changed().await.expect("told");
        assert_eq!(*told.borrow_and_update(), Some(judged("first")), "nobody holds anything");

        let (held, begun) = (version(1), Instant::now());
        assert_eq!(herald.tell(judged("second"), [Arc::clone(&held)].into_iter()), judged("first"));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!told.has_changed().expect("goes on"), "a proxy has not acknowledged yet");
        drop(held);
        told.changed().await.expect("told");
        assert_eq!(
            (begun.elapsed(), told.borrow_and_update().clone()),
            (Duration::from_millis(300), Some(judged("second")))
        );

        let (held, begun) = (version(2), Instant::now());
        herald.tell(judged("third"), [Arc::clone(&held)].into_iter());
        told.changed().await.expect("told");
        assert_eq!((begun.elapsed(), told.borrow_and_update().clone()), (LONGEST, Some(judged("third"))));
        drop(held);
    }
}
