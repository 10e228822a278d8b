//! One request over one upstream connection, as both proxies do it.
//!
//! The caller chose the upstream connection and says what each head gains and loses; here is the order of events, the clock,
//! and what a failure proves.

use std::time::Duration;

use minimesh_identity::PeerError;
use minimesh_route::HeaderEdits;
use tokio::time::Instant;

use super::Retries;
use super::h1::{
    Body, Broken, Conn, DELIVERED, Exchange, Failure, Framing, Guard, HeadError, Hold, Method, RequestHead,
    ResponseHead, Strip, Transfer,
};
use crate::error::{Error, Kind, Retry, Side};
use crate::metrics::Classification;

/// Looks at the bytes that begin with a request's head.
pub(crate) type Judge<'a> = &'a dyn Fn(&[u8]) -> bool;

/// What happens to the heads on their way.
pub(crate) struct Passage<'a> {
    /// A route's edits.
    pub(crate) request: &'a HeaderEdits,
    /// A route's edits.
    pub(crate) response: &'a HeaderEdits,
    /// A line that names the verified client, with its CRLF; empty where there is none.
    pub(crate) client_id: &'a [u8],
    /// Whether the server is a proxy of ours, known by its certificate.
    pub(crate) mesh: bool,
    /// Whether the client is one.
    pub(crate) peer: bool,
    /// The client's connection is to end with this response.
    pub(crate) close: bool,
    /// Largest response head.
    pub(crate) limit: usize,
    /// When the request's head was complete.
    pub(crate) began: Instant,
    /// Time since then that was spent waiting for a connection.
    pub(crate) waited: Duration,
    /// Whether an answer is thrown away, because the route wants another attempt.
    pub(crate) retries: Option<&'a Retries<'a>>,
    /// Asked where the server ended without an answer: whether the request goes elsewhere. Where nobody is asked, it does not.
    pub(crate) again: Option<Judge<'a>>,
    /// The request stays in the client's buffer as far as it can, for a copy.
    pub(crate) keep: bool,
}

/// A request that was answered.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) status: u16,
    /// Time that this proxy took of the latency.
    pub(crate) added: Duration,
    /// Bytes of the request, as sent on.
    pub(crate) sent: u64,
    /// Bytes of the response, as sent on.
    pub(crate) received: u64,
    /// The client's connection can serve another request.
    pub(crate) keep_down: bool,
    /// The server's connection can serve another request.
    pub(crate) keep_up: bool,
    /// Both connections are now a tunnel.
    pub(crate) tunnel: bool,
    /// The answer was thrown away: the request, which is still in the client's buffer, is to be sent again.
    pub(crate) discarded: bool,
    /// Length of the request at the front of the client's buffer, where it was to be kept there and could be; else 0.
    pub(crate) kept: usize,
}

/// A request that was not answered, or not to its end.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// The status that was already sent on; the client's connection must be reset.
    pub(crate) answered: Option<u16>,
    /// Nothing was consumed that a repetition would need.
    pub(crate) repeatable: bool,
    /// The server ended its direction in mid-response, and the client can tell that from a whole one: it may see the same.
    pub(crate) cut: bool,
    /// Bytes of the request that were sent on, where there was an answer to break off.
    pub(crate) sent: u64,
    /// Bytes of the response that were sent on.
    pub(crate) received: u64,
}

