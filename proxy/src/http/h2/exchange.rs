//! One request over one link and its response back, as both proxies do it.
//!
//! Both bodies move at once, in the stream's own task. A reset goes on with its code in either direction; a client that cancels
//! while the server thinks is heard at once.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Response};
use minimesh_api::model::Direction;
use minimesh_route::HeaderEdits;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::{Body, Broken};
use super::ledger::Counted;
use super::link::Slot;
use super::{Copied, Outgoing, Sender, head};
use crate::error::{Error, Kind, Retry, Side};
use crate::http::{OWN_LINES, Retries};
use crate::metrics::{Classification, EdgeCells, RetryReason};
use crate::observe::Record;

/// A client's half of a stream.
pub(crate) struct Downstream {
    body: Body,
    respond: SendResponse<Bytes>,
    _counted: Counted,
}

/// What happens on the way, and where it is counted.
pub(crate) struct Passage<'a> {
    /// A route's edits.
    pub(crate) response: &'a HeaderEdits,
    /// Whether the server is a proxy of ours, known by its certificate.
    pub(crate) mesh: bool,
    /// Largest response head.
    pub(crate) limit: usize,
    pub(crate) cells: &'a EdgeCells,
    /// Which proxy we are.
    pub(crate) direction: Direction,
    /// The request is gRPC's.
    pub(crate) grpc: bool,
    /// When the request's head was complete.
    pub(crate) began: Instant,
    /// Time since then that was spent waiting for a connection.
    pub(crate) waited: Duration,
    pub(crate) deadline: Option<Instant>,
    /// Whether an answer is thrown away, because the route wants another attempt.
    pub(crate) retries: Option<&'a Retries<'a>>,
    /// Asked where the server ended without an answer: whether the request goes elsewhere. Where nobody is asked, it does not.
    pub(crate) again: Option<&'a dyn Fn() -> bool>,
    /// The request's body stays at hand as far as it can, for a copy.
    pub(crate) keep: bool,
}

/// A request that was answered, and its answer passed on whole, or thrown away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forwarded {
    pub(crate) status: u16,
    /// Where the message was gRPC's.
    pub(crate) grpc: Option<u8>,
    /// Time that this proxy took of the latency.
    pub(crate) added: Duration,
    /// When the response's head came.
    pub(crate) answered: Instant,
    /// Bytes of the request's body, as sent on.
    pub(crate) sent: u64,
    /// Bytes of the response's body, as sent on.
    pub(crate) received: u64,
    /// The answer was thrown away: the request is to be sent again.
    pub(crate) discarded: bool,
}

impl Forwarded {
    /// What an access log says of it.
    pub(crate) fn describe(&self, record: &mut Record) {
        record.status = Some(self.status);
        record.request_bytes = self.sent;
        record.response_bytes = self.received;
        record.added = self.added;
        record.grpc = self.grpc;
    }
}

/// A request that was not answered, or not to its end.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// The status that was already sent on; the client's stream was reset.
    pub(crate) answered: Option<u16>,
    /// The whole request is still here.
    pub(crate) repeatable: bool,
    /// The code with which the server reset the stream: the client gets the same.
    pub(crate) reset: Option<Reason>,
    /// Why it was provably not delivered, where HTTP/2 itself proves it.
    pub(crate) undelivered: Option<RetryReason>,
    /// Bytes of the request's body that were sent on, where there was an answer to break off.
    pub(crate) sent: u64,
    /// Bytes of the response's body that were sent on.
    pub(crate) received: u64,
}

impl Failed {
    /// Failed before anything was sent.
    pub(crate) fn untouched(error: Error) -> Failed {
        Failed { error, answered: None, repeatable: true, reset: None, undelivered: None, sent: 0, received: 0 }
    }

    /// What a response that was not passed on whole counts as. A client that leaves before it has read everything is no failure
    /// of the server's.
    pub(crate) fn class_of(&self, status: u16) -> Classification {
        match self.error.kind {
            Kind::ClientClosed if status < 500 => Classification::Success,
            _ => Classification::Failure,
        }
    }
}

impl Downstream {
    pub(super) fn new(body: RecvStream, respond: SendResponse<Bytes>) -> Downstream {
        Downstream { body: Body::request(body), respond, _counted: Counted::new() }
    }

    pub(super) fn respond(&mut self) -> &mut SendResponse<Bytes> {
        &mut self.respond
    }

    /// The request's body, where all of it was kept.
    pub(crate) fn copy(&self) -> Option<Copied> {
        self.body.copy()
    }

