//! Which watches were heard of when: a layer of kube's client that notes every answer to a list or a watch.
//!
//! kube's watcher says nothing where nothing changes. The server ends each watch after less than a minute and it is asked
//! for again: an answer to that is a sign of life. Read by readiness.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{Layer, Service};

/// When each watched path answered last. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Heard(Arc<watch::Sender<BTreeMap<Box<str>, Instant>>>);

/// Notes answers that pass through it.
#[derive(Clone, Debug)]
pub(crate) struct Hearing<S> {
    inner: S,
    heard: Heard,
}

impl Heard {
    /// A path that must be heard of from now on.
    pub(super) fn expect(&self, path: &str) {
        self.0.send_modify(|heard| {
            heard.insert(path.into(), Instant::now());
        });
    }

    /// A path that is not watched any more.
    pub(super) fn forget(&self, path: &str) {
        self.0.send_modify(|heard| {
            heard.remove(path);
        });
    }

    /// The path that has been silent for longer than it may.
    pub(crate) fn silent(&self) -> Option<Box<str>> {
        let now = Instant::now();
        self.0.borrow().iter().find(|(_, at)| now.duration_since(**at) > BOUND).map(|(path, _)| path.clone())
    }

    fn note(&self, path: &str) {
        self.0.send_if_modified(|heard| {
            if let Some(at) = heard.get_mut(path) {
                *at = Instant::now();
            }
            false
        });
    }
}

impl Default for Heard {
    fn default() -> Heard {
        Heard(Arc::new(watch::channel(BTreeMap::new()).0))
    }
}

impl<S> Layer<S> for Heard {
    type Service = Hearing<S>;

    fn layer(&self, inner: S) -> Hearing<S> {
        Hearing { inner, heard: self.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for Hearing<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = (request.method() == Method::GET).then(|| request.uri().path().to_owned());
        let (answer, heard) = (self.inner.call(request), self.heard.clone());
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(path) = path.filter(|_| answer.status().is_success()) {
                heard.note(&path);
            }
            Ok(answer)
        })
    }
}

/// Three times as long as a watch lives.
const BOUND: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_silent_for_too_long_is_named() {
        let heard = Heard::default();
        heard.expect("/api/v1/pods");
        heard.expect("/api/v1/services");
        tokio::time::advance(BOUND).await;
        assert_eq!(heard.silent(), None);
        heard.note("/api/v1/services");
        heard.note("/api/v1/secrets");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(heard.silent().as_deref(), Some("/api/v1/pods"));
        heard.forget("/api/v1/pods");
        assert_eq!(heard.silent(), None);
    }
}
