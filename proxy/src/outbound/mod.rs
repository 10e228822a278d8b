//! Connections of the application, on their way out.
//!
//! `serve` is the life of one of them. `http` is the life of one request, `tcp` carries everything else, `sniff` finds out
//! which; `choose` decides where a request goes, and `again` whether it goes there once more; `target`, `backend` and `endpoint` are what this worker knows of the other side.

mod affinity;
mod again;
mod backend;
mod choose;
mod endpoint;
mod h2;
mod http;
mod mirror;
mod session;
mod sniff;
mod target;
mod tcp;

use std::rc::Rc;

use minimesh_api::model::{Direction, Protocol};
use tokio::net::TcpStream;
use tracing::debug;

use crate::detect::{Sniffed, Undecided};
use crate::error::Error;
use crate::http::h1::Conn;
use crate::io::{Buffer, Stream};
use crate::metrics::Refusal;
use crate::observe::Wire;
use crate::worker::Worker;

use sniff::Sniffing;
pub(crate) use target::Targets;
use target::{Plan, Target};

/// The life of one connection of the application.
pub(crate) async fn serve(worker: &Rc<Worker>, tcp: TcpStream) {
    let address = match worker.place.outbound(&tcp) {
        Ok(address) => address,
        Err(refused) => {
            worker.cells.refused(Refusal::Loop);
            debug!(?refused, "not followed");
            return Stream::Plain(tcp).reset();
        }
    };
    let mut conn = Conn { stream: Stream::Plain(tcp), buffer: Buffer::default() };
    let target = worker.targets.get(worker, address).await;
    let plan = match target.plan(worker).await {
        Ok(plan) => plan,
        Err(error) => return Box::pin(refuse(worker, conn, error)).await,
    };
    let (protocol, may_sniff) = declared(&plan);
    let sniffing = match protocol {
        Protocol::Http1 | Protocol::Http2 => Box::pin(sniff::version(worker, &mut conn)).await,
        Protocol::Opaque | Protocol::Tls => Sniffing::Opaque(None),
        Protocol::Detect => Box::pin(sniff::sniff(worker, &target, &plan, &mut conn, may_sniff)).await,
    };
    match sniffing {
        Sniffing::Http1 => http::serve(worker, &target, conn).await,
        other => {
            let word =
                if protocol == Protocol::Detect { Undecided::of(conn.buffer.bytes()) } else { Undecided::never() };
            Box::pin(serve_other(worker, &target, &plan, conn, other, word)).await
        }
    }
}

/// What is not HTTP/1, whose futures would make every connection's larger.
async fn serve_other(
    worker: &Rc<Worker>,
    target: &Rc<Target>,
    plan: &Rc<Plan>,
    conn: Conn,
    sniffing: Sniffing,
    word: Undecided,
) {
    match sniffing {
        Sniffing::Http1 | Sniffing::Silent => {}
        Sniffing::Http2 => Box::pin(h2::serve(worker, target, conn)).await,
        Sniffing::Opaque(early) => tcp::forward(worker, plan, conn, early, &word).await,
        Sniffing::Failed(error) => {
            count(worker, &error);
            worker.observer.refused(Direction::Outbound, Wire::Tcp, &conn.stream, error.kind);
            conn.stream.reset();
        }
    }
}

/// What is declared of a target: an attached route makes it HTTP, pass-through is not looked into.
fn declared(plan: &Plan) -> (Protocol, bool) {
    match plan {
        Plan::Passthrough(_) => (Protocol::Opaque, false),
        Plan::Endpoint(_) => (Protocol::Detect, true),
        Plan::Service(service) if !service.routes.is_empty() => (Protocol::Http1, false),
        Plan::Service(service) => (service.protocol, true),
    }
}

/// Nothing is known of the target: HTTP is told so, everything else gets an RST.
async fn refuse(worker: &Rc<Worker>, mut conn: Conn, error: Error) {
    count(worker, &error);
    let spoken = sniff::is_http(&mut conn).await;
    let wire = match spoken {
        Some(Sniffed::Http1) => Wire::Http11,
        Some(Sniffed::Http2) => Wire::Http2,
        _ => Wire::Tcp,
    };
    worker.observer.refused(Direction::Outbound, wire, &conn.stream, error.kind);
    match spoken {
        Some(Sniffed::Http1) => http::answer_and_close(worker, conn, error.kind).await,
        Some(Sniffed::Http2) => h2::refuse(worker, conn, error.kind).await,
        _ => conn.stream.reset(),
    }
}

/// An error is counted where it is made known.
fn count(worker: &Worker, error: &Error) {
    worker.cells.error(Direction::Outbound, error.kind as usize);
    log(error, Direction::Outbound);
}

/// Logs an error as loudly as the table says.
pub(crate) fn log(error: &Error, direction: Direction) {
    use tracing::{Level, event};
    let code = error.kind.row().code;
    // the macro wants its level as a constant
    match error.kind.row().level {
        Level::ERROR => event!(Level::ERROR, code, ?direction, %error, "request failed"),
        Level::WARN => event!(Level::WARN, code, ?direction, %error, "request failed"),
        Level::INFO => event!(Level::INFO, code, ?direction, %error, "request failed"),
        _ => event!(Level::DEBUG, code, ?direction, %error, "request failed"),
    }
}

/// Bytes of the futures of outbound connections and requests that are boxed, or tasks of their own.
#[cfg(test)]
pub(crate) fn future_sizes() -> [(&'static str, usize); 3] {
    use crate::path_tests::sizes::returned;
    type Held = (&'static Rc<Worker>, &'static Rc<Target>);
    type Known = (Sniffing, Undecided);
    let other = |((worker, target), plan, conn, (sniffing, word)): (Held, &'static Rc<Plan>, Conn, Known)| {
        serve_other(worker, target, plan, conn, sniffing, word)
    };
    let http2 = |((worker, target), conn): (Held, Conn)| h2::serve(worker, target, conn);
    [
        ("connection outbound-opaque", returned(other)),
        ("connection outbound-http2", returned(http2)),
        ("request outbound-http2", h2::stream_size()),
    ]
}