    /// Resets the client's stream.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Waits for something that the request needs, unless the client gives up or time runs out.
    pub(crate) async fn unless_gone<T>(
        &mut self,
        deadline: Option<Instant>,
        waiting: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut waiting = pin!(waiting);
        let mut alarm = Alarm(deadline.map(|deadline| Box::pin(sleep_until(deadline))));
        poll_fn(|cx| {
            if let Poll::Ready(done) = waiting.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if self.respond.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Error::new(Kind::ClientClosed, Side::Downstream)));
            }
            alarm.poll(cx).map(|()| Err(Error::new(Kind::RequestTimeout, Side::Upstream)))
        })
        .await
    }
}

/// A deadline, with a timer only where there is one.
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

/// A request on its way.
struct Exchange<'a> {
    down: &'a mut Downstream,
    passage: &'a Passage<'a>,
    up: Sender,
    alarm: Alarm,
    /// An interim response came.
    spoken: bool,
}

/// Why an exchange ended early.
enum Failure {
    /// The client reset the stream, or is gone.
    Client(Reason),
    /// The server's stream or connection failed.
    Server(h2::Error),
    /// The server reset the stream while it was answering.
    ServerReset(Reason),
    /// The server's head is larger than we take.
    TooLarge,
    TimedOut,
}

