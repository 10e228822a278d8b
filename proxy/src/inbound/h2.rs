//! HTTP/2 of peers: the life of one request, which is a stream and a task, on its way to the application.
//!
//! Each connection of a peer has its own connection to the application, so that peers do not share windows or limits; the
//! application is dialled before a request's body is read.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method};
use minimesh_api::model::{DefaultPolicy, Direction, EdgeProtocol};
use minimesh_identity::SpiffeId;
use minimesh_route::HeaderEdits;
use tokio::time::{Instant, timeout};

use super::authorize::{Admission, Permit};
use super::count;
use super::peer::Peer;
use super::port::Port;
use crate::error::{Error, Kind, Retry, Side};
use crate::http::OWN_LINES;
use crate::http::h1::Conn;
use crate::http::h2::{
    Dialling, Downstream, Ended, Failed, Fields, Incoming, Keep, Link, Outgoing, Parting, Passage, Pool, Reply, Slot,
    Socket, Use, accept, answer, check, drive, forward, view, wire,
};
use crate::io::Tls;
use crate::metrics::{Classification, CloseReason, EdgeCells, Refusal, RetryReason};
use crate::observe::{Record, Wire};
use crate::worker::Worker;

/// Applications close idle connections when they like: as for HTTP/1, an idle one is used for a second.
const IDLE: Duration = Duration::from_secs(1);

/// An HTTP/2 server greets when it is connected to; what waits for the client's bytes is none.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// New connections to the application for one request, after a GOAWAY that left it out.
const RETRIES: usize = 3;

static NO_EDITS: HeaderEdits = HeaderEdits { set: Vec::new(), add: Vec::new(), remove: Vec::new() };

/// A connection of a peer.
struct Session {
    worker: Rc<Worker>,
    permit: Permit,
    socket: Socket,
    client_id: Option<HeaderValue>,
    /// Credentials' generation by which its certificate was judged last.
    judged: Cell<u64>,
    /// It was judged, and is not accepted any more.
    distrusted: Cell<bool>,
    /// Let in by a probe alone, which was asked.
    probed: Cell<bool>,
    /// By the policy in force.
    cells: RefCell<(DefaultPolicy, Arc<EdgeCells>)>,
    app: Rc<Pool>,
    address: Option<SocketAddr>,
}

/// A request of a peer.
struct Client {
    session: Rc<Session>,
    down: Downstream,
    reply: Reply,
    began: Instant,
    cells: Arc<EdgeCells>,
    /// What is to be said of the request, where somebody wants to know.
    record: Option<Box<Record>>,
}

/// Serves one connection of a peer.
pub(super) async fn serve(worker: &Rc<Worker>, permit: Permit, conn: Conn) {
    let cells = permit.port().cells(worker, EdgeProtocol::Http, permit.peer());
    let client_id = permit.peer().identity().and_then(|id| HeaderValue::from_str(id.as_str()).ok());
    let (end, socket) = wire(conn);
    let socket_peer = socket.peer().filter(|_| worker.observer.is_on());
    let policy = permit.port().policy(worker);
    let session = Rc::new(Session {
        worker: Rc::clone(worker),
        permit,
        socket,
        client_id,
        judged: Cell::new(worker.generation()),
        distrusted: Cell::new(false),
        probed: Cell::new(false),
        cells: RefCell::new((policy, Arc::clone(&cells))),
        app: Rc::default(),
        address: socket_peer,
    });
    let parting = || match () {
        () if !session.permit.holds_for_requests(worker) => Parting::Revoked,
        () if worker.closing.get() || session.distrusted.get() || session.probed.get() => Parting::Now,
        () if worker.leaving.get() => Parting::Served,
        () => Parting::Stay,
    };
    cells.opened();
    let opened = Instant::now();
    let ended = accept(worker, end, &session.socket, &parting, |incoming| task(&session, incoming)).await;
    note(worker, session.address, ended);
    let end = if session.permit.holds_for_requests(worker) { ended.reason } else { CloseReason::Policy };
    cells.closed(end, opened.elapsed());
    session.socket.close();
}

/// Bytes of a stream's task.
#[cfg(test)]
pub(super) fn stream_size() -> usize {
    type Of = (Rc<Session>, Incoming);
    crate::path_tests::sizes::returned(|(session, incoming): Of| stream(session, incoming))
}

