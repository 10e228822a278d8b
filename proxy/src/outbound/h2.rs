//! HTTP/2 of the application: the life of one request, which is a stream and a task, on its way out.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use minimesh_api::model::Direction;
use minimesh_balance::Outcome;
use minimesh_identity::Alpn;
use tokio::time::{Instant, sleep_until, timeout};

use super::again::{Again, Lost};
use super::backend::Tried;
use super::choose::{Choice, Decision, Load, choose};
use super::endpoint::Endpoint;
use super::target::{Plan, Target};
use super::{count, mirror};
use crate::error::{Error, Kind, Side};
use crate::http::Retries;
use crate::http::h1::Conn;
use crate::http::h2::{
    Dialling, Downstream, Failed, Fields, Forwarded, Incoming, Keep, Link, Outgoing, Parting, Passage, Reply, Slot,
    accept, answer, check, drive, forward, tell, view, wire,
};
use crate::metrics::{Classification, CloseReason, EdgeCells, MirrorResult};
use crate::observe::{Record, Route, Wire};
use crate::worker::Worker;

/// A server greets when it is connected to; this is for one that never does.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// A request of the application.
struct Client {
    worker: Rc<Worker>,
    target: Rc<Target>,
    down: Downstream,
    reply: Reply,
    /// What is to be said of the request, where somebody wants to know.
    record: Option<Box<Record>>,
}

/// Serves one connection of the application.
pub(super) async fn serve(worker: &Rc<Worker>, target: &Rc<Target>, conn: Conn) {
    let (end, socket) = wire(conn);
    let parting = || if worker.closing.get() { Parting::Now } else { Parting::Stay };
    let address = socket.peer().filter(|_| worker.observer.is_on());
    let each = |incoming: Incoming| {
        if incoming.surplus {
            count(worker, &incoming.refuse());
            return None;
        }
        Some(stream(Rc::clone(worker), Rc::clone(target), address, incoming))
    };
    let ended = accept(worker, end, &socket, &parting, each).await;
    if let Some(kind) = ended.error {
        count(worker, &Error::new(kind, Side::Downstream));
        worker.observer.refused_by(Direction::Outbound, Wire::Http2, address, kind);
    }
}

/// Bytes of a stream's task.
#[cfg(test)]
pub(super) fn stream_size() -> usize {
    type Of = (Rc<Worker>, Rc<Target>, Option<SocketAddr>, Incoming);
    crate::path_tests::sizes::returned(|(worker, target, address, incoming): Of| {
        stream(worker, target, address, incoming)
    })
}

/// Answers every request of a connection that goes nowhere.
pub(super) async fn refuse(worker: &Rc<Worker>, conn: Conn, kind: Kind) {
    let (end, socket) = wire(conn);
    let each = |incoming: Incoming| {
        let Incoming { head, mut down, .. } = incoming;
        answer(kind, &Reply::of(&head, Direction::Outbound), false, &mut down);
        Some(async {})
    };
    accept(worker, end, &socket, &|| Parting::Served, each).await;
}

/// The life of one outbound request.
async fn stream(worker: Rc<Worker>, target: Rc<Target>, address: Option<SocketAddr>, incoming: Incoming) {
    let began = Instant::now();
    let Incoming { head, down, .. } = incoming;
    let reply = Reply::of(&head, Direction::Outbound);
    let mut client = Client { worker, target, down, reply, record: None };
    if client.worker.observer.is_on() {
        client.observe(&head, address);
    }
    if let Err(failed) = client.run(head, began).await {
        client.refuse(failed);
    }
    if let Some(record) = client.record.take() {
        client.worker.observer.finish(record);
    }
}

impl Client {
    /// Begins a record of the request.
    fn observe(&mut self, head: &http::request::Parts, address: Option<SocketAddr>) {
        let fields = Fields(head);
        let view = view(head, &fields);
        self.record = self.worker.observer.request(Direction::Outbound, Wire::Http2, address, &view);
        if let Some(record) = &mut self.record {
            record.client_identity = self.worker.own_identity();
        }
    }