/// Takes one request over `slot` and its response back.
pub(crate) async fn forward(
    down: &mut Downstream,
    slot: &Slot,
    outgoing: &Outgoing,
    passage: &Passage<'_>,
) -> Result<Forwarded, Failed> {
    down.body.rewind();
    let empty = down.body.is_empty();
    let (mut response, up) = match slot.send(outgoing.request(), empty) {
        Some(Ok(sent)) => sent,
        unsent => return Err(not_sent(unsent.and_then(Result::err), down)),
    };
    if empty {
        down.body.set_done();
    }
    let alarm = Alarm(passage.deadline.map(|deadline| Box::pin(sleep_until(deadline))));
    let mut exchange = Exchange { down, passage, up, alarm, spoken: false };
    exchange.upload_first().await;
    let sent = Instant::now();

    let (mut parts, body) = match exchange.response(&mut response).await {
        Ok(response) => response.into_parts(),
        Err(failure) => return Err(exchange.unanswered(failure)),
    };
    let answered = Instant::now();
    if let Some(error) = not_delivered(&parts.headers, passage) {
        let repeatable = exchange.down.body.is_repeatable();
        exchange.up.send_reset(Reason::CANCEL);
        return Err(Failed { repeatable, ..Failed::untouched(error) });
    }
    if exchange.goes_elsewhere(&parts) {
        exchange.up.send_reset(Reason::CANCEL);
        let error = Error::new(Kind::UpstreamUnanswered, Side::Upstream);
        return Err(Failed::untouched(error.because("the far proxy's server ended without an answer")));
    }
    if passage.retries.is_some_and(|retries| exchange.is_discarded(&parts, retries)) {
        passage.cells.request();
        exchange.up.send_reset(Reason::CANCEL);
        let sent = exchange.down.body.sent();
        let (status, grpc) = (parts.status.as_u16(), None);
        return Ok(Forwarded { status, grpc, added: Duration::ZERO, answered, sent, received: 0, discarded: true });
    }
    let own = if passage.mesh { OWN_LINES } else { 0 };
    if !head::fits(0, &parts.headers, passage.limit + own) {
        return Err(exchange.unanswered(Failure::TooLarge));
    }
    passage.cells.request();
    let status = parts.status.as_u16();
    if !passage.keep {
        exchange.down.body.keep_no_more();
    }
    let mut body = Body::response(body, !passage.mesh);
    let in_head = (passage.grpc || head::is_grpc(&parts.headers)).then(|| head::grpc_status(&parts.headers));
    exchange.clean(&mut parts);
    let Ok(mut to) = exchange.down.respond.send_response(Response::from_parts(parts, ()), body.is_empty()) else {
        return Err(exchange.broken(Failure::Client(Reason::CANCEL), status));
    };
    if body.is_empty() {
        body.set_done();
    }
    let first = exchange.download_first(&mut body, &mut to).await;
    let added = (sent - passage.began).saturating_sub(passage.waited) + answered.elapsed();
    let moved = match first {
        Ok(()) => exchange.bodies(&mut body, &mut to).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = moved {
        if matches!(failure, Failure::ServerReset(_)) {
            // a reset throws away what h2 has queued before it: first the client's connection gets its turn
            yield_now().await;
        }
        let failed = exchange.cut(failure, status, &mut to);
        return Err(Failed { sent: exchange.down.body.sent(), received: body.sent(), ..failed });
    }
    // without one the client takes the call for failed, whatever the HTTP status says
    let grpc = in_head.map(|head| head.or(body.grpc_status()).unwrap_or(2)).filter(|_| status == 200);
    let (sent, received) = (exchange.down.body.sent(), body.sent());
    Ok(Forwarded { status, grpc, added, answered, sent, received, discarded: false })
}

impl Exchange<'_> {
    /// As much of the request as goes at once.
    async fn upload_first(&mut self) {
        poll_fn(|cx| {
            // whatever went wrong shows again when the response is awaited
            let _ = self.poll_upload(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Uploads, passes interim heads on, and waits for the response's head.
    async fn response(&mut self, response: &mut ResponseFuture) -> Result<Response<RecvStream>, Failure> {
        poll_fn(|cx| {
            if let Poll::Ready(reset) = self.down.respond.poll_reset(cx) {
                return Poll::Ready(Err(Failure::Client(reset.unwrap_or(Reason::CANCEL))));
            }
            if self.alarm.poll(cx).is_ready() {
                return Poll::Ready(Err(Failure::TimedOut));
            }
            // a server that takes no more may have answered all the same: the response tells
            if let Poll::Ready(Err(Broken::Source(reason))) = self.poll_upload(cx) {
                return Poll::Ready(Err(Failure::Client(reason)));
            }
            while let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                match interim {
                    Ok(interim) => self.interim(interim),
                    Err(error) => return Poll::Ready(Err(Failure::Server(error))),
                }
            }
            Pin::new(&mut *response).poll(cx).map_err(Failure::Server)
        })
        .await
    }

    fn interim(&mut self, interim: Response<()>) {
        self.spoken = true;
        let (mut parts, ()) = interim.into_parts();
        self.clean(&mut parts);
        // a client that is gone shows elsewhere
        let _ = self.down.respond.send_informational(Response::from_parts(parts, ()));
    }

    /// As much of the response as goes at once.
    async fn download_first(&self, body: &mut Body, to: &mut Sender) -> Result<(), Failure> {
        poll_fn(|cx| match self.poll_download(cx, body, to) {
            Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
            _ => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Both bodies to their ends. A server that has answered and takes no more of the request ends the exchange.
    async fn bodies(&mut self, body: &mut Body, to: &mut Sender) -> Result<(), Failure> {
        poll_fn(|cx| {
            let answered = body.is_done();
            if !answered && let Poll::Ready(Err(failure)) = self.poll_download(cx, body, to) {
                return Poll::Ready(Err(failure));
            }
            let uploaded = match self.poll_upload(cx) {
                Poll::Ready(Err(Broken::Source(_))) if body.is_done() => return Poll::Ready(Ok(())),
                Poll::Ready(Err(Broken::Source(reason))) => return Poll::Ready(Err(Failure::Client(reason))),
                Poll::Ready(_) => true,
                Poll::Pending => false,
            };
            if body.is_done() && (uploaded || self.up.poll_reset(cx).is_ready()) {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(reset) = to.poll_reset(cx) {
                return Poll::Ready(Err(Failure::Client(reset.unwrap_or(Reason::CANCEL))));
            }
            self.alarm.poll(cx).map(|()| Err(Failure::TimedOut))
        })
        .await
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let before = self.down.body.sent();
        let polled = self.down.body.poll(cx, &mut self.up);
        let moved = self.down.body.sent() - before;
        match self.passage.direction {
            Direction::Inbound => self.passage.cells.read(moved),
            Direction::Outbound => self.passage.cells.written(moved),
        }
        polled
    }

    fn poll_download(&self, cx: &mut Context<'_>, body: &mut Body, to: &mut Sender) -> Poll<Result<(), Failure>> {
        let before = body.sent();
        let polled = body.poll(cx, to);
        let moved = body.sent() - before;
        match self.passage.direction {
            Direction::Inbound => self.passage.cells.written(moved),
            Direction::Outbound => self.passage.cells.read(moved),
        }
        polled.map_err(|broken| match broken {
            Broken::Sink => Failure::Client(Reason::CANCEL),
            Broken::Source(reason) => Failure::ServerReset(reason),
        })
    }

    /// Whether the far proxy, believed over mTLS only, says that its server ended without an answer, and the request is to be
    /// sent to somebody else instead of passing that on.
    fn goes_elsewhere(&self, parts: &Parts) -> bool {
        let Some(again) = self.passage.again.filter(|_| self.passage.mesh && self.down.body.is_repeatable()) else {
            return false;
        };
        let said = parts.headers.get("minimesh-error").map(HeaderValue::as_bytes);
        said == Some(Kind::UpstreamUnanswered.row().code.as_bytes()) && again()
    }

    /// Whether the route wants the request to be sent again instead.
    fn is_discarded(&self, parts: &Parts, retries: &Retries<'_>) -> bool {
        let status = parts.status.as_u16();
        let said = parts.headers.get("minimesh-error").filter(|_| self.passage.mesh);
        if self.down.body.is_repeatable() {
            return retries.discards(status, said.and_then(|said| Kind::from_code(said.as_bytes())));
        }
        retries.lost(status);
        false
    }

    fn clean(&self, parts: &mut Parts) {
        if !self.passage.mesh {
            head::strip_own(&mut parts.headers);
        }
        head::edit(&mut parts.headers, self.passage.response);
    }

    /// Failed with nothing of an answer sent to the client.
    fn unanswered(&mut self, failure: Failure) -> Failed {
        let reset = match &failure {
            Failure::Client(reason) => Some(*reason),
            Failure::TimedOut | Failure::TooLarge => Some(Reason::CANCEL),
            Failure::Server(_) | Failure::ServerReset(_) => None,
        };
        if let Some(reset) = reset {
            self.up.send_reset(reset);
        }
        let silent = matches!(&failure, Failure::Server(error) if error.is_io()) && !self.spoken;
        let mut failed = failed(failure, self.down.body.is_repeatable());
        if silent && failed.error.kind == Kind::UpstreamClosed {
            failed.error.kind = Kind::UpstreamUnanswered;
        }
        failed
    }

    /// Failed when the client had the head: it must not take what it has for complete.
    fn cut(&mut self, failure: Failure, status: u16, to: &mut Sender) -> Failed {
        match &failure {
            Failure::ServerReset(reason) => to.send_reset(*reason),
            Failure::TimedOut | Failure::TooLarge | Failure::Server(_) => to.send_reset(Reason::CANCEL),
            Failure::Client(_) => {}
        }
        self.broken(failure, status)
    }

    fn broken(&mut self, failure: Failure, status: u16) -> Failed {
        match &failure {
            Failure::Client(reason) => self.up.send_reset(*reason),
            _ => self.up.send_reset(Reason::CANCEL),
        }
        Failed { answered: Some(status), repeatable: false, ..failed(failure, false) }
    }
}

fn failed(failure: Failure, repeatable: bool) -> Failed {
    let unanswered = |error| Failed { repeatable, ..Failed::untouched(error) };
    match failure {
        Failure::Client(reason) => {
            unanswered(Error::new(Kind::ClientClosed, Side::Downstream).because(reason.description()))
        }
        Failure::Server(error) => of_server(error, repeatable),
        Failure::ServerReset(reason) => {
            unanswered(Error::new(Kind::UpstreamClosed, Side::Upstream).because(reason.description()))
        }
        Failure::TooLarge => {
            unanswered(Error::new(Kind::UpstreamMalformed, Side::Upstream).because("response head too large"))
        }
        Failure::TimedOut => unanswered(Error::new(Kind::RequestTimeout, Side::Upstream)),
    }
}

/// What a failed stream without an answer proves. A stream above GOAWAY's last id, and one that was refused, went nowhere
/// (RFC 9113 section 8.7); both count only as the peer's own word.
fn of_server(error: h2::Error, repeatable: bool) -> Failed {
    let reason = error.reason();
    let remote = error.is_remote();
    let undelivered = match reason {
        _ if !remote => None,
        _ if error.is_go_away() => Some(RetryReason::GoAway),
        Some(Reason::REFUSED_STREAM) => Some(RetryReason::Refused),
        _ => None,
    };
    let kind = match undelivered {
        Some(_) => Kind::NotDelivered,
        None if error.is_library() => Kind::UpstreamMalformed,
        None => Kind::UpstreamClosed,
    };
    let reset = reason.filter(|_| remote && error.is_reset());
    let error = Error::new(kind, Side::Upstream).because(error);
    Failed { repeatable, reset, undelivered, ..Failed::untouched(error) }
}

/// Nothing was sent: the link has just ended, or the request is one that h2 does not send.
fn not_sent(error: Option<h2::Error>, down: &Downstream) -> Failed {
    let ended = error.as_ref().is_none_or(|error| error.is_go_away() || error.is_io());
    let kind = if ended { Kind::NotDelivered } else { Kind::BadRequest };
    let side = if ended { Side::Upstream } else { Side::Downstream };
    let mut failed = Error::new(kind, side);
    if let Some(error) = error {
        failed = failed.because(error);
    }
    let undelivered = ended.then_some(RetryReason::GoAway);
    let repeatable = down.body.is_repeatable();
    Failed { repeatable, undelivered, ..Failed::untouched(failed) }
}

/// The far proxy's word, believed over mTLS only, that the request did not reach its application.
fn not_delivered(headers: &HeaderMap, passage: &Passage<'_>) -> Option<Error> {
    let said = headers.get("minimesh-error").filter(|_| passage.mesh)?;
    if said.as_bytes() != Kind::NotDelivered.row().code.as_bytes() {
        return None;
    }
    let cause = headers.get("minimesh-cause").and_then(|cause| Kind::from_code(cause.as_bytes()));
    let mut error = Error::new(cause.unwrap_or(Kind::NotDelivered), Side::Upstream);
    error.retry = Retry::OtherEndpoint;
    Some(error.because("the far proxy did not pass the request on"))
}