/// Tells a peer that is not let in.
pub(super) async fn deny(worker: &Rc<Worker>, port: &Rc<Port>, peer: &Peer, conn: Conn, refusal: Refusal) {
    let (end, socket) = wire(conn);
    let address = socket.peer().filter(|_| worker.observer.is_on());
    let each = |incoming: Incoming| {
        worker.cells.refused(refusal);
        port.cells(worker, EdgeProtocol::Http, peer).denied();
        count(worker, &Error::new(Kind::PolicyDenied, Side::Policy).because(refusal.word()).at(port.address));
        let Incoming { head, mut down, .. } = incoming;
        let reply = Reply::of(&head, Direction::Inbound);
        answer(Kind::PolicyDenied, &reply, false, &mut down);
        if let Some(mut record) = record_of(worker, port, peer, address, &head) {
            record.failed(Kind::PolicyDenied, None);
            record.told_grpc(reply.seen(Kind::PolicyDenied.row()).1);
            worker.observer.finish(record);
        }
        Some(async {})
    };
    let ended = accept(worker, end, &socket, &|| Parting::Served, each).await;
    note(worker, address, ended);
}

/// What a client did wrong that is no request's.
fn note(worker: &Worker, address: Option<SocketAddr>, ended: Ended) {
    if let Some(kind) = ended.error {
        count(worker, &Error::new(kind, Side::Downstream));
        worker.observer.refused_by(Direction::Inbound, Wire::Http2, address, kind);
    }
}

/// Begins a record of a request, where somebody wants to know.
fn record_of(
    worker: &Worker,
    port: &Port,
    peer: &Peer,
    address: Option<SocketAddr>,
    head: &http::request::Parts,
) -> Option<Box<Record>> {
    if !worker.observer.is_on() {
        return None;
    }
    let fields = Fields(head);
    let mut record = worker.observer.request(Direction::Inbound, Wire::Http2, address, &view(head, &fields))?;
    record.endpoint = Some(port.address);
    record.client_identity = peer.identity().map(SpiffeId::to_shared);
    record.server_identity = worker.own_identity();
    Some(record)
}

/// The task of one inbound request, if there is to be one.
fn task(session: &Rc<Session>, incoming: Incoming) -> Option<impl Future<Output = ()> + use<>> {
    if incoming.surplus {
        count(&session.worker, &incoming.refuse());
        return None;
    }
    Some(stream(Rc::clone(session), incoming))
}

/// The life of one inbound request.
async fn stream(session: Rc<Session>, incoming: Incoming) {
    let Incoming { head, down, .. } = incoming;
    let reply = Reply::of(&head, Direction::Inbound);
    let cells = session.cells();
    let Session { worker, permit, address, .. } = &*session;
    let record = record_of(worker, permit.port(), permit.peer(), *address, &head);
    let mut client = Client { session, down, reply, began: Instant::now(), cells, record };
    if let Err(failed) = client.run(head).await {
        client.refuse(failed);
    }
    if let Some(record) = client.record.take() {
        client.session.worker.observer.finish(record);
    }
}

impl Client {
    async fn run(&mut self, head: http::request::Parts) -> Result<(), Failed> {
        let session = Rc::clone(&self.session);
        if session.authorize(&head).map_err(Failed::untouched)? == Admission::Audited {
            self.cells.audited();
        }
        let own = if session.client_id.is_some() { OWN_LINES } else { 0 };
        let limit = session.worker.head_limit + own;
        check(&head, limit).map_err(|kind| Failed::untouched(Error::new(kind, Side::Downstream)))?;
        let outgoing = Outgoing::new(head, &NO_EDITS, session.client_id.as_ref());
        let mut retries = 0;
        loop {
            let failed = match self.attempt(&session, &outgoing).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            // the application said goodbye on a connection, and may well take another
            let again = failed.undelivered == Some(RetryReason::GoAway) && failed.repeatable && retries < RETRIES;
            if !again {
                return Err(failed);
            }
            retries += 1;
            session.worker.cells.retry(RetryReason::GoAway);
        }
    }

    async fn attempt(&mut self, session: &Rc<Session>, outgoing: &Outgoing) -> Result<(), Failed> {
        let waiting = Instant::now();
        let slot = self.down.unless_gone(None, Box::pin(slot(session))).await.map_err(Failed::untouched)?;
        if let Some(record) = &mut self.record {
            record.waited = waiting.elapsed();
        }
        if outgoing.is_extended_connect() && !slot.link().takes_extended_connect() {
            return Err(Failed::untouched(Error::new(Kind::ConnectProtocolUnsupported, Side::Upstream)));
        }
        let passage = Passage {
            response: &NO_EDITS,
            mesh: false,
            limit: session.worker.head_limit,
            cells: &self.cells,
            direction: Direction::Inbound,
            grpc: self.reply.is_grpc(),
            began: self.began,
            waited: waiting.elapsed(),
            deadline: None,
            retries: None,
            again: None,
            keep: false,
        };
        let forwarded = forward(&mut self.down, &slot, outgoing, &passage).await?;
        if let Some(record) = &mut self.record {
            forwarded.describe(record);
        }
        let latency = self.began.elapsed();
        match forwarded.grpc {
            Some(status) => self.cells.grpc_response(status, latency, forwarded.added),
            None => {
                let class = if forwarded.status >= 500 { Classification::Failure } else { Classification::Success };
                self.cells.response(forwarded.status, class, latency, forwarded.added);
            }
        }
        Ok(())
    }

