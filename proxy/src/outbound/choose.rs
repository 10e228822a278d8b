//! Where a request goes, decided before anything is done: route, rule, backend. The same for HTTP/1 and HTTP/2.
//!
//! Called once per request by `http` and `h2`, which then follow the [`Decision`]: what a filter changes travels in it as data.
//! Never reads or writes a connection.

use std::rc::Rc;

use minimesh_api::model::{BackendRef, Scheme};
use minimesh_balance::{Budget, Outcome};
use minimesh_route::{Field, Filters, HeaderEdits, Mirror, RequestView, Rule, Selection};
use tokio::time::Instant;

use super::backend::{Backend, Tried};
use super::endpoint::Endpoint;
use super::session::Sticky;
use super::target::Plan;
use crate::error::{Error, Kind, Side};
use crate::http::Retries;
use crate::metrics::WorkerCells;
use crate::observe::{Record, Route};
use crate::worker::Worker;

/// What becomes of a request.
pub(super) enum Decision<'p> {
    /// The proxy answers, as a rule says.
    Answer(Box<LocalAnswer>, &'p Rule),
    Forward(Choice<'p>),
}

/// An answer that a route demands and no server gives: a redirect, or to a preflight. It has no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LocalAnswer {
    pub(super) status: u16,
    pub(super) fields: Vec<Field>,
}

/// Where a request goes, and what is done to it on the way.
pub(super) struct Choice<'p> {
    pub(super) backend: Source<'p>,
    pub(super) filters: &'p Filters,
    /// How many bytes of the path the rule's match found as a prefix, for `filters.rewrite`.
    pub(super) prefix: u32,
    /// Which of `filters.mirrors` get a copy, one bit each.
    pub(super) mirrors: u32,
    /// The client session that the request belongs to or begins, where the rule has sessions.
    sticky: Option<Box<Sticky<'p>>>,
    /// `filters.response` with what the request itself asks to be added, where it does.
    response: Option<Box<HeaderEdits>>,
    /// The rule that was selected, where there are routes.
    pub(super) rule: Option<&'p Rule>,
    /// When the request's head was complete.
    pub(super) began: Instant,
}

/// Who may be asked.
pub(super) enum Source<'p> {
    One(&'p Rc<Endpoint>),
    Service(&'p Rc<Backend>),
}

static NO_FILTERS: Filters = Filters::NONE;

/// Route, rule, backend. `request.headers` answers `host` with the authority, whatever the protocol calls it.
pub(super) fn choose<'p>(
    worker: &Worker,
    plan: &'p Plan,
    request: &RequestView<'_>,
    began: Instant,
) -> Result<Decision<'p>, Error> {
    let unrouted = |backend| {
        let (filters, sticky, response) = (&NO_FILTERS, None, None);
        Decision::Forward(Choice { backend, filters, prefix: 0, mirrors: 0, sticky, response, rule: None, began })
    };
    let service = match plan {
        Plan::Endpoint(endpoint) | Plan::Passthrough(endpoint) => return Ok(unrouted(Source::One(endpoint))),
        Plan::Service(service) if service.routes.is_empty() => return Ok(unrouted(Source::Service(&service.own))),
        Plan::Service(service) => service,
    };
    let (rule, prefix) = match service.routes.select(request) {
        Selection::DefaultBackend => return Ok(unrouted(Source::Service(&service.own))),
        Selection::NoMatch => return Err(Error::new(Kind::NoRoute, Side::Internal)),
        Selection::Unsupported(_) => return Err(Error::new(Kind::UnsupportedByProxy, Side::Internal)),
        Selection::Rule { rule, prefix } => (rule, prefix),
    };
    let port = service.own.key.port;
    if let Some(answer) = local_answer(&rule.filters, request, prefix, port) {
        return Ok(Decision::Answer(answer, rule));
    }
    let random = worker.random.borrow_mut().next_u64();
    let sticky = Sticky::new(worker, service, rule, request);
    let held = sticky.as_ref().and_then(|sticky| rule.backends().get(sticky.share()?));
    let share = held.or_else(|| rule.pick_backend(random)).ok_or(Error::new(Kind::NoBackend, Side::Internal))?;
    let (BackendRef::Service(_), Some(Some(backend))) = (&share.reference, service.backends.get(share.index)) else {
        return Err(Error::new(Kind::UnresolvedBackend, Side::Internal));
    };
    let filters = &share.filters;
    if let Some(answer) = local_answer(filters, request, prefix, port) {
        return Ok(Decision::Answer(answer, rule));
    }
    Ok(Decision::Forward(Choice {
        backend: Source::Service(backend),
        filters,
        prefix: u32::try_from(prefix).unwrap_or(0),
        mirrors: mirrors(worker, filters),
        sticky,
        response: response_edits(filters, request),
        rule: Some(rule),
        began,
    }))
}

