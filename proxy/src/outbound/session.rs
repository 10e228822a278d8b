//! Client sessions (Gateway API SessionPersistence, GEP-1619): requests of one session go to one endpoint.
//!
//! The client carries the session, in a cookie or a header: when it began, when it was used last, and a tag of its endpoint, all
//! signed. The tag and the signature are keyed hashes, the key is the mesh's: no address stands in the value, nobody makes up a
//! session or prolongs one, and every proxy reads what another one wrote. What is not valid is no session; an endpoint that
//! does not serve any more ends its sessions, and the next answer begins another.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{constant_time, hmac};
use minimesh_api::model::{BackendKey, BackendRef, Session, SessionKind};
use minimesh_route::{HeaderEdits, RequestView, Rule};

use super::backend::{Backend, Tried};
use super::endpoint::Endpoint;
use super::target::Service;
use crate::worker::Worker;

/// A request of a route with sessions.
pub(super) struct Sticky<'p> {
    session: &'p Session,
    key: hmac::Key,
    /// Seconds since 1970.
    now: u64,
    found: Option<Found<'p>>,
}

/// The session that a request belongs to.
struct Found<'p> {
    backend: &'p Rc<Backend>,
    /// Of the rule's backends.
    share: usize,
    endpoint: Rc<Endpoint>,
    began: u64,
}

/// What a session's value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticket {
    began: u64,
    used: u64,
    tag: [u8; TAG],
}

const TAG: usize = 8;
const SIGNATURE: usize = 16;
const BYTES: usize = 16 + TAG + SIGNATURE;

impl<'p> Sticky<'p> {
    /// Looks for the request's session.
    pub(super) fn new(
        worker: &Worker,
        service: &'p Service,
        rule: &'p Rule,
        request: &RequestView<'_>,
    ) -> Option<Box<Self>> {
        let session = rule.session.as_ref()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &session.key);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let ticket = carried(session, request).and_then(|value| Ticket::read(&key, session, &value, now));
        let found = ticket.and_then(|ticket| find(worker, service, rule, &key, ticket));
        Some(Box::new(Sticky { session, key, now, found }))
    }

    /// The rule's backend that the session is at.
    pub(super) fn share(&self) -> Option<usize> {
        self.found.as_ref().map(|found| found.share)
    }

    /// The session's endpoint, unless it was tried already.
    pub(super) fn endpoint(&self, tried: &Tried) -> Option<Rc<Endpoint>> {
        let found = self.found.as_ref().filter(|found| !tried.contains(found.endpoint.address))?;
        Some(Rc::clone(&found.endpoint))
    }

    /// `edits` with the session that the answer of `endpoint` begins or prolongs; `None`: the client has it already.
    pub(super) fn edits(
        &self,
        edits: &HeaderEdits,
        backend: &Backend,
        endpoint: &Endpoint,
    ) -> Option<Box<HeaderEdits>> {
        let stays = self
            .found
            .as_ref()
            .filter(|found| found.endpoint.address == endpoint.address && found.backend.key == backend.key);
        if stays.is_some() && self.session.idle_timeout.is_none() {
            return None;
        }
        let ticket = Ticket {
            began: stays.map_or(self.now, |found| found.began),
            used: self.now,
            tag: tag(&self.key, &backend.key, endpoint),
        };
        let value = ticket.write(&self.key, self.session);
        let mut edits = Box::new(edits.clone());
        match &self.session.kind {
            SessionKind::Header => edits.append(&self.session.name, value.as_bytes()),
            SessionKind::Cookie { path, permanent } => {
                let left = self
                    .session
                    .absolute_timeout
                    .map_or(0, |limit| (ticket.began + limit.as_secs()).saturating_sub(self.now));
                let life = if *permanent { format!("; Max-Age={left}") } else { String::new() };
                let cookie = format!("{}={value}; Path={path}; HttpOnly{life}", self.session.name);
                edits.append("set-cookie", cookie.as_bytes());
            }
        }
        Some(edits)
    }
}

impl Ticket {
    /// `None`: nobody of the mesh wrote that, or the session is over.
    fn read(key: &hmac::Key, session: &Session, value: &[u8], now: u64) -> Option<Ticket> {
        let bytes = unhex(value)?;
        let (said, signature) = bytes.split_at(BYTES - SIGNATURE);
        constant_time::verify_slices_are_equal(&sign(key, session, said), signature).ok()?;
        let number = |at: usize| said[at..at + 8].try_into().map(u64::from_be_bytes).ok();
        let ticket = Ticket { began: number(0)?, used: number(8)?, tag: said[16..].try_into().ok()? };
        let over = |since: u64, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_sub(since) >= limit.as_secs().max(1))
        };
        let valid = !over(ticket.began, session.absolute_timeout) && !over(ticket.used, session.idle_timeout);
        valid.then_some(ticket)
    }

    fn write(&self, key: &hmac::Key, session: &Session) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&self.began.to_be_bytes());
        bytes.extend_from_slice(&self.used.to_be_bytes());
        bytes.extend_from_slice(&self.tag);
        let signature = sign(key, session, &bytes);
        bytes.extend_from_slice(&signature);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Of this session's name: a value of another session is worth nothing.
