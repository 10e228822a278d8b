//! What goes on around a load: endpoints come and go, leave politely, and certificates renew.

use std::cell::RefCell;
use std::collections::HashMap;

use tokio::task::JoinHandle;

use super::*;

/// What applications were asked, and how often.
pub(super) type Log = Rc<RefCell<HashMap<String, usize>>>;

/// Notes that an application was asked `what`.
pub(super) fn note(log: &Log, what: &str) {
    *log.borrow_mut().entry(what.to_owned()).or_default() += 1;
}

/// Nothing is missing and nothing came twice.
pub(super) fn assert_each_once(log: &Log, count: usize) {
    let log = log.borrow();
    assert_eq!(log.len(), count);
    let twice: Vec<_> = log.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// So many requests are noted between two rounds, and not so much time: on a machine that is busy with other things a request
/// that dials would otherwise find one server after the other gone, which proves nothing but that it was slow.
const ROUND: usize = 24;

/// Three servers behind the Service, each in front of what `app` makes; from now on one is replaced in each round, and all
/// certificates are renewed, until the handle is aborted. A round is over when applications have noted some more requests.
pub(super) async fn churn(
    mesh: &Rc<Mesh>,
    log: &Log,
    app: impl AsyncFn(Log) -> SocketAddr + 'static,
) -> JoinHandle<()> {
    let log = Rc::clone(log);
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(mesh.server("catalogue", app(Rc::clone(&log)).await));
    }
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    let mesh = Rc::clone(mesh);
    tokio::task::spawn_local(async move {
        for round in 0usize.. {
            while log.borrow().len() < (round + 1) * ROUND {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            mesh.certify(&mesh.client);
            servers.iter().for_each(|server| mesh.certify(&server.proxy));
            // the oldest is marked for deletion, leaves the list, drains; a new one has come before
            servers.push(mesh.server("catalogue", app(Rc::clone(&log)).await));
            let mut old = servers.remove(0);
            old.proxy.leaving();
            mesh.endpoints(servers.iter().map(Server::endpoint).collect());
            let drain = old.proxy.drain.take().expect("once");
            tokio::task::spawn_local(async move {
                drain.drain(Duration::from_secs(20)).await;
                drop(old);
            });
            // one that is listed and not there
            if round % 2 == 0 {
                let gone = unmeshed(nobody().await);
                mesh.endpoints(servers.iter().map(Server::endpoint).chain([gone]).collect());
            }
        }
    })
}