/// What filters answer themselves. `port`: the one that the client dialled; what it speaks to the proxy is plain HTTP.
fn local_answer(filters: &Filters, request: &RequestView<'_>, prefix: usize, port: u16) -> Option<Box<LocalAnswer>> {
    if let Some(cors) = filters.cors.as_ref().filter(|cors| cors.is_preflight(request)) {
        return Some(Box::new(LocalAnswer { status: 204, fields: cors.preflight(request) }));
    }
    let redirect = filters.redirect.as_ref()?;
    let location = redirect.location(request, prefix, Scheme::Http, port);
    Some(Box::new(LocalAnswer { status: redirect.status, fields: vec![("location", location)] }))
}

/// The mirrors whose share this request falls into; there are 32 at most ([`Filters`]).
fn mirrors(worker: &Worker, filters: &Filters) -> u32 {
    if filters.mirrors.is_empty() {
        return 0;
    }
    let mut random = worker.random.borrow_mut();
    let bit = |(index, mirror): (usize, &Mirror)| u32::from(mirror.takes(random.next_u64())) << index;
    filters.mirrors.iter().take(32).enumerate().map(bit).sum()
}

fn response_edits(filters: &Filters, request: &RequestView<'_>) -> Option<Box<HeaderEdits>> {
    let cors = filters.cors.as_ref()?;
    let mut edits = Box::new(filters.response.clone());
    for (name, value) in cors.actual(request) {
        edits.append(name, &value);
    }
    Some(edits)
}

impl<'p> Decision<'p> {
    /// What the route says of repetition, where it says anything.
    pub(super) fn retries<'a>(
        &self,
        budget: &'a Budget,
        cells: &'a WorkerCells,
        request: &RequestView<'_>,
    ) -> Option<Box<Retries<'a>>>
    where
        'p: 'a,
    {
        let Decision::Forward(Choice { rule: Some(rule), .. }) = self else { return None };
        let rule: &'p Rule = rule;
        Some(Box::new(Retries::new(rule.retry.as_ref()?, budget, cells, request)))
    }
}

impl Choice<'_> {
    /// Backends that get a copy, by the table's index.
    pub(super) fn mirrored(&self) -> impl Iterator<Item = usize> {
        let chosen = |index: &usize| self.mirrors & (1 << index) != 0;
        let mirrors = self.filters.mirrors.iter().take(32).enumerate();
        mirrors.filter(move |(index, _)| chosen(index)).map(|(_, mirror)| mirror.index)
    }

    /// What a record says of it.
    pub(super) fn describe(&self, record: &mut Record) {
        record.route = self.rule.map(Route::of);
        record.backend = match self.backend {
            Source::One(_) => None,
            Source::Service(backend) => Some(backend.key.clone()),
        };
    }

    /// What becomes of the response's head.
    pub(super) fn response(&self) -> &HeaderEdits {
        self.response.as_deref().unwrap_or(&self.filters.response)
    }

    /// The same with the session that an answer of this endpoint begins or prolongs; `None`: as `response` says.
    pub(super) fn session_edits(&self, endpoint: &Endpoint) -> Option<Box<HeaderEdits>> {
        let (Some(sticky), Source::Service(backend)) = (&self.sticky, &self.backend) else { return None };
        sticky.edits(self.response(), backend, endpoint)
    }

    /// An endpoint that was not tried yet: the session's, if it has one.
    pub(super) async fn pick(&self, worker: &Worker, tried: &Tried) -> Result<Rc<Endpoint>, Error> {
        match self.sticky.as_ref().and_then(|sticky| sticky.endpoint(tried)) {
            Some(endpoint) => Ok(endpoint),
            None => self.backend.pick(worker, tried).await,
        }
    }

    /// When the whole request has to be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.rule.and_then(|rule| rule.timeouts.request).map(|limit| self.began + limit)
    }

    /// When an attempt that begins now has to be over.
    pub(super) fn attempt_deadline(&self) -> Option<Instant> {
        let limit = self.rule.and_then(|rule| rule.timeouts.backend_request);
        let attempt = limit.map(|limit| Instant::now() + limit);
        match (self.deadline(), attempt) {
            (Some(all), Some(one)) => Some(all.min(one)),
            (all, one) => all.or(one),
        }
    }
}

impl Source<'_> {
    /// An endpoint that was not tried yet.
    async fn pick(&self, worker: &Worker, tried: &Tried) -> Result<Rc<Endpoint>, Error> {
        match self {
            Source::One(endpoint) => Ok(Rc::clone(endpoint)),
            Source::Service(backend) => backend.pick(worker, tried).await,
        }
    }

    /// Whether there is another endpoint to ask.
    pub(super) fn has_other(&self, worker: &Worker, endpoint: &Endpoint, tried: &Tried) -> bool {
        match self {
            Source::One(_) => false,
            Source::Service(backend) => backend.has_other(worker, endpoint, tried),
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

    /// There was no whole answer; `answered`: but the head of one.
    pub(super) fn failed(&mut self, error: &Error, answered: bool) {
        self.outcome = match error.side {
            Side::Upstream => Outcome::Failure,
            Side::Downstream if !answered => Outcome::Unanswered,
            Side::Downstream | Side::Internal | Side::Policy => Outcome::Aborted,
        };
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.endpoint.slot.finish(self.began.into_std(), Instant::now().into_std(), self.outcome);
    }
}
