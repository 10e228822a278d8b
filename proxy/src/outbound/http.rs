//! HTTP/1 of the application: the life of one request on its way out.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use minimesh_api::model::Direction;
use minimesh_balance::Outcome;
use minimesh_identity::Alpn;
use minimesh_route::RequestView;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::again::{Again, Lost};
use super::backend::Tried;
use super::choose::{Choice, Decision, Load, LocalAnswer, choose};
use super::endpoint::{Endpoint, Upstream};
use super::target::{Plan, Target};
use super::{count, mirror, tcp};
use crate::detect::Undecided;
use crate::error::{Answer, Error, Kind, Side, render};
use crate::http::h1::{
    Alarm, Body, Conn, Failure, Guard, HeadError, Lines, Method, RequestHead, parse_request, rewrite_head, write_head,
};
use crate::http::{
    Failed, Forwarded, HeadLimits, KEY, Next, Passage, Retries, forward, is_idempotent, linger, next_request,
};
use crate::io::Buffer;
use crate::metrics::{Classification, CloseReason, EdgeCells, MirrorResult, RetryReason};
use crate::observe::{Record, Route, Wire, address_of};
use crate::worker::Worker;

/// A connection of the application that carries HTTP/1.
struct Client<'a> {
    worker: &'a Rc<Worker>,
    target: &'a Target,
    conn: Conn,
    alarm: Alarm,
    /// What is to be said of the present request, where somebody wants to know.
    record: Option<Box<Record>>,
    /// Length of the request that was answered, where it is still in the buffer for a copy; else 0.
    kept: usize,
}

/// What follows a request.
enum After {
    /// The next request.
    Next,
    /// The client was told that the connection ends, and may still be sending.
    Linger,
    /// Nothing that the client got may count as complete.
    Reset,
    /// The connection has become a tunnel.
    Tunnel(Box<Upstream>),
}

/// What a request came to.
enum Ran {
    /// Nobody was asked: the route demands this answer.
    Answer(Box<LocalAnswer>),
    Over(After),
}

/// Serves one connection of the application.
pub(super) async fn serve(worker: &Rc<Worker>, target: &Target, conn: Conn) {
    let mut client = Client { worker, target, conn, alarm: Alarm::default(), kept: 0, record: None };
    loop {
        let since = worker.idle_since();
        let end_idle = || worker.closing.get() || worker.is_idle_too_long(since);
        let mut head =
            match next_request(&mut client.conn, HeadLimits::of(worker, 0), &mut client.alarm, end_idle).await {
                Next::Request(head) => head,
                Next::End | Next::Idle => return,
                Next::Slow => {
                    count(worker, &Error::new(Kind::HeadTimeout, Side::Downstream));
                    let stream = &client.conn.stream;
                    worker.observer.refused(Direction::Outbound, Wire::Http11, stream, Kind::HeadTimeout);
                    return Box::pin(answer_and_close(worker, client.conn, Kind::HeadTimeout)).await;
                }
                Next::Refused(error) => {
                    let kind = match error {
                        HeadError::TooLarge => Kind::HeadTooLarge,
                        HeadError::Malformed(_) => Kind::BadRequest,
                    };
                    count(worker, &because(kind, error));
                    worker.observer.refused(Direction::Outbound, Wire::Http11, &client.conn.stream, kind);
                    return Box::pin(answer_and_close(worker, client.conn, kind)).await;
                }
            };
        worker.connections.note_activity();
        match client.handle(&mut head).await {
            After::Next => client.conn.buffer.release(),
            After::Linger => return Box::pin(linger(client.conn)).await,
            After::Reset => return client.conn.stream.reset(),
            After::Tunnel(upstream) => {
                Box::pin(tcp::tunnel(worker, client.conn, *upstream, &Undecided::never())).await;
                return;
            }
        }
    }
}

