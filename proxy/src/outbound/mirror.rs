//! Copies of requests to other backends (Gateway API RequestMirror). A copy is sent when the original is over, by a task of its
//! own, and nobody reads the answer: it can neither delay the original nor fail it. What is not held of a request (more than
//! 64 KiB, a client that leaves in mid-body) cannot be copied, and is counted.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use minimesh_identity::Alpn;
use minimesh_route::HeaderEdits;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};

use super::backend::{Backend, Tried};
use super::h2::slot;
use super::target::Plan;
use crate::error::{Error, Kind, Retry, Side};
use crate::http::h1::{Alarm, Conn, Failure, Guard, RequestHead, parse_request};
use crate::http::h2::{Copied, Outgoing, send_copy};
use crate::http::{Failed, Passage, forward};
use crate::io::{Buffer, Stream};
use crate::metrics::MirrorResult;
use crate::worker::{Open, Worker};

/// Copies on their way at once, of one worker: what a slow mirror makes us hold is this times what is held of a request.
const MOST: usize = 256;

/// A copy that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(30);

static NO_EDITS: HeaderEdits = HeaderEdits::NONE;

/// Sends copies of a whole request to backends of the plan.
pub(super) fn send(worker: &Rc<Worker>, plan: &Rc<Plan>, mirrors: impl Iterator<Item = usize>, request: &[u8]) {
    for (backend, place) in backends(worker, plan, mirrors) {
        let mut copy = Buffer::default();
        copy.put(request);
        let own = Rc::clone(worker);
        // its place among the open connections is what stops it with the worker
        tokio::task::spawn_local(carry(place, async move { attempts(&own, &backend, copy).await }));
    }
}

/// The same of HTTP/2.
pub(super) fn send_stream(
    worker: &Rc<Worker>,
    plan: &Rc<Plan>,
    mirrors: impl Iterator<Item = usize>,
    request: Outgoing,
    body: Copied,
) {
    let request = Rc::new(request);
    for (backend, place) in backends(worker, plan, mirrors) {
        let (own, request, body) = (Rc::clone(worker), Rc::clone(&request), body.clone());
        let sending = async move { stream(&own, &backend, &request, &body).await };
        tokio::task::spawn_local(carry(place, sending));
    }
}

/// Where copies go, as long as there are not too many on their way.
fn backends(
    worker: &Rc<Worker>,
    plan: &Rc<Plan>,
    mirrors: impl Iterator<Item = usize>,
) -> impl Iterator<Item = (Rc<Backend>, Place)> {
    let (worker, plan) = (Rc::clone(worker), Rc::clone(plan));
    mirrors.filter_map(move |index| {
        let Plan::Service(service) = &*plan else { return None };
        let backend = Rc::clone(service.backends.get(index)?.as_ref()?);
        if worker.mirrors.get() >= MOST {
            worker.cells.mirrored(MirrorResult::Overflow);
            return None;
        }
        Some((backend, Place::take(&worker)))
    })
}

/// A copy's place among those on their way, given back however it ends.
struct Place(Rc<Worker>);

impl Place {
    fn take(worker: &Rc<Worker>) -> Place {
        worker.mirrors.set(worker.mirrors.get() + 1);
        Place(Rc::clone(worker))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

async fn stream(worker: &Rc<Worker>, backend: &Backend, request: &Outgoing, body: &Copied) -> bool {
    let mut tried = Tried::default();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Ok(endpoint) = backend.pick(worker, &tried).await else { return false };
        if !tried.again(Some(endpoint.address)) {
            return false;
        }
        match timeout_at(deadline, slot(worker, &endpoint)).await {
            Ok(Ok(slot)) => return matches!(timeout_at(deadline, send_copy(&slot, request, body)).await, Ok(Ok(()))),
            Ok(Err(error)) if error.retry == Retry::OtherEndpoint => {}
            _ => return false,
        }
    }
}

async fn carry(place: Place, sending: impl Future<Output = bool>) {
    let worker = &place.0;
    let _open = Open::aside(worker).await;
    let answered = sending.await;
    worker.cells.mirrored(if answered { MirrorResult::Answered } else { MirrorResult::Failed });
}

async fn attempts(worker: &Rc<Worker>, backend: &Backend, request: Buffer) -> bool {
    let Ok(Some(head)) = parse_request(request.bytes(), usize::MAX) else { return false };
    let mut down = Conn { stream: Stream::Nobody, buffer: request };
    let mut tried = Tried::default();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt(worker, backend, &mut down, &head, &mut tried, deadline).await {
            Ok(()) => return true,
            Err(failed) if failed.repeatable && failed.error.retry == Retry::OtherEndpoint => {}
            Err(_) => return false,
        }
    }
}

async fn attempt(
    worker: &Rc<Worker>,
    backend: &Backend,
    down: &mut Conn,
    head: &RequestHead,
    tried: &mut Tried,
    deadline: Instant,
) -> Result<(), Failed> {
    let last = |error| Failed { repeatable: false, ..Failed::untouched(error) };
    let endpoint = backend.pick(worker, tried).await.map_err(last)?;
    if !tried.again(Some(endpoint.address)) {
        return Err(last(Error::new(Kind::NoEndpoints, Side::Internal)));
    }
    let mut upstream = match unconstrained(poll_fn(|cx| Poll::Ready(endpoint.reuse(worker, cx)))).await {
        Some(upstream) => upstream,
        None => match timeout_at(deadline, endpoint.connect(worker, Alpn::Http)).await {
            Ok(connected) => connected.map_err(Failed::untouched)?,
            Err(_) => return Err(last(Error::new(Kind::RequestTimeout, Side::Upstream))),
        },
    };
    let passage = Passage {
        request: &NO_EDITS,
        response: &NO_EDITS,
        client_id: &[],
        mesh: endpoint.is_mesh(),
        peer: false,
        close: false,
        limit: worker.head_limit,
        began: Instant::now(),
        waited: Duration::ZERO,
        retries: None,
        again: None,
        keep: false,
    };
    let mut alarm = Alarm::default();
    alarm.set(Some(deadline));
    let guard = Guard { ended: &|| worker.stopped.get().then_some(Failure::Stopped), alarm: &mut alarm };
    let forwarded = forward(down, &mut upstream.conn, head, &passage, guard).await?;
    match forwarded.keep_up {
        true => endpoint.keep(upstream),
        false => upstream.close(),
    }
    Ok(())
}
