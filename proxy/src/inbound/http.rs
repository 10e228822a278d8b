//! HTTP/1 of peers: the life of one request on its way to the application.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use minimesh_api::model::{DefaultPolicy, Direction, EdgeProtocol};
use minimesh_identity::SpiffeId;
use minimesh_route::{HeaderEdits, RequestView};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};

use super::authorize::{Admission, Permit};
use super::peer::Peer;
use super::port::Port;
use super::{count, tcp};
use crate::detect::Undecided;
use crate::error::{Answer, Error, Kind, Side, render};
use crate::http::h1::{Alarm, Body, Conn, Failure, Guard, HeadError, Lines, Method, RequestHead};
use crate::http::{Failed, GOODBYE, HeadLimits, Next, OWN_LINES, Passage, forward, linger, next_request};
use crate::io::{Buffer, Tls};
use crate::metrics::{Classification, CloseReason, EdgeCells, Refusal};
use crate::observe::{Record, Wire, address_of};
use crate::worker::Worker;

/// A connection of a peer that carries HTTP/1.
struct Client<'a> {
    worker: &'a Rc<Worker>,
    permit: &'a Permit,
    conn: Conn,
    /// `l5d-client-id: …` of an authenticated peer.
    client_id: Vec<u8>,
    /// Credentials generation by which its certificate was judged last.
    judged: u64,
    alarm: Alarm,
    /// Where requests are counted, under the policy that lets them in.
    cells: Arc<EdgeCells>,
    policy: DefaultPolicy,
    counted: Counted,
    /// What is to be said of the present request, where somebody wants to know.
    record: Option<Box<Record>>,
}

/// Counts the connection as open while it lives.
struct Counted {
    cells: Arc<EdgeCells>,
    opened: Instant,
    end: CloseReason,
}

/// What follows a request.
enum After {
    /// The next request.
    Next,
    /// The peer was told that the connection ends.
    Linger,
    /// Nothing that the peer got may count as complete.
    Reset,
    /// The connection has become a tunnel to the application.
    Tunnel(Conn),
}

/// A peer that is not let in has this long to ask and be told so.
const ASK: Duration = Duration::from_secs(10);

/// Other proxies look at their idle connections once a second.
const PARTING: Duration = Duration::from_secs(3);

static NO_EDITS: HeaderEdits = HeaderEdits { set: Vec::new(), add: Vec::new(), remove: Vec::new() };

