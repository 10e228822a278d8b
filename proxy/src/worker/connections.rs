//! Open connections of a worker: how many there are, whom to wake, whether anything happened.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use super::Worker;

/// Open connections of a worker: who is to be woken when everything ends or policy turns.
#[derive(Default)]
pub(crate) struct Connections {
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    open: Cell<usize>,
    empty: RefCell<Option<Waker>>,
    active: Cell<bool>,
}

impl Connections {
    /// Something happened: buffers are in use.
    pub(crate) fn note_activity(&self) {
        self.active.set(true);
    }

    pub(super) fn take_activity(&self) -> bool {
        self.active.replace(false)
    }

    pub(super) fn wake_all(&self) {
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Resolves when no connection is open.
    pub(super) async fn none(&self) {
        poll_fn(|cx| {
            if self.open.get() == 0 {
                return Poll::Ready(());
            }
            *self.empty.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A connection's place in `Connections`, given back when its task ends, however it ends.
pub(crate) struct Open {
    worker: Rc<Worker>,
    place: usize,
    /// It was accepted, and counts as such.
    accepted: bool,
}

impl Open {
    pub(super) async fn new(worker: &Rc<Worker>) -> Open {
        let mut open = Open::aside(worker).await;
        open.accepted = true;
        open
    }

    /// For work beside the connections, which ends with the worker like them.
    pub(crate) async fn aside(worker: &Rc<Worker>) -> Open {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let connections = &worker.connections;
        let mut wakers = connections.wakers.borrow_mut();
        let place = connections.free.borrow_mut().pop().unwrap_or_else(|| {
            wakers.push(None);
            wakers.len() - 1
        });
        wakers[place] = Some(waker);
        connections.open.set(connections.open.get() + 1);
        Open { worker: Rc::clone(worker), place, accepted: false }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let connections = &self.worker.connections;
        connections.wakers.borrow_mut()[self.place] = None;
        connections.free.borrow_mut().push(self.place);
        connections.open.set(connections.open.get() - 1);
        if self.accepted {
            self.worker.cells.finished();
            self.worker.desks[self.worker.index].open.fetch_sub(1, Ordering::Relaxed);
        }
        if connections.open.get() == 0
            && let Some(waker) = connections.empty.borrow_mut().take()
        {
            waker.wake();
        }
    }
}
