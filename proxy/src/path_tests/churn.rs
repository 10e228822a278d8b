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

/// Three servers behind the Service, each in front of what `app` makes; from now on one is replaced in each round, and all
/// certificates are renewed, until the handle is aborted.
pub(super) async fn churn(
    mesh: &Rc<Mesh>,
    every: Duration,
    app: impl AsyncFn() -> SocketAddr + 'static,
) -> JoinHandle<()> {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(mesh.server("catalogue", app().await));
    }
    mesh.service(Protocol::Detect, servers.iter().map(Server::endpoint).collect());
    let mesh = Rc::clone(mesh);
    tokio::task::spawn_local(async move {
        for round in 0usize.. {
            tokio::time::sleep(every).await;
            mesh.certify(&mesh.client);
            servers.iter().for_each(|server| mesh.certify(&server.proxy));
            // the oldest is marked for deletion, leaves the list, drains; a new one has come before
            servers.push(mesh.server("catalogue", app().await));
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