impl Client<'_> {
    /// The life of one outbound request.
    async fn handle(&mut self, head: &mut RequestHead) -> After {
        let began = Instant::now();
        if self.worker.observer.is_on() {
            self.observe(head);
        }
        let after = match self.run(head, began).await {
            Ok(Ran::Answer(answer)) => Box::pin(self.answer(head, answer)).await,
            Ok(Ran::Over(after)) => after,
            Err(failed) => Box::pin(self.refuse(head, failed)).await,
        };
        if let Some(record) = self.record.take() {
            self.worker.observer.finish(record);
        }
        after
    }

    /// Begins a record of the request.
    fn observe(&mut self, head: &RequestHead) {
        let lines = Lines::new(&self.conn.buffer.bytes()[..head.len]);
        let view = view(head, self.conn.buffer.bytes(), &lines);
        let client = address_of(&self.conn.stream);
        self.record = self.worker.observer.request(Direction::Outbound, Wire::of_minor(head.minor), client, &view);
        if let Some(record) = &mut self.record {
            record.client_identity = self.worker.own_identity();
        }
    }

    async fn run(&mut self, head: &mut RequestHead, began: Instant) -> Result<Ran, Failed> {
        let worker = self.worker;
        let plan = self.target.plan(worker).await.map_err(Failed::untouched)?;
        let (decision, retries) = {
            let bytes = self.conn.buffer.bytes();
            let lines = Lines::new(&bytes[..head.len]);
            let request = view(head, bytes, &lines);
            let decision = choose(worker, &plan, &request, began).map_err(Failed::untouched)?;
            let retries = decision.retries(&self.target.retries, &worker.cells, &request);
            (decision, retries)
        };
        let choice = match decision {
            Decision::Answer(answer, rule) => {
                if let Some(record) = &mut self.record {
                    record.route = Some(Route::of(rule));
                }
                return Ok(Ran::Answer(answer));
            }
            Decision::Forward(choice) => choice,
        };
        if let Some(record) = &mut self.record {
            choice.describe(record);
        }
        if !choice.filters.rewrite.is_none() {
            *head = self.rewrite(head, &choice).map_err(Failed::untouched)?;
        }
        self.target.retries.deposit();
        let mut tried = Tried::default();
        let result = loop {
            let endpoint = match choice.pick(worker, &tried).await {
                Ok(endpoint) => endpoint,
                Err(error) => break Err(Failed::untouched(error)),
            };
            match self.attempt(head, &choice, &endpoint, retries.as_deref(), &tried).await {
                Ok(Some(after)) => break Ok(Ran::Over(after)),
                // the answer was thrown away
                Ok(None) => {}
                Err(failed) => {
                    let lost = self.lost(head, &failed, retries.as_deref());
                    match choice.again(worker, &endpoint, &lost, &mut tried) {
                        Again::AtOnce => {
                            self.note_retry();
                            continue;
                        }
                        Again::AfterPause => {}
                        Again::Never => break Err(failed),
                    }
                }
            }
            tried.avoid(endpoint.address);
            self.note_retry();
            if let Some(retries) = &retries
                && let Err(failed) = Box::pin(pause(worker, &choice, retries)).await
            {
                break Err(failed);
            }
        };
        if choice.mirrors != 0 {
            self.mirror(head, &plan, &choice, result.as_ref().err());
        }
        result
    }

    /// What a failed attempt leaves to be judged.
    fn lost<'a>(&'a self, head: &RequestHead, failed: &'a Failed, retries: Option<&'a Retries<'a>>) -> Lost<'a> {
        let unread = failed.error.kind == Kind::NotDelivered;
        let repeatable = failed.repeatable && failed.answered.is_none();
        let unanswered = repeatable && failed.error.kind == Kind::UpstreamUnanswered;
        Lost {
            error: &failed.error,
            repeatable,
            proof: unread.then_some(RetryReason::CloseNotify),
            idempotent: unanswered && may_happen_twice(head, self.conn.buffer.bytes()),
            retries,
            budget: &self.target.retries,
        }
    }

    fn note_retry(&mut self) {
        if let Some(record) = &mut self.record {
            record.retries += 1;
        }
    }

    /// One attempt on one endpoint; `None`: it was answered, and the answer thrown away.
    async fn attempt(
        &mut self,
        head: &RequestHead,
        choice: &Choice<'_>,
        endpoint: &Rc<Endpoint>,
        retries: Option<&Retries<'_>>,
        tried: &Tried,
    ) -> Result<Option<After>, Failed> {
        let (worker, began) = (self.worker, choice.began);
        let mut load = Load::new(endpoint);
        if let Some(record) = &mut self.record {
            record.endpoint = Some(endpoint.address);
            record.server_identity = endpoint.identity().map(|identity| identity.to_shared());
        }
        let deadline = choice.attempt_deadline();
        // what earlier attempts took is no time of ours either
        let mut waited = if tried.is_empty() { Duration::ZERO } else { load.began - began };
        let mut upstream = match unconstrained(poll_fn(|cx| Poll::Ready(endpoint.reuse(worker, cx)))).await {
            Some(upstream) => upstream,
            None => {
                let (upstream, dialled) =
                    Box::pin(dial(worker, endpoint, deadline)).await.map_err(Failed::untouched)?;
                waited += dialled;
                upstream
            }
        };
        let session = choice.session_edits(endpoint);
        let again = |bytes: &[u8]| may_happen_twice(head, bytes) && choice.may_ask_again(worker, endpoint, tried);
        let passage = Passage {
            request: &choice.filters.request,
            response: session.as_deref().unwrap_or(choice.response()),
            client_id: &[],
            mesh: endpoint.is_mesh(),
            peer: false,
            close: worker.closing.get(),
            limit: worker.head_limit,
            began,
            waited,
            retries,
            again: Some(&again),
            keep: choice.mirrors != 0,
        };
        load.began = Instant::now();
        if let Some(record) = &mut self.record {
            record.waited = waited;
        }
        self.alarm.set(deadline);
        let guard = Guard { ended: &|| worker.stopped.get().then_some(Failure::Stopped), alarm: &mut self.alarm };
        match forward(&mut self.conn, &mut upstream.conn, head, &passage, guard).await {
            Ok(forwarded) => {
                load.outcome = outcome(forwarded.status);
                record(endpoint.http_cells(worker), &forwarded, began);
                if let Some(record) = &mut self.record {
                    record.answered(&forwarded);
                }
                self.kept = forwarded.kept;
                let after = finish(endpoint, upstream, &forwarded);
                Ok((!forwarded.discarded).then_some(after))
            }
            Err(failed) => {
                load.failed(&failed.error, failed.answered.is_some());
                upstream.ended_by(CloseReason::Other);
                if failed.error.kind == Kind::ClientClosed {
                    // as on a direct connection: the server learns that nobody listens any more
                    upstream.take().stream.reset();
                }
                if failed.answered.is_some() {
                    let cells = endpoint.http_cells(worker);
                    let status = failed.answered.unwrap_or_default();
                    cells.request();
                    cells.response(status, failed.class_of(status), began.elapsed(), Default::default());
                }
                Err(Failed { error: failed.error.at(endpoint.address), ..failed })
            }
        }
    }

    /// Tells the client what went wrong.
    async fn refuse(&mut self, head: &RequestHead, failed: Failed) -> After {
        count(self.worker, &failed.error);
        if let Some(record) = &mut self.record {
            record.failed(failed.error.kind, failed.answered);
            record.broke_off(failed.sent, failed.received);
        }
        if failed.cut {
            return After::Linger;
        }
        if failed.answered.is_some() || failed.error.kind == Kind::ClientClosed {
            return After::Reset;
        }
        let rest = self.whole_request(head).filter(|_| failed.repeatable);
        if failed.error.kind.row().status >= 500 {
            self.count_unsent(failed.error.kind.row().status);
        }
        let mut out = Buffer::default();
        let answer = Answer {
            head: if failed.repeatable { &self.conn.buffer.bytes()[..head.len] } else { &[] },
            head_only: head.method == Method::Head,
            close: rest.is_none(),
            hop: Direction::Outbound,
            not_delivered: false,
        };
        render(failed.error.kind, answer, &mut out);
        self.send_answer(&out, rest).await
    }

    /// Gives the answer that the route demands.
    async fn answer(&mut self, head: &RequestHead, answer: Box<LocalAnswer>) -> After {
        let rest = self.whole_request(head);
        self.count_unsent(answer.status);
        let mut out = Buffer::default();
        render_local(&answer, rest.is_none(), &mut out);
        if let Some(record) = &mut self.record {
            record.status = Some(answer.status);
            record.response_bytes = out.len() as u64;
        }
        self.send_answer(&out, rest).await
    }

    async fn send_answer(&mut self, answer: &Buffer, rest: Option<usize>) -> After {
        let sent = self.conn.stream.send(answer.bytes()).await;
        match (sent, rest) {
            (Ok(()), Some(rest)) => {
                self.conn.buffer.consume(rest);
                After::Next
            }
            _ => After::Linger,
        }
    }

    /// Length of the request where all of it is here, to be thrown away, so that the connection can go on after an answer.
    fn whole_request(&self, head: &RequestHead) -> Option<usize> {
        let mut body = Body::new(head.framing);
        let taken = body.take(&self.conn.buffer.bytes()[head.len.min(self.conn.buffer.len())..]).ok()?;
        let goes_on = body.is_done() && head.keep_alive && head.minor == 1 && !self.worker.closing.get();
        goes_on.then_some(head.len + taken)
    }

    /// The request's URL as the route rewrites it, in the client's buffer: nothing after this sees the old one.
    fn rewrite(&mut self, head: &RequestHead, choice: &Choice<'_>) -> Result<RequestHead, Error> {
        let bytes = self.conn.buffer.bytes();
        let written = rewrite_head(bytes, head, &choice.filters.rewrite, choice.prefix as usize);
        let mut rewritten = Buffer::default();
        rewritten.put(&written);
        rewritten.put(&bytes[head.len..]);
        self.conn.buffer = rewritten;
        match parse_request(&written, usize::MAX) {
            Ok(Some(head)) => Ok(head),
            _ => Err(Error::new(Kind::Internal, Side::Internal).because("a rewritten request is malformed")),
        }
    }

    /// Sends copies of a request that is over, as the server saw it. The original has its answer, or its error.
    fn mirror(&mut self, head: &RequestHead, plan: &Rc<Plan>, choice: &Choice<'_>, failed: Option<&Failed>) {
        let kept = Some(std::mem::take(&mut self.kept)).filter(|kept| *kept > 0);
        let whole = || {
            let mut body = Body::new(head.framing);
            let taken = body.take(&self.conn.buffer.bytes()[head.len..]).ok()?;
            body.is_done().then_some(head.len + taken)
        };
        let unanswered =
            || failed.filter(|failed| failed.repeatable && failed.answered.is_none()).and_then(|_| whole());
        let tunnel = head.upgrade || head.method == Method::Connect;
        match kept.or_else(unanswered).filter(|_| !tunnel) {
            Some(length) => {
                let bytes = self.conn.buffer.bytes();
                let mut copy = Buffer::default();
                write_head(&bytes[..head.len], &head.cuts, &choice.filters.request, &[], &mut copy);
                copy.put(&bytes[head.len..length]);
                mirror::send(self.worker, plan, choice.mirrored(), copy.bytes());
            }
            None => choice.mirrored().for_each(|_| self.worker.cells.mirrored(MirrorResult::TooLarge)),
        }
        if let Some(kept) = kept {
            self.conn.buffer.consume(kept);
        }
    }

    /// An answer with a Service but no endpoint to count it at.
    fn count_unsent(&self, status: u16) {
        if let Some(plan) = self.target.known_plan()
            && let Plan::Service(service) = &*plan
        {
            let class = if status >= 500 { Classification::Failure } else { Classification::Success };
            let cells = service.own.unsent_cells(self.worker);
            cells.request();
            cells.response(status, class, Default::default(), Default::default());
        }
    }
}