fn sign(key: &hmac::Key, session: &Session, said: &[u8]) -> [u8; SIGNATURE] {
    keyed(key, &[b"session", session.name.as_bytes(), said])
}

/// Names an endpoint to those who have the key, and to nobody else.
fn tag(key: &hmac::Key, backend: &BackendKey, endpoint: &Endpoint) -> [u8; TAG] {
    keyed(key, &[b"endpoint", backend.to_string().as_bytes(), endpoint.address.to_string().as_bytes()])
}

fn keyed<const N: usize>(key: &hmac::Key, parts: &[&[u8]]) -> [u8; N] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        // with lengths, so that no part can lend bytes to its neighbour
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut cut = [0; N];
    cut.copy_from_slice(&context.sign().as_ref()[..N]);
    cut
}

fn find<'p>(
    worker: &Worker,
    service: &'p Service,
    rule: &'p Rule,
    key: &hmac::Key,
    ticket: Ticket,
) -> Option<Found<'p>> {
    // a weight of 0 takes a backend out of service, for sessions as well
    let shares = rule.backends().iter().enumerate().filter(|(_, share)| share.weight > 0);
    for (index, share) in shares {
        let (BackendRef::Service(_), Some(Some(backend))) = (&share.reference, service.backends.get(share.index))
        else {
            continue;
        };
        let is_it = |endpoint: &Endpoint| tag(key, &backend.key, endpoint) == ticket.tag;
        if let Some(endpoint) = backend.find(worker, is_it) {
            return Some(Found { backend, share: index, endpoint, began: ticket.began });
        }
    }
    None
}

/// The session's value in a request: of several cookies or headers of the name the first.
fn carried(session: &Session, request: &RequestView<'_>) -> Option<Vec<u8>> {
    let mut found = None;
    match &session.kind {
        SessionKind::Header => request.headers.get_all(&session.name.to_ascii_lowercase(), &mut |value| {
            found.get_or_insert_with(|| value.to_vec());
        }),
        SessionKind::Cookie { .. } => request.headers.get_all("cookie", &mut |line| {
            for pair in line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
                let value = pair.strip_prefix(session.name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
                if let (Some(value), None) = (value, &found) {
                    found = Some(value.to_vec());
                }
            }
        }),
    }
    found
}

fn unhex(text: &[u8]) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    if text.len() != 2 * BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(absolute: Option<u64>, idle: Option<u64>) -> Session {
        Session {
            name: "shop".into(),
            kind: SessionKind::Cookie { path: "/".into(), permanent: false },
            absolute_timeout: absolute.map(Duration::from_secs),
            idle_timeout: idle.map(Duration::from_secs),
            key: (*b"0123456789abcdef").into(),
        }
    }

    fn key(session: &Session) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &session.key)
    }

    #[test]
    fn a_ticket_is_read_back_until_its_time_is_over() {
        let session = session(Some(100), Some(30));
        let key = key(&session);
        let ticket = Ticket { began: 1_000, used: 1_050, tag: [7; TAG] };
        let value = ticket.write(&key, &session);
        let read = |now| Ticket::read(&key, &session, value.as_bytes(), now);
        assert_eq!(read(1_079), Some(ticket));
        assert_eq!(read(1_080), None, "idle");
        let used = Ticket { used: 1_090, ..ticket }.write(&key, &session);
        assert!(Ticket::read(&key, &session, used.as_bytes(), 1_099).is_some());
        assert_eq!(Ticket::read(&key, &session, used.as_bytes(), 1_100), None, "absolute");
    }

    #[test]
    fn no_byte_of_a_ticket_can_be_changed_and_no_other_session_takes_it() {
        let session = session(None, None);
        let key = key(&session);
        let value = Ticket { began: 1, used: 2, tag: [3; TAG] }.write(&key, &session);
        for at in 0..value.len() {
            let mut other = value.clone().into_bytes();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(Ticket::read(&key, &session, &other, 5), None, "{at}");
        }
        for wrong in ["", "zz", &value[2..], &format!("{value}00")] {
            assert_eq!(Ticket::read(&key, &session, wrong.as_bytes(), 5), None);
        }
        let other = Session { name: "other".into(), ..session };
        assert_eq!(Ticket::read(&key, &other, value.as_bytes(), 5), None);
    }

    #[test]
    fn the_first_cookie_of_the_name_counts() {
        let headers = [("Cookie", "a=1; shopping=2"), ("cookie", "x=y;shop=3; shop=4")];
        let request = RequestView { method: "GET", path: b"/", query: None, headers: &headers };
        assert_eq!(carried(&session(None, None), &request), Some(b"3".to_vec()));
    }
}