    async fn run(&mut self, head: http::request::Parts, began: Instant) -> Result<(), Failed> {
        let worker = Rc::clone(&self.worker);
        let worker = &worker;
        check(&head, worker.head_limit).map_err(|kind| Failed::untouched(Error::new(kind, Side::Downstream)))?;
        let plan = self.target.plan(worker).await.map_err(Failed::untouched)?;
        let target = Rc::clone(&self.target);
        let (decision, retries) = {
            let fields = Fields(&head);
            let request = view(&head, &fields);
            let decision = choose(worker, &plan, &request, began).map_err(Failed::untouched)?;
            let retries = decision.retries(&target.retries, &worker.cells, &request);
            (decision, retries)
        };
        let choice = match decision {
            Decision::Answer(told, rule) => {
                self.count_unsent(told.status, None);
                tell(told.status, &told.fields, &mut self.down);
                if let Some(record) = &mut self.record {
                    record.route = Some(Route::of(rule));
                    record.status = Some(told.status);
                }
                return Ok(());
            }
            Decision::Forward(choice) => choice,
        };
        if let Some(record) = &mut self.record {
            choice.describe(record);
        }
        let mut outgoing = Outgoing::new(head, &choice.filters.request, None);
        if !choice.filters.rewrite.is_none() {
            outgoing.rewrite(&choice.filters.rewrite, choice.prefix as usize).map_err(Failed::untouched)?;
        }
        self.target.retries.deposit();
        let mut tried = Tried::default();
        let result = loop {
            let endpoint = match choice.pick(worker, &tried).await {
                Ok(endpoint) => endpoint,
                Err(error) => break Err(Failed::untouched(error)),
            };
            match self.attempt(&outgoing, &choice, &endpoint, retries.as_deref(), &tried).await {
                Ok(true) => break Ok(()),
                // the answer was thrown away
                Ok(false) => {}
                Err(failed) => {
                    let lost = self.lost(&outgoing, &failed, retries.as_deref());
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
                && let Err(error) = self.pause(&choice, retries).await
            {
                break Err(Failed::untouched(error));
            }
        };
        if choice.mirrors != 0 {
            match self.down.copy().filter(|_| !outgoing.is_extended_connect()) {
                Some(body) => mirror::send_stream(worker, &plan, choice.mirrored(), outgoing, body),
                None => choice.mirrored().for_each(|_| worker.cells.mirrored(MirrorResult::TooLarge)),
            }
        }
        result
    }

    /// What a failed attempt leaves to be judged.
    fn lost<'a>(&'a self, request: &Outgoing, failed: &'a Failed, retries: Option<&'a Retries<'a>>) -> Lost<'a> {
        Lost {
            error: &failed.error,
            repeatable: failed.repeatable && failed.answered.is_none(),
            proof: failed.undelivered,
            idempotent: request.may_happen_twice(),
            retries,
            budget: &self.target.retries,
        }
    }

    fn note_retry(&mut self) {
        if let Some(record) = &mut self.record {
            record.retries += 1;
        }
    }

    /// Waits before another attempt that the route asks for, within the request's time and while the client wants it.
    async fn pause(&mut self, choice: &Choice<'_>, retries: &Retries<'_>) -> Result<(), Error> {
        let random = self.worker.random.borrow_mut().next_u64();
        let until = Instant::now() + retries.pause(random);
        let pause = async {
            sleep_until(until).await;
            Ok(())
        };
        self.down.unless_gone(choice.deadline(), pause).await
    }

    /// One attempt on one endpoint; `false`: it was answered, and the answer thrown away.
    async fn attempt(
        &mut self,
        outgoing: &Outgoing,
        choice: &Choice<'_>,
        endpoint: &Rc<Endpoint>,
        retries: Option<&Retries<'_>>,
        tried: &Tried,
    ) -> Result<bool, Failed> {
        let (worker, began) = (&self.worker, choice.began);
        let mut load = Load::new(endpoint);
        if let Some(record) = &mut self.record {
            record.endpoint = Some(endpoint.address);
            record.server_identity = endpoint.identity().map(|identity| identity.to_shared());
        }
        let deadline = choice.attempt_deadline();
        // what earlier attempts took is no time of ours either
        let mut waited = if tried.is_empty() { Duration::ZERO } else { load.began - began };
        let waiting = Instant::now();
        let slot = self.down.unless_gone(deadline, Box::pin(slot(worker, endpoint))).await;
        let slot = slot.map_err(|error| Failed::untouched(error.at(endpoint.address)))?;
        load.began = Instant::now();
        waited += load.began - waiting;
        if let Some(record) = &mut self.record {
            record.waited = waited;
        }
        if outgoing.is_extended_connect() && !slot.link().takes_extended_connect() {
            return Err(Failed::untouched(
                Error::new(Kind::ConnectProtocolUnsupported, Side::Upstream).at(endpoint.address),
            ));
        }
        let session = choice.session_edits(endpoint);
        let again = || outgoing.may_happen_twice() && choice.may_ask_again(worker, endpoint, tried);
        let passage = Passage {
            response: session.as_deref().unwrap_or(choice.response()),
            mesh: endpoint.is_mesh(),
            limit: worker.head_limit,
            cells: endpoint.http_cells(worker),
            direction: Direction::Outbound,
            grpc: self.reply.is_grpc(),
            began,
            waited,
            deadline,
            retries,
            again: Some(&again),
            keep: choice.mirrors != 0,
        };
        match forward(&mut self.down, &slot, outgoing, &passage).await {
            Ok(forwarded) => {
                load.outcome = outcome(&forwarded);
                // a stream may last for hours: how fast an endpoint is shows when it begins to answer
                load.began += forwarded.answered.elapsed();
                if let Some(record) = &mut self.record {
                    forwarded.describe(record);
                }
                count_response(passage.cells, forwarded.status, forwarded.grpc, began.elapsed(), forwarded.added);
                Ok(!forwarded.discarded)
            }
            Err(failed) => {
                load.failed(&failed.error, failed.answered.is_some());
                if let Some(status) = failed.answered {
                    passage.cells.response(status, failed.class_of(status), began.elapsed(), Duration::ZERO);
                }
                Err(Failed { error: failed.error.at(endpoint.address), ..failed })
            }
        }
    }

    /// Tells the client what went wrong.
    fn refuse(&mut self, failed: Failed) {
        count(&self.worker, &failed.error);
        if let Some(record) = &mut self.record {
            record.failed(failed.error.kind, failed.answered);
            record.broke_off(failed.sent, failed.received);
            if failed.answered.is_none() {
                record.told_grpc(self.reply.seen(failed.error.kind.row()).1);
            }
        }
        if failed.answered.is_some() || failed.error.kind == Kind::ClientClosed {
            return;
        }
        let row = failed.error.kind.row();
        if row.status >= 500 {
            let (status, grpc) = self.reply.seen(row);
            self.count_unsent(status, grpc);
        }
        match failed.reset {
            Some(reason) => self.down.reset(reason),
            None => answer(failed.error.kind, &self.reply, false, &mut self.down),
        }
    }

    /// An answer with a Service but no endpoint to count it at.
    fn count_unsent(&self, status: u16, grpc: Option<u8>) {
        if let Some(plan) = self.target.known_plan()
            && let Plan::Service(service) = &*plan
        {
            let cells = service.own.unsent_cells(&self.worker);
            cells.request();
            count_response(cells, status, grpc, Duration::ZERO, Duration::ZERO);
        }
    }
}

/// A place on a link to the endpoint. A wait is counted apart from the time that the proxy takes itself.
pub(super) async fn slot(worker: &Rc<Worker>, endpoint: &Rc<Endpoint>) -> Result<Slot, Error> {
    let began = Instant::now();
    let dialled = std::cell::Cell::new(false);
    let dial = || {
        dialled.set(true);
        Dialling(Box::pin(dial(Rc::clone(worker), Rc::clone(endpoint))))
    };
    let slot = endpoint.links().slot(&|link| endpoint.may_use(worker, link), &dial).await;
    if dialled.get() {
        worker.cells.pool_wait(began.elapsed());
    }
    slot
}

/// A new link; its driver runs until the connection ends, and counts that.
async fn dial(worker: Rc<Worker>, endpoint: Rc<Endpoint>) -> Result<Rc<Link>, Error> {
    let generation = worker.generation();
    let mut upstream = endpoint.connect(&worker, Alpn::Http2).await?;
    let keep = Keep { idle: endpoint.idle_limit(), ping: endpoint.is_mesh(), until: upstream.usable_until() };
    let opening = endpoint.links().open(upstream.take(), worker.head_limit, generation, keep);
    let (link, driver) = match timeout(GREETING_TIMEOUT, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            upstream.ended_by(CloseReason::Other);
            return Err(error.at(endpoint.address));
        }
        Err(_) => {
            upstream.ended_by(CloseReason::TimedOut);
            return Err(Error::new(Kind::ConnectTimeout, Side::Upstream).because("no SETTINGS").at(endpoint.address));
        }
    };
    tokio::task::spawn_local(async move { upstream.ended_by(drive(driver).await) });
    Ok(link)
}

fn count_response(cells: &EdgeCells, status: u16, grpc: Option<u8>, latency: Duration, added: Duration) {
    match grpc {
        Some(grpc) => cells.grpc_response(grpc, latency, added),
        None => {
            let class = if status >= 500 { Classification::Failure } else { Classification::Success };
            cells.response(status, class, latency, added);
        }
    }
}

fn outcome(forwarded: &Forwarded) -> Outcome {
    let failed = match forwarded.grpc {
        Some(status) => Classification::of_grpc(status) == Classification::Failure,
        None => forwarded.status >= 500,
    };
    if failed { Outcome::Failure } else { Outcome::Success }
}