/// A request as routes and records see it.
fn view<'a>(head: &RequestHead, bytes: &'a [u8], lines: &'a Lines<'a>) -> RequestView<'a> {
    let (path, query) = head.path_and_query(bytes);
    RequestView { method: head.method_name(bytes), path, query, headers: lines }
}

/// Whether the request at the front of `bytes` may happen twice.
fn may_happen_twice(head: &RequestHead, bytes: &[u8]) -> bool {
    is_idempotent(head.method_name(bytes), Lines::new(&bytes[..head.len]).first(KEY).is_some())
}

/// Waits before another attempt that the route asks for, within the request's time.
async fn pause(worker: &Worker, choice: &Choice<'_>, retries: &Retries<'_>) -> Result<(), Failed> {
    let random = worker.random.borrow_mut().next_u64();
    let until = Instant::now() + retries.pause(random);
    match choice.deadline().filter(|deadline| *deadline <= until) {
        Some(deadline) => {
            sleep_until(deadline).await;
            Err(Failed::untouched(Error::new(Kind::RequestTimeout, Side::Upstream)))
        }
        None => {
            sleep_until(until).await;
            Ok(())
        }
    }
}

/// A new connection for a request; the wait is counted apart from the time that the proxy takes itself.
async fn dial(worker: &Worker, endpoint: &Endpoint, deadline: Option<Instant>) -> Result<(Upstream, Duration), Error> {
    let began = Instant::now();
    let dialling = endpoint.connect(worker, Alpn::Http);
    let result = match deadline {
        None => dialling.await,
        Some(deadline) => match timeout_at(deadline, dialling).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(Kind::RequestTimeout, Side::Upstream)),
        },
    };
    let waited = began.elapsed();
    worker.cells.pool_wait(waited);
    Ok((result?, waited))
}