    /// Tells the peer what went wrong. A proxy of ours that reads `not_delivered` sends the request elsewhere.
    fn refuse(&mut self, failed: Failed) {
        let (worker, cells) = (&self.session.worker, &self.cells);
        count(worker, &failed.error);
        if let Some(record) = &mut self.record {
            record.failed(failed.error.kind, failed.answered);
            record.broke_off(failed.sent, failed.received);
            if failed.answered.is_none() {
                record.told_grpc(self.reply.seen(failed.error.kind.row()).1);
            }
        }
        if failed.error.kind == Kind::PolicyDenied {
            cells.denied();
        }
        let latency = self.began.elapsed();
        if let Some(status) = failed.answered {
            return cells.response(status, failed.class_of(status), latency, Duration::ZERO);
        }
        cells.request();
        match self.reply.seen(failed.error.kind.row()) {
            (_, Some(status)) => cells.grpc_response(status, latency, Duration::ZERO),
            (status, None) => {
                let class = if status >= 500 { Classification::Failure } else { Classification::Success };
                cells.response(status, class, latency, Duration::ZERO);
            }
        }
        if failed.error.kind == Kind::ClientClosed {
            return;
        }
        let not_sent = failed.error.retry == Retry::OtherEndpoint && self.session.permit.peer().identity().is_some();
        match failed.reset {
            Some(reason) => self.down.reset(reason),
            None => answer(failed.error.kind, &self.reply, not_sent, &mut self.down),
        }
    }
}

impl Session {
    /// Who is let in for a probe alone asks once.
    fn is_second_probe(&self) -> bool {
        !self.permit.holds(&self.worker) && self.probed.replace(true)
    }

    /// Policy may have turned, and the peer's certificate may have run out, since the last request.
    fn authorize(&self, head: &http::request::Parts) -> Result<Admission, Error> {
        let tunnel = head.method == Method::CONNECT;
        let target = (head.uri.path().as_bytes(), head.uri.query().map(str::as_bytes));
        let admission = match self.permit.request(&self.worker, head.method.as_str(), target) {
            // one request and nothing else
            Ok(Admission::Probe) if tunnel || self.is_second_probe() => Err(Refusal::PolicyDenied),
            decided => decided,
        };
        let admission = admission.map_err(|refusal| {
            self.worker.cells.refused(refusal);
            Error::new(Kind::PolicyDenied, Side::Policy).because(refusal.word())
        })?;
        let generation = self.worker.generation();
        if generation == self.judged.get() || self.permit.peer().identity().is_none() {
            return Ok(admission);
        }
        let credentials = self.worker.credentials()?;
        let judged = self.socket.with_tls(|tls| {
            let peer = tls.and_then(Tls::peer_certificates);
            credentials.check_client(peer, SystemTime::now())
        });
        if let Err(error) = judged {
            self.distrusted.set(true);
            return Err(Error::new(Kind::of_peer(&error), Side::Downstream).because(error));
        }
        self.judged.set(generation);
        Ok(admission)
    }

    /// Where requests are counted: by the policy that lets them in.
    fn cells(&self) -> Arc<EdgeCells> {
        let policy = self.permit.port().policy(&self.worker);
        let mut cells = self.cells.borrow_mut();
        if cells.0 != policy {
            *cells = (policy, self.permit.port().cells(&self.worker, EdgeProtocol::Http, self.permit.peer()));
        }
        Arc::clone(&cells.1)
    }
}

/// A place on a connection to the application.
async fn slot(session: &Rc<Session>) -> Result<Slot, Error> {
    let began = Instant::now();
    let dialled = Cell::new(false);
    let dial = || {
        dialled.set(true);
        let port = Rc::clone(session.permit.port());
        Dialling(Box::pin(dial(Rc::clone(&session.worker), port, Rc::clone(&session.app))))
    };
    let slot = session.app.slot(&|_| Use::Yes, &dial).await;
    if dialled.get() {
        session.worker.cells.pool_wait(began.elapsed());
    }
    slot
}

/// A new connection to the application; its driver runs until it ends.
async fn dial(worker: Rc<Worker>, port: Rc<Port>, app: Rc<Pool>) -> Result<Rc<Link>, Error> {
    let conn = port.dial(&worker).await?;
    let opening = app.open(conn, worker.head_limit, 0, Keep { idle: IDLE, ping: false, until: None });
    let (link, driver) = match timeout(GREETING_TIMEOUT, opening).await {
        Ok(opened) => opened.map_err(|error| error.at(port.address))?,
        Err(_) => {
            return Err(Error::new(Kind::ConnectTimeout, Side::Upstream).because("no SETTINGS").at(port.address));
        }
    };
    tokio::task::spawn_local(async move {
        let _: CloseReason = drive(driver).await;
    });
    Ok(link)
}
