//! Who has which certificate until when, and whom it trusts: of the proxies that are connected to this replica, and those that were
//! issued to a moment ago. For people, and for who replaces the root. Must never decide who is let in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use minimesh_identity::{Fingerprint, SpiffeId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::publish::Subscriber;

/// The ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<watch::Sender<BTreeMap<(IpAddr, SpiffeId), Held>>>);

/// A certificate that a proxy presented, or was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Until when it holds.
    pub(crate) not_after: SystemTime,
    /// The root that it was issued under; `None`: of none that is trusted.
    pub(crate) root: Option<Fingerprint>,
}

/// What is known of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its newest certificate.
    pub(crate) certificate: Certificate,
    /// Version of the trust bundle that it acknowledged last.
    pub(crate) trust: Option<u64>,
    /// Its streams that are open.
    pub(crate) streams: u32,
    noted: Instant,
}

/// Notes what a stream says for as long as it is open.
#[derive(Debug)]
pub(crate) struct Open {
    ledger: Ledger,
    key: (IpAddr, SpiffeId),
}

impl Ledger {
    /// An empty one.
    pub(crate) fn new() -> Ledger {
        Ledger(Arc::new(watch::channel(BTreeMap::new()).0))
    }

    /// A proxy was given a certificate.
    pub(crate) fn certified(&self, ip: IpAddr, id: SpiffeId, certificate: Certificate) {
        self.0.send_modify(|held| {
            let now = Instant::now();
            // Who was given one and never came is forgotten.
            held.retain(|_, held| held.streams > 0 || now.duration_since(held.noted) < FORGOTTEN);
            note(held, (ip, id), certificate);
        });
    }

    /// A stream of a proxy begins; `None`: its connection carries no certificate (tests).
    pub(crate) fn open(&self, subscriber: &Subscriber, certificate: Option<Certificate>) -> Option<Open> {
        let key = (subscriber.ip, subscriber.id.clone());
        let certificate = certificate?;
        self.0.send_modify(|held| note(held, key.clone(), certificate).streams += 1);
        Some(Open { ledger: self.clone(), key })
    }

    /// Everything.
    pub(crate) fn all(&self) -> Vec<(Subscriber, Held)> {
        let subscriber = |(ip, id): &(IpAddr, SpiffeId)| Subscriber { ip: *ip, id: id.clone() };
        self.0.borrow().iter().map(|(key, held)| (subscriber(key), held.clone())).collect()
    }
}

impl Open {
    /// The proxy acknowledged a trust bundle.
    pub(crate) fn trusts(&self, version: u64) {
        self.ledger.0.send_modify(|held| {
            if let Some(held) = held.get_mut(&self.key) {
                held.trust = Some(version);
            }
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ledger.0.send_modify(|held| {
            let Some(entry) = held.get_mut(&self.key) else { return };
            entry.streams -= 1;
            if entry.streams == 0 {
                held.remove(&self.key);
            }
        });
    }
}

/// The newest certificate of a proxy is the one that ends last.
fn note(held: &mut BTreeMap<(IpAddr, SpiffeId), Held>, key: (IpAddr, SpiffeId), certificate: Certificate) -> &mut Held {
    let noted = Instant::now();
    let entry = held.entry(key).or_insert(Held { certificate, trust: None, streams: 0, noted });
    if certificate.not_after >= entry.certificate.not_after {
        entry.certificate = certificate;
    }
    entry.noted = noted;
    entry
}

/// A proxy connects within moments of its certificate.
const FORGOTTEN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{POD_IP, id};

    fn until(seconds: u64) -> Certificate {
        Certificate { not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), root: None }
    }

    fn known(ledger: &Ledger) -> Vec<(SpiffeId, Certificate, Option<u64>, u32)> {
        let row = |(subscriber, held): (Subscriber, Held)| (subscriber.id, held.certificate, held.trust, held.streams);
        ledger.all().into_iter().map(row).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_stands_in_it_while_a_stream_is_open_with_its_newest_certificate() {
        let ledger = Ledger::new();
        let carts = Subscriber { ip: POD_IP, id: id("carts") };
        let first = ledger.open(&carts, Some(until(10))).unwrap();
        first.trusts(7);
        ledger.certified(POD_IP, id("carts"), until(20));
        let second = ledger.open(&carts, Some(until(20))).unwrap();
        assert_eq!(known(&ledger), [(id("carts"), until(20), Some(7), 2)]);
        drop(first);
        assert_eq!(known(&ledger), [(id("carts"), until(20), Some(7), 1)]);
        drop(second);
        assert_eq!(known(&ledger), []);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_given_a_certificate_and_never_came_is_forgotten() {
        let ledger = Ledger::new();
        ledger.certified(POD_IP, id("carts"), until(10));
        assert_eq!(known(&ledger).len(), 1);
        tokio::time::advance(FORGOTTEN).await;
        ledger.certified(POD_IP, id("orders"), until(10));
        assert_eq!(known(&ledger), [(id("orders"), until(10), None, 0)]);
    }
}