/// What becomes of the two connections.
fn finish(endpoint: &Endpoint, upstream: Upstream, forwarded: &Forwarded) -> After {
    if forwarded.tunnel {
        return After::Tunnel(Box::new(upstream));
    }
    if forwarded.keep_up {
        endpoint.keep(upstream);
    } else {
        upstream.close();
    }
    if forwarded.keep_down { After::Next } else { After::Linger }
}

fn record(cells: &Arc<EdgeCells>, forwarded: &Forwarded, began: Instant) {
    let class = if forwarded.status >= 500 { Classification::Failure } else { Classification::Success };
    cells.request();
    cells.written(forwarded.sent);
    cells.read(forwarded.received);
    cells.response(forwarded.status, class, began.elapsed(), forwarded.added);
}

fn outcome(status: u16) -> Outcome {
    if status >= 500 { Outcome::Failure } else { Outcome::Success }
}

/// Writes an answer that a route demands.
fn render_local(answer: &LocalAnswer, close: bool, out: &mut Buffer) {
    let reason = match answer.status {
        204 => "No Content",
        301 => "Moved Permanently",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        _ => "Found",
    };
    out.put(format!("HTTP/1.1 {} {reason}\r\n", answer.status).as_bytes());
    for (name, value) in &answer.fields {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.put(part);
        }
    }
    if answer.status != 204 {
        // a response to which no length is said would end with the connection
        out.put(b"content-length: 0\r\n");
    }
    out.put(if close { b"connection: close\r\n\r\n" } else { b"\r\n" });
}

/// Answers a request that cannot be served, on a connection that cannot go on.
pub(super) async fn answer_and_close(_: &Worker, mut conn: Conn, kind: Kind) {
    let mut out = Buffer::default();
    let answer = Answer { head: &[], head_only: false, close: true, hop: Direction::Outbound, not_delivered: false };
    render(kind, answer, &mut out);
    if conn.stream.send(out.bytes()).await.is_ok() {
        drop(out);
        linger(conn).await;
    }
}

fn because(kind: Kind, error: HeadError) -> Error {
    let error_text = match error {
        HeadError::Malformed(what) => what,
        HeadError::TooLarge => "head too large",
    };
    Error::new(kind, Side::Downstream).because(error_text)
}
