//! Where a request goes, decided before anything is done: route, rule, backend. The same for HTTP/1 and HTTP/2.
//!
//! Called once per request by `http` and `h2`, which then follow the [`Choice`]: what a filter changes travels in it as data.
//! Never reads or writes a connection.

use std::rc::Rc;
use std::time::Duration;

use minimesh_api::model::BackendRef;
use minimesh_balance::Outcome;
use minimesh_route::{Filters, HeaderEdits, RequestView, Selection};
use tokio::time::Instant;

use super::backend::{Backend, Tried};
use super::endpoint::Endpoint;
use super::target::Plan;
use crate::error::{Error, Kind, Side};
use crate::worker::Worker;

/// Where a request goes, and what is done to it on the way.
pub(super) struct Choice<'p> {
    pub(super) backend: Source<'p>,
    pub(super) filters: &'p Filters,
    /// When the request's head was complete.
    pub(super) began: Instant,
    /// Of the whole request.
    pub(super) deadline: Option<Instant>,
    /// Of one attempt.
    attempt: Option<Duration>,
}

/// Who may be asked.
pub(super) enum Source<'p> {
    One(&'p Rc<Endpoint>),
    Service(&'p Rc<Backend>),
}

static NO_FILTERS: Filters = Filters {
    request: HeaderEdits { set: Vec::new(), add: Vec::new(), remove: Vec::new() },
    response: HeaderEdits { set: Vec::new(), add: Vec::new(), remove: Vec::new() },
};

/// Route, rule, backend. `request.headers` answers `host` with the authority, whatever the protocol calls it.
pub(super) fn choose<'p>(
    worker: &Worker,
    plan: &'p Plan,
    request: &RequestView<'_>,
    began: Instant,
) -> Result<Choice<'p>, Error> {
    let unrouted = |backend| Choice { backend, filters: &NO_FILTERS, began, deadline: None, attempt: None };
    let service = match plan {
        Plan::Endpoint(endpoint) | Plan::Passthrough(endpoint) => return Ok(unrouted(Source::One(endpoint))),
        Plan::Service(service) if service.routes.is_empty() => return Ok(unrouted(Source::Service(&service.own))),
        Plan::Service(service) => service,
    };
    let rule = match service.routes.select(request) {
        Selection::DefaultBackend => return Ok(unrouted(Source::Service(&service.own))),
        Selection::NoMatch => return Err(Error::new(Kind::NoRoute, Side::Internal)),
        Selection::Unsupported(_) => return Err(Error::new(Kind::UnsupportedByProxy, Side::Internal)),
        Selection::Rule(rule) => rule,
    };
    let random = worker.random.borrow_mut().next_u64();
    let share = rule.pick_backend(random).ok_or(Error::new(Kind::NoBackend, Side::Internal))?;
    let (BackendRef::Service(_), Some(Some(backend))) = (&share.reference, service.backends.get(share.index)) else {
        return Err(Error::new(Kind::UnresolvedBackend, Side::Internal));
    };
    Ok(Choice {
        backend: Source::Service(backend),
        filters: &share.filters,
        began,
        deadline: rule.timeouts.request.map(|limit| began + limit),
        attempt: rule.timeouts.backend_request,
    })
}

impl Choice<'_> {
    /// When an attempt that begins now has to be over.
    pub(super) fn attempt_deadline(&self) -> Option<Instant> {
        let attempt = self.attempt.map(|limit| Instant::now() + limit);
        match (self.deadline, attempt) {
            (Some(all), Some(one)) => Some(all.min(one)),
            (all, one) => all.or(one),
        }
    }
}

impl Source<'_> {
    /// An endpoint that was not tried yet.
    pub(super) async fn pick(&self, worker: &Worker, tried: &Tried) -> Result<Rc<Endpoint>, Error> {
        match self {
            Source::One(endpoint) => Ok(Rc::clone(endpoint)),
            Source::Service(backend) => backend.pick(worker, tried).await,
        }
    }

    /// Whether there is another endpoint to ask.
    pub(super) fn has_other(&self, worker: &Worker, endpoint: &Endpoint) -> bool {
        match self {
            Source::One(_) => false,
            Source::Service(backend) => backend.has_other(worker, endpoint),
        }
    }
}

/// Counts in the endpoint's load while it lives.
pub(super) struct Load<'a> {
    endpoint: &'a Endpoint,
    /// When there was a connection: how long a handshake takes says nothing of how fast requests are answered.
    pub(super) began: Instant,
    pub(super) outcome: Outcome,
}

impl<'a> Load<'a> {
    pub(super) fn new(endpoint: &'a Endpoint) -> Load<'a> {
        endpoint.slot.start();
        Load { endpoint, began: Instant::now(), outcome: Outcome::Aborted }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.endpoint.slot.finish(self.began.into_std(), Instant::now().into_std(), self.outcome);
    }
}
