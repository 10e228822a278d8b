//! Who may hold how many of the control plane's connections: a proxy needs one, and for a moment a second one. Without a bound for each,
//! one pod could hold them all. Whoever has shown no certificate is known by the address alone, and has fewer places with all others
//! like that. Asked by `serve` for each connection; says nothing about what may be done on it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use minimesh_identity::SpiffeId;
use tokio::sync::watch;

/// The places. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<watch::Sender<Held>>);

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    holder: Holder,
}

/// There is none left for whom it was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Whose connections are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    ip: IpAddr,
    /// `None`: showed no certificate, or not yet.
    id: Option<SpiffeId>,
}

#[derive(Debug, Default)]
struct Held {
    strangers: usize,
    proxies: usize,
    by: BTreeMap<Holder, usize>,
}

impl Places {
    /// All of them, free.
    pub(crate) fn new() -> Places {
        Places(Arc::new(watch::channel(Held::default()).0))
    }

    /// A place for whoever comes from there.
    pub(crate) fn take(&self, ip: IpAddr) -> Result<Place, Full> {
        let holder = Holder { ip: ip.to_canonical(), id: None };
        self.change(|held| held.add(&holder))?;
        Ok(Place { places: self.clone(), holder })
    }

    fn change(&self, change: impl FnOnce(&mut Held) -> bool) -> Result<(), Full> {
        if self.0.send_if_modified(change) { Ok(()) } else { Err(Full) }
    }
}

impl Place {
    /// It turned out who it is: the place is one of theirs from now on.
    pub(crate) fn belongs_to(&mut self, id: &SpiffeId) -> Result<(), Full> {
        let holder = Holder { ip: self.holder.ip, id: Some(id.clone()) };
        self.places.change(|held| {
            let is_free = held.add(&holder);
            if is_free {
                held.remove(&self.holder);
            }
            is_free
        })?;
        self.holder = holder;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.send_modify(|held| held.remove(&self.holder));
    }
}

impl Held {
    /// False: there is no place left.
    fn add(&mut self, holder: &Holder) -> bool {
        let (of_all, most, most_of_one) = match holder.id {
            Some(_) => (&mut self.proxies, PROXIES, OF_ONE_PROXY),
            None => (&mut self.strangers, STRANGERS, OF_ONE_STRANGER),
        };
        let of_one = self.by.get(holder).copied().unwrap_or_default();
        if *of_all >= most || of_one >= most_of_one {
            return false;
        }
        *of_all += 1;
        self.by.insert(holder.clone(), of_one + 1);
        true
    }

    fn remove(&mut self, holder: &Holder) {
        let of_all = if holder.id.is_some() { &mut self.proxies } else { &mut self.strangers };
        *of_all -= 1;
        if let Some(of_one) = self.by.get_mut(holder) {
            *of_one -= 1;
            if *of_one == 0 {
                self.by.remove(holder);
            }
        }
    }
}

/// Connections with a certificate, of all pods.
const PROXIES: usize = 8_000;
/// Those of one proxy: make-before-break, and what broke without a word and is found out by its PING.
const OF_ONE_PROXY: usize = 8;
/// Connections without one, or in their handshake; they live for half a minute.
const STRANGERS: usize = 2_000;
/// Those of one address: a proxy that asks for its certificate has one.
const OF_ONE_STRANGER: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::testing::{POD_IP, id};

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a2a_0000 + number).into()
    }

    #[test]
    fn a_pod_has_its_share_with_a_certificate_and_without_and_gets_it_back() {
        let places = Places::new();
        let proxy = |account: &str| {
            let mut place = places.take(POD_IP)?;
            place.belongs_to(&id(account)).map(|()| place)
        };
        let mut held: Vec<Place> = (0..OF_ONE_PROXY).map(|_| proxy("carts").expect("free")).collect();
        assert_eq!(proxy("carts").err(), Some(Full));
        held.push(proxy("orders").expect("another identity"));
        held.extend((0..OF_ONE_STRANGER).map(|_| places.take(POD_IP).expect("free")));
        assert_eq!(places.take(POD_IP).err(), Some(Full));
        assert_eq!(proxy("orders").err(), Some(Full), "nobody is known before the handshake");
        held.push(places.take(address(1)).expect("another address"));
        drop(held);
        assert_eq!(*places.0.borrow().by.keys().collect::<Vec<_>>(), Vec::<&Holder>::new());
        proxy("carts").expect("free again");
    }

    #[test]
    fn a_thousand_proxies_come_back_at_once_beside_a_thousand_strangers() {
        let places = Places::new();
        let strangers: Vec<Place> = (0..1_000).flat_map(|pod| places.take(address(pod))).collect();
        let mut held = Vec::new();
        for pod in 1_000..2_000 {
            let mut place = places.take(address(pod)).expect("free");
            place.belongs_to(&id("carts")).expect("free");
            held.push(place);
        }
        let greedy: Vec<Place> = (0..1_000_u32)
            .flat_map(|pod| (0..OF_ONE_STRANGER).map(move |_| pod))
            .flat_map(|pod| places.take(address(pod)))
            .collect();
        assert_eq!(strangers.len() + greedy.len(), STRANGERS);
        assert_eq!((held.len(), places.0.borrow().proxies), (1_000, 1_000), "who is in stays in");
    }

    #[test]
    fn all_places_of_proxies_are_no_more_than_there_are() {
        let places = Places::new();
        let mut held = Vec::new();
        for pod in 0..10_000 {
            let mut place = places.take(address(pod)).expect("strangers have their own");
            if place.belongs_to(&id("carts")).is_ok() {
                held.push(place);
            }
        }
        assert_eq!(held.len(), PROXIES);
    }
}
