//! The links of one server: one, and another only when the peer takes no more streams on the first.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::link::{Room, Slot};
use super::wire::Quiet;
use super::{Driver, Keep, Link};
use crate::error::{Error, Kind, Side};
use crate::http::h1::Conn;

/// A server that takes one stream at a time is spoken to as an HTTP/1 server would be, within reason.
const LINKS: usize = 32;

/// New links that one request may see vanish before it got a stream.
const DIALS: usize = 3;

/// Links to one server.
#[derive(Default)]
pub(crate) struct Pool {
    links: RefCell<Vec<Rc<Link>>>,
    dialling: RefCell<Option<Rc<Dial>>>,
    room: Rc<Room>,
}

/// A dial, as its owner makes it.
pub(crate) struct Dialling(pub(crate) Pin<Box<dyn Future<Output = Result<Rc<Link>, Error>>>>);

/// A dial under way, for whom it may concern.
#[derive(Default)]
struct Dial {
    result: RefCell<Option<Result<(), Error>>>,
    waiting: Room,
}

/// Whether new streams may be opened on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    No,
    /// While there is no better one, which is to be dialled.
    Old,
    Yes,
}

enum Take {
    Slot(Slot),
    /// On a link that is to be replaced.
    Old(Slot),
    /// Bytes came on an idle link that its task has not seen yet.
    Look,
    None,
}

impl Pool {
    /// A link over a new connection, to be given back by the dial; its driver is the dialler's to run.
    pub(crate) async fn open(
        &self,
        conn: Conn,
        limit: usize,
        generation: u64,
        keep: Keep,
    ) -> Result<(Rc<Link>, Driver), Error> {
        Link::open(conn, limit, generation, keep, Rc::clone(&self.room)).await
    }

    /// A place for a stream; dials where there is none. `usable`: what a link is good for now.
    pub(crate) async fn slot(
        self: &Rc<Self>,
        usable: &dyn Fn(&Link) -> Use,
        dial: &dyn Fn() -> Dialling,
    ) -> Result<Slot, Error> {
        let (mut looks, mut dials) = (0, 0);
        loop {
            match self.take(usable, looks < DIALS) {
                Take::Slot(slot) => return Ok(slot),
                Take::Old(slot) => {
                    // nobody waits for the new one while the old one will do
                    self.begin_dial(dial);
                    return Ok(slot);
                }
                Take::Look => {
                    looks += 1;
                    tokio::task::yield_now().await;
                }
                Take::None if !self.may_dial() => self.wait(usable).await,
                Take::None if dials == DIALS => {
                    return Err(Error::new(Kind::NotDelivered, Side::Upstream).because("every new connection ended"));
                }
                Take::None => {
                    dials += 1;
                    self.dial(dial).await?;
                }
            }
        }
    }

    fn take(&self, usable: &dyn Fn(&Link) -> Use, look: bool) -> Take {
        let (mut slot, mut old, mut said) = (None, None, false);
        // the newest first: it replaces those before it
        let mut links = self.links.borrow_mut();
        let mut at = links.len();
        while at > 0 && slot.is_none() {
            at -= 1;
            let link = &links[at];
            let usable = if link.is_open() { usable(link) } else { Use::No };
            let quiet = if usable == Use::No { Quiet::Ended } else { link.quiet() };
            match quiet {
                Quiet::Silent if usable == Use::Yes => slot = link.slot(),
                Quiet::Silent => old = old.or_else(|| link.slot()),
                Quiet::Said if look => said = true,
                Quiet::Ended | Quiet::Said => {
                    link.retire();
                    links.remove(at);
                }
            }
        }
        match (slot, old) {
            (Some(slot), _) => Take::Slot(slot),
            (None, Some(slot)) => Take::Old(slot),
            (None, None) if said => Take::Look,
            (None, None) => Take::None,
        }
    }

    /// A peer that allows nothing at all is not asked again over another connection.
    fn may_dial(&self) -> bool {
        let links = self.links.borrow();
        links.len() < LINKS && links.iter().all(|link| link.allowed() > 0)
    }

    async fn wait(&self, usable: &dyn Fn(&Link) -> Use) {
        poll_fn(|cx| {
            let links = self.links.borrow();
            if links.iter().any(|link| !link.is_open() || usable(link) == Use::No || link.has_room()) {
                return Poll::Ready(());
            }
            self.room.wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// Joins the dial under way, or begins one. It goes on if the request that began it is cancelled: others wait for it.
    async fn dial(self: &Rc<Self>, dial: &dyn Fn() -> Dialling) -> Result<(), Error> {
        let under_way = self.begin_dial(dial);
        poll_fn(|cx| match &*under_way.result.borrow() {
            Some(Ok(())) => Poll::Ready(Ok(())),
            Some(Err(error)) => Poll::Ready(Err(error.echo())),
            None => {
                under_way.waiting.wait(cx);
                Poll::Pending
            }
        })
        .await
    }

    fn begin_dial(self: &Rc<Self>, dial: &dyn Fn() -> Dialling) -> Rc<Dial> {
        if let Some(under_way) = &*self.dialling.borrow() {
            return Rc::clone(under_way);
        }
        let begun = Rc::new(Dial::default());
        *self.dialling.borrow_mut() = Some(Rc::clone(&begun));
        tokio::task::spawn_local(Rc::clone(self).finish(dial(), Rc::clone(&begun)));
        begun
    }

    /// The task of a dial: bounded by the time-outs of connect and handshake.
    async fn finish(self: Rc<Self>, dialling: Dialling, dial: Rc<Dial>) {
        let dialled = dialling.0.await;
        self.dialling.borrow_mut().take();
        let result = dialled.map(|link| {
            let generation = link.generation;
            let mut links = self.links.borrow_mut();
            links.retain(|old| {
                old.generation == generation || {
                    old.retire();
                    false
                }
            });
            links.push(link);
        });
        *dial.result.borrow_mut() = Some(result);
        dial.waiting.wake();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.links.get_mut().iter().for_each(|link| link.retire());
    }
}