impl Failed {
    /// Failed before anything of the request was consumed.
    pub(crate) fn untouched(error: Error) -> Failed {
        Failed { error, answered: None, repeatable: true, cut: false, sent: 0, received: 0 }
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

/// Takes the request at the front of `down.buffer` to `up` and its response back.
pub(crate) async fn forward(
    down: &mut Conn,
    up: &mut Conn,
    head: &RequestHead,
    passage: &Passage<'_>,
    guard: Guard<'_>,
) -> Result<Forwarded, Failed> {
    let request = match begin_request(down, head, passage) {
        Ok(request) => request,
        Err(error) => return Err(Failed { repeatable: false, ..Failed::untouched(error) }),
    };
    let limit = passage.limit + if passage.mesh { OWN_LINES } else { 0 };
    let mut exchange = Exchange::new(down, up, guard, request, limit).announcing(passage.peer);
    if let Err(failure) = exchange.begin().await {
        return Err(unanswered(failure, &exchange));
    }
    let sent = Instant::now();

    let mut goodbye = false;
    let mut response = match response_head(&mut exchange, head, passage, &mut goodbye).await {
        Ok(response) => response,
        Err(failure) => return Err(unanswered(failure, &exchange)),
    };
    let received = Instant::now();
    if let Some(error) = not_delivered(&exchange, &response, passage) {
        let repeatable = exchange.request().is_repeatable();
        return Err(Failed { repeatable, ..Failed::untouched(error) });
    }
    if goes_elsewhere(&exchange, &response, passage) {
        let error = Error::new(Kind::UpstreamUnanswered, Side::Upstream);
        return Err(Failed::untouched(error.because("the far proxy's server ended without an answer")));
    }
    if passage.retries.is_some_and(|retries| is_discarded(&exchange, &response, passage, retries)) {
        return Ok(discard(&mut exchange, &response, goodbye));
    }
    exchange.delivered();
    let plan = match Plan::of(head, &response, passage) {
        Ok(plan) => plan,
        Err(failure) => return Err(unanswered(failure, &exchange)),
    };
    let mut answer = match begin_response(&exchange, head, &mut response, passage, &plan) {
        Ok(answer) => answer,
        Err(failure) => return Err(unanswered(failure, &exchange)),
    };
    let first = exchange.respond_first(&mut answer).await;
    let added = (sent - passage.began).saturating_sub(passage.waited) + received.elapsed();
    let responded = match first {
        Some(responded) => responded,
        None => exchange.respond(&mut answer).await,
    };
    if let Err(failure) = responded {
        let cut = matches!(failure, Failure::UpstreamEnded { .. }) && !plan.payload_only;
        let (sent, received) = (exchange.request().moved(), answer.moved());
        let error = error_of(failure);
        return Err(Failed { error, answered: Some(response.status), repeatable: false, cut, sent, received });
    }
    answer.let_go(&mut exchange.up.buffer);
    let uploaded = plan.tunnel || exchange.request().is_done() || {
        // an early response: the server may still take the rest, else both connections end
        plan.keep_down && response.keep_alive && exchange.finish_upload().await.is_ok()
    };
    let sent = exchange.request().moved();
    let kept = exchange.request().whole().filter(|_| passage.keep && !plan.tunnel);
    if kept.is_none() {
        exchange.let_go();
    }
    let (half_closed, up_is_clean) = (exchange.is_half_closed(), exchange.up.buffer.is_empty());
    Ok(Forwarded {
        status: response.status,
        added,
        sent,
        received: answer.moved(),
        keep_down: plan.keep_down && uploaded,
        keep_up: response.keep_alive && !goodbye && uploaded && !half_closed && up_is_clean,
        tunnel: plan.tunnel,
        discarded: false,
        kept: kept.unwrap_or(0),
    })
}

/// Whether the route wants the request to be sent again instead.
fn is_discarded(
    exchange: &Exchange<'_>,
    response: &ResponseHead,
    passage: &Passage<'_>,
    retries: &Retries<'_>,
) -> bool {
    let head = &exchange.up.buffer.bytes()[..response.len];
    let cause = response.mesh_error(head).filter(|_| passage.mesh).and_then(Kind::from_code);
    match exchange.request().is_repeatable() {
        true => retries.discards(response.status, cause),
        false => {
            retries.lost(response.status);
            false
        }
    }
}

/// Leaves an answer out. The server's connection goes on where all of the answer is here already, as that of an error mostly is.
fn discard(exchange: &mut Exchange<'_>, response: &ResponseHead, goodbye: bool) -> Forwarded {
    let mut body = Body::new(response.framing);
    let taken = body.take(&exchange.up.buffer.bytes()[response.len..]).ok().filter(|_| body.is_done());
    if let Some(taken) = taken {
        exchange.up.buffer.consume(response.len + taken);
    }
    let up_is_clean = taken.is_some() && exchange.up.buffer.is_empty();
    let keep_up = response.keep_alive && !goodbye && exchange.request().is_done() && !exchange.is_half_closed();
    Forwarded {
        status: response.status,
        added: Duration::ZERO,
        sent: exchange.request().moved(),
        received: 0,
        keep_down: true,
        keep_up: keep_up && up_is_clean,
        tunnel: false,
        discarded: true,
        kept: 0,
    }
}

/// What becomes of the connections after a response.
struct Plan {
    tunnel: bool,
    keep_down: bool,
    /// The client does not know chunks.
    payload_only: bool,
}

impl Plan {
    fn of(head: &RequestHead, response: &ResponseHead, passage: &Passage<'_>) -> Result<Plan, Failure> {
        if response.status == 101 && !head.upgrade {
            return Err(Failure::UpstreamMalformed(HeadError::Malformed("upgrade that nobody asked for")));
        }
        let connected = head.method == Method::Connect && (200..300).contains(&response.status);
        let tunnel = connected || response.status == 101;
        let payload_only = head.minor == 0 && response.framing == Framing::Chunked;
        // between proxies of ours the connection outlives what client and application say to each other about theirs
        let keep_alive = head.keep_alive || (passage.peer && head.hop_keep);
        let ends = if passage.peer { response.framing == Framing::Close } else { response.closes };
        let keep_down = keep_alive && !passage.close && !tunnel && !payload_only && !ends;
        Ok(Plan { tunnel, keep_down, payload_only })
    }
}

fn begin_request(down: &Conn, head: &RequestHead, passage: &Passage<'_>) -> Result<Transfer, Error> {
    let upgrade: &[u8] = if head.upgrade_unsaid { UPGRADE } else { b"" };
    // so that the next hop keeps its connection, whatever the client does with its own
    let keep: &[u8] = if passage.mesh && head.ends { HOP_KEEP } else { b"" };
    let extra = [upgrade, keep, passage.client_id];
    let extra = if extra.iter().all(|line| line.is_empty()) { &[] } else { extra.as_slice() };
    let then = if passage.retries.is_some() || passage.keep { Hold::Some } else { Hold::No };
    let hold = if passage.mesh { Hold::Wait } else { then };
    Transfer::new(&down.buffer, head.len, &head.cuts, passage.request, extra, Body::new(head.framing))
        .map(|request| request.holding(hold, then))
        .map_err(|_| Error::new(Kind::BadRequest, Side::Downstream).because("malformed chunk"))
}

/// What another proxy of ours may have added to a head that it let pass.
pub(crate) const OWN_LINES: usize = 1024;

const UPGRADE: &[u8] = b"connection: upgrade\r\n";
const CLOSE: &[u8] = b"connection: close\r\n";
/// What the line between two proxies of ours says: see `h1::hop`.
const HOP_KEEP: &[u8] = b"minimesh-hop: keep\r\n";
const HOP_CLOSE: &[u8] = b"minimesh-hop: close\r\n";

fn begin_response(
    exchange: &Exchange<'_>,
    head: &RequestHead,
    response: &mut ResponseHead,
    passage: &Passage<'_>,
    plan: &Plan,
) -> Result<Transfer, Failure> {
    let line = match passage.peer {
        _ if response.status == 101 && response.upgrade_unsaid => UPGRADE,
        _ if plan.tunnel => b"",
        true if plan.payload_only => b"",
        true => match (plan.keep_down, response.ends || !head.keep_alive) {
            (true, true) => HOP_KEEP,
            (false, false) => HOP_CLOSE,
            _ => b"",
        },
        false if !plan.keep_down && head.keep_alive && !response.ends => CLOSE,
        false => b"",
    };
    if plan.payload_only || line == CLOSE {
        response.drop_keep_alive().map_err(Failure::UpstreamMalformed)?;
    }
    let extra = [line];
    let extra = if line.is_empty() { &[] } else { extra.as_slice() };
    let make = if plan.payload_only { Transfer::payload_only } else { Transfer::new };
    let body = Body::new(response.framing);
    make(&exchange.up.buffer, response.len, &response.cuts, passage.response, extra, body)
        .map_err(|_: Broken| Failure::UpstreamMalformed(HeadError::Malformed("chunk")))
}

/// The final response head, or 101; interim ones are passed on, though not to HTTP/1.0.
async fn response_head(
    exchange: &mut Exchange<'_>,
    head: &RequestHead,
    passage: &Passage<'_>,
    goodbye: &mut bool,
) -> Result<ResponseHead, Failure> {
    let strip = if passage.mesh { Strip::Nothing } else { Strip::Own };
    loop {
        let response = exchange.response_head(head, strip).await?;
        if !response.is_interim() {
            return Ok(response);
        }
        let word = &exchange.up.buffer.bytes()[..response.len];
        let (is_goodbye, is_delivered) = (passage.mesh && word == GOODBYE, passage.mesh && word == DELIVERED);
        *goodbye |= is_goodbye;
        if !is_goodbye {
            // the application's own interim response proves it as well
            exchange.delivered();
        }
        if is_goodbye {
            exchange.skip_aside(&response);
        } else if is_delivered || head.minor == 0 {
            exchange.skip(&response);
        } else {
            exchange.interim(&response).await?;
        }
    }
}

/// What a proxy that drains says on an idle connection, unasked, to a proxy of ours: no more requests here, please. It goes on
/// serving until the other side closes, so that a request that crossed the word on its way is answered and not lost; closing
/// first would lose what cannot be sent again, a body that has already gone.
pub(crate) const GOODBYE: &[u8] = b"HTTP/1.1 103 Early Hints\r\nminimesh-goodbye: drain\r\n\r\n";

/// The far proxy's word, believed over mTLS only, that the request did not reach its application.
fn not_delivered(exchange: &Exchange<'_>, response: &ResponseHead, passage: &Passage<'_>) -> Option<Error> {
    if !passage.mesh {
        return None;
    }
    let head = &exchange.up.buffer.bytes()[..response.len];
    if response.mesh_error(head) != Some(Kind::NotDelivered.row().code.as_bytes()) {
        return None;
    }
    let cause = super::h1::Lines::new(head).first("minimesh-cause").and_then(Kind::from_code);
    let mut error = Error::new(cause.unwrap_or(Kind::NotDelivered), Side::Upstream);
    error.retry = Retry::OtherEndpoint;
    Some(error.because("the far proxy did not pass the request on"))
}

/// Whether the far proxy, believed over mTLS only, says that its server ended without an answer, and the request is to be sent
/// to somebody else instead of passing that on.
fn goes_elsewhere(exchange: &Exchange<'_>, response: &ResponseHead, passage: &Passage<'_>) -> bool {
    let Some(again) = passage.again.filter(|_| passage.mesh && exchange.request().is_repeatable()) else {
        return false;
    };
    let said = response.mesh_error(&exchange.up.buffer.bytes()[..response.len]);
    said == Some(Kind::UpstreamUnanswered.row().code.as_bytes()) && again(exchange.down.buffer.bytes())
}

fn unanswered(failure: Failure, exchange: &Exchange<'_>) -> Failed {
    let mut error = error_of(failure);
    if error.kind == Kind::UpstreamClosed && !exchange.is_answered() {
        error.kind = Kind::UpstreamUnanswered;
    }
    Failed { repeatable: exchange.request().is_repeatable(), ..Failed::untouched(error) }
}

fn error_of(failure: Failure) -> Error {
    match failure {
        Failure::ClientGone => Error::new(Kind::ClientClosed, Side::Downstream),
        Failure::ClientMalformed => Error::new(Kind::BadRequest, Side::Downstream).because("malformed chunk"),
        Failure::Revoked => Error::new(Kind::PolicyDenied, Side::Policy).because("the policy turned"),
        Failure::Stopped => Error::new(Kind::DrainForced, Side::Internal),
        Failure::TimedOut => Error::new(Kind::RequestTimeout, Side::Upstream),
        Failure::Upstream(error) => {
            refused_by_peer(&error).unwrap_or(Error::new(Kind::UpstreamClosed, Side::Upstream)).because(error)
        }
        Failure::UpstreamEnded { unread: true } => {
            Error::new(Kind::NotDelivered, Side::Upstream).because("it ended before it took the request")
        }
        Failure::UpstreamEnded { unread: false } => {
            Error::new(Kind::UpstreamClosed, Side::Upstream).because("ended before the response did")
        }
        Failure::UpstreamMalformed(HeadError::Malformed(what)) => {
            Error::new(Kind::UpstreamMalformed, Side::Upstream).because(what)
        }
        Failure::UpstreamMalformed(HeadError::TooLarge) => {
            Error::new(Kind::UpstreamMalformed, Side::Upstream).because("response head too large")
        }
    }
}

/// In TLS 1.3 a client learns from its first read that the server refused its certificate: then nothing was delivered.
fn refused_by_peer(error: &std::io::Error) -> Option<Error> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match PeerError::from_rustls(tls)? {
        refused @ PeerError::Refused(_) => Some(Error::new(Kind::of_peer(&refused), Side::Upstream)),
        _ => None,
    }
}