/// Serves one connection of a peer; `app`: a connection to the application that is open already.
pub(super) async fn serve(worker: &Rc<Worker>, permit: Permit, conn: Conn, app: Option<Conn>) {
    if let Some(app) = app {
        permit.port().keep(app);
    }
    let cells = permit.port().cells(worker, EdgeProtocol::Http, permit.peer());
    let mut client = Client {
        worker,
        permit: &permit,
        conn,
        client_id: client_id(permit.peer()),
        judged: worker.generation(),
        alarm: Alarm::default(),
        policy: permit.port().policy(worker),
        counted: Counted::new(Arc::clone(&cells)),
        cells,
        record: None,
    };
    let own = if permit.peer().identity().is_some() { OWN_LINES } else { 0 };
    let parting = || worker.closing.get() || worker.leaving.get();
    let mut parted = false;
    loop {
        let since = worker.idle_since();
        let over = || worker.stopped.get() || !permit.holds_for_requests(worker) || worker.is_idle_too_long(since);
        let end_idle = || over() || (parting() && !parted);
        let (conn, alarm) = (&mut client.conn, &mut client.alarm);
        let limits = HeadLimits::of(worker, own);
        let next = match parted {
            false => next_request(conn, limits, alarm, end_idle).await,
            true => Box::pin(last_request(conn, limits, alarm, end_idle)).await,
        };
        let head = match next {
            Next::Request(head) => head,
            Next::Idle if !parted && parting() && permit.peer().identity().is_some() => {
                parted = true;
                match client.conn.stream.send(GOODBYE).await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
            // with close_notify: what the peer sends from now on is not delivered, and it knows
            Next::End | Next::Idle => {
                if !permit.holds_for_requests(worker) {
                    client.counted.end = CloseReason::Policy;
                }
                return client.conn.stream.close().await;
            }
            Next::Refused(error) => return Box::pin(client.refuse_head(error)).await,
            Next::Slow => {
                return Box::pin(client.refuse_connection(Error::new(Kind::HeadTimeout, Side::Downstream))).await;
            }
        };
        worker.connections.note_activity();
        match client.handle(&head).await {
            After::Next => client.conn.buffer.release(),
            After::Linger => return Box::pin(linger(client.conn)).await,
            After::Reset => return client.conn.stream.reset(),
            After::Tunnel(app) => {
                let cells = Arc::clone(&client.cells);
                let never = Undecided::never();
                Box::pin(tcp::tunnel(worker, &permit, &cells, (client.conn, app), &never)).await;
                return;
            }
        }
    }
}

/// After the goodbye: a request that crossed it, or the peer's end. A peer that does neither is not waited for.
async fn last_request(conn: &mut Conn, limits: HeadLimits, alarm: &mut Alarm, end_idle: impl Fn() -> bool) -> Next {
    timeout(PARTING, next_request(conn, limits, alarm, end_idle)).await.unwrap_or(Next::Idle)
}

/// Tells a peer that is not let in, once it has asked.
pub(super) async fn deny(worker: &Rc<Worker>, port: &Rc<Port>, peer: &Peer, mut conn: Conn, refusal: Refusal) {
    worker.cells.refused(refusal);
    port.cells(worker, EdgeProtocol::Http, peer).denied();
    let error = Error::new(Kind::PolicyDenied, Side::Policy).because(refusal.word()).at(port.address);
    count(worker, &error);
    let mut alarm = Alarm::default();
    let limits = HeadLimits::of(worker, 0);
    let asked = next_request(&mut conn, limits, &mut alarm, || worker.stopped.get());
    let (method, length) = match timeout(ASK, asked).await {
        Ok(Next::Request(head)) => {
            refused(worker, record_of(worker, port, peer, &conn, &head));
            (head.method, head.len)
        }
        // whatever it is, it is not let in
        Ok(Next::Refused(_)) => (Method::Other, 0),
        Ok(Next::End | Next::Idle | Next::Slow) | Err(_) => return conn.stream.close().await,
    };
    let mut out = Buffer::default();
    render(error.kind, answer(&conn.buffer.bytes()[..length], method, true), &mut out);
    if conn.stream.send(out.bytes()).await.is_ok() {
        Box::pin(linger(conn)).await;
    }
}

/// Begins a record of a request, where somebody wants to know.
fn record_of(worker: &Worker, port: &Port, peer: &Peer, conn: &Conn, head: &RequestHead) -> Option<Box<Record>> {
    if !worker.observer.is_on() {
        return None;
    }
    let bytes = conn.buffer.bytes();
    let (path, query) = head.path_and_query(bytes);
    let lines = Lines::new(&bytes[..head.len]);
    let view = RequestView { method: head.method_name(bytes), path, query, headers: &lines };
    let client = address_of(&conn.stream);
    let mut record = worker.observer.request(Direction::Inbound, Wire::of_minor(head.minor), client, &view)?;
    record.endpoint = Some(port.address);
    record.client_identity = peer.identity().map(SpiffeId::to_shared);
    record.server_identity = worker.own_identity();
    Some(record)
}

/// Its request was not let in.
fn refused(worker: &Worker, record: Option<Box<Record>>) {
    if let Some(mut record) = record {
        record.failed(Kind::PolicyDenied, None);
        worker.observer.finish(record);
    }
}

impl Client<'_> {
    /// The life of one inbound request.
    async fn handle(&mut self, head: &RequestHead) -> After {
        let began = Instant::now();
        if self.worker.observer.is_on() {
            self.record = record_of(self.worker, self.permit.port(), self.permit.peer(), &self.conn, head);
        }
        let after = match self.run(head, began).await {
            Ok(after) => after,
            Err(failed) => Box::pin(self.refuse(head, failed, began)).await,
        };
        if let Some(record) = self.record.take() {
            self.worker.observer.finish(record);
        }
        after
    }

    async fn run(&mut self, head: &RequestHead, began: Instant) -> Result<After, Failed> {
        let (worker, permit) = (self.worker, self.permit);
        let admission = self.authorize(head).map_err(Failed::untouched)?;
        let port = permit.port();
        // held before the body is read: where the application is absent, nothing of the request is consumed
        let mut waited = Duration::ZERO;
        let mut app = match unconstrained(poll_fn(|cx| Poll::Ready(port.reuse(cx)))).await {
            Some(app) => app,
            None => {
                let dialling = Instant::now();
                let dialled = Box::pin(port.dial(worker)).await;
                waited = dialling.elapsed();
                worker.cells.pool_wait(waited);
                dialled.map_err(Failed::untouched)?
            }
        };
        if let Some(record) = &mut self.record {
            record.waited = waited;
        }
        let passage = Passage {
            request: &NO_EDITS,
            response: &NO_EDITS,
            client_id: &self.client_id,
            mesh: false,
            peer: permit.peer().identity().is_some(),
            // a probe is one request: nothing else comes in beside it
            close: worker.closing.get()
                || worker.leaving.get()
                || (admission == Admission::Probe && !permit.holds(worker))
                || !permit.holds_for_requests(worker),
            limit: worker.head_limit,
            began,
            waited,
            retries: None,
            again: None,
            keep: false,
        };
        let turns = worker.turns.get();
        let ended = || match worker.turns.get() != turns && !permit.holds_for_requests(worker) {
            _ if worker.stopped.get() => Some(Failure::Stopped),
            true => Some(Failure::Revoked),
            false => None,
        };
        let guard = Guard { ended: &ended, alarm: &mut self.alarm };
        let forwarded = match forward(&mut self.conn, &mut app, head, &passage, guard).await {
            Ok(forwarded) => forwarded,
            Err(failed) => {
                if failed.error.kind == Kind::ClientClosed {
                    app.stream.reset();
                }
                return Err(failed);
            }
        };
        let cells = &self.cells;
        let class = if forwarded.status >= 500 { Classification::Failure } else { Classification::Success };
        cells.request();
        if admission == Admission::Audited {
            cells.audited();
        }
        cells.read(forwarded.sent);
        cells.written(forwarded.received);
        cells.response(forwarded.status, class, began.elapsed(), forwarded.added);
        if let Some(record) = &mut self.record {
            record.answered(&forwarded);
        }
        if forwarded.tunnel {
            return Ok(After::Tunnel(app));
        }
        if forwarded.keep_up {
            port.keep(app);
        }
        Ok(if forwarded.keep_down { After::Next } else { After::Linger })
    }

    /// Policy may have turned, and the peer's certificate may have run out, since the last request.
    fn authorize(&mut self, head: &RequestHead) -> Result<Admission, Error> {
        let (worker, permit) = (self.worker, self.permit);
        let policy = permit.port().policy(worker);
        if self.policy != policy {
            self.policy = policy;
            self.cells = permit.port().cells(worker, EdgeProtocol::Http, permit.peer());
        }
        let bytes = self.conn.buffer.bytes();
        let admission = match permit.request(worker, head.method_name(bytes), head.path_and_query(bytes)) {
            Ok(Admission::Probe) if head.upgrade => Err(Refusal::PolicyDenied),
            decided => decided,
        };
        let admission = admission.map_err(|refusal| {
            worker.cells.refused(refusal);
            Error::new(Kind::PolicyDenied, Side::Policy).because(refusal.word())
        })?;
        let generation = self.worker.generation();
        if let (Some(tls), true) = (self.conn.stream.tls(), generation != self.judged) {
            let credentials = self.worker.credentials()?;
            credentials
                .check_client(Tls::peer_certificates(tls), SystemTime::now())
                .map_err(|error| Error::new(Kind::of_peer(&error), Side::Downstream).because(error))?;
            self.judged = generation;
        }
        Ok(admission)
    }

    /// Tells the peer what went wrong. A proxy of ours that reads `not_delivered` sends the request elsewhere.
    async fn refuse(&mut self, head: &RequestHead, failed: Failed, began: Instant) -> After {
        let worker = self.worker;
        count(worker, &failed.error);
        if let Some(record) = &mut self.record {
            record.failed(failed.error.kind, failed.answered);
            record.broke_off(failed.sent, failed.received);
        }
        let row = failed.error.kind.row();
        let status = failed.answered.unwrap_or(row.status);
        let class = match failed.answered {
            Some(status) => failed.class_of(status),
            None if status >= 500 => Classification::Failure,
            None => Classification::Success,
        };
        match (failed.error.kind, failed.answered) {
            (Kind::PolicyDenied, None) => self.cells.denied(),
            _ => {
                self.cells.request();
                self.cells.response(status, class, began.elapsed(), Default::default());
            }
        }
        if failed.cut {
            return After::Linger;
        }
        if failed.answered.is_some() || failed.error.kind == Kind::ClientClosed {
            return After::Reset;
        }
        let mut body = Body::new(head.framing);
        let whole = failed.repeatable && head.keep_alive && head.minor == 1 && row.status != 403;
        let rest = match body.take(self.conn.buffer.bytes().get(head.len..).unwrap_or_default()) {
            Ok(taken) if whole && body.is_done() => Some(head.len + taken),
            _ => None,
        };
        let not_sent = failed.error.retry == crate::error::Retry::OtherEndpoint;
        let bytes = if failed.repeatable { &self.conn.buffer.bytes()[..head.len] } else { &[] };
        let mut answer = answer(bytes, head.method, rest.is_none());
        answer.not_delivered = not_sent && self.permit.peer().identity().is_some();
        let mut out = Buffer::default();
        render(failed.error.kind, answer, &mut out);
        match (self.conn.stream.send(out.bytes()).await, rest) {
            (Ok(()), Some(rest)) => {
                self.conn.buffer.consume(rest);
                After::Next
            }
            _ => After::Linger,
        }
    }

    /// Nothing behind a refused head can be trusted: the connection ends.
    async fn refuse_head(self, error: HeadError) {
        let (kind, what) = match error {
            HeadError::TooLarge => (Kind::HeadTooLarge, "head too large"),
            HeadError::Malformed(what) => (Kind::BadRequest, what),
        };
        self.refuse_connection(Error::new(kind, Side::Downstream).because(what)).await;
    }

    /// Tells the peer why its connection ends.
    async fn refuse_connection(mut self, error: Error) {
        count(self.worker, &error);
        self.worker.observer.refused(Direction::Inbound, Wire::Http11, &self.conn.stream, error.kind);
        let mut out = Buffer::default();
        render(error.kind, answer(&[], Method::Other, true), &mut out);
        if self.conn.stream.send(out.bytes()).await.is_ok() {
            linger(self.conn).await;
        }
    }
}

/// What the application is told of an authenticated peer.
fn client_id(peer: &Peer) -> Vec<u8> {
    peer.identity().map(|id| format!("l5d-client-id: {id}\r\n").into_bytes()).unwrap_or_default()
}

fn answer(head: &[u8], method: Method, close: bool) -> Answer<'_> {
    Answer { head, head_only: method == Method::Head, close, hop: Direction::Inbound, not_delivered: false }
}

impl Counted {
    fn new(cells: Arc<EdgeCells>) -> Counted {
        cells.opened();
        Counted { cells, opened: Instant::now(), end: CloseReason::Clean }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.cells.closed(self.end, self.opened.elapsed());
    }
}
