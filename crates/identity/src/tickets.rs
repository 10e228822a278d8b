//! What seals the server's session tickets. Keys live in this process alone and for an hour at most; a ticket opens only under the
//! bundle version and the own identity that it was issued under, and until the earlier of half an hour and the end of the leaf.

use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use crate::peer_error::unix;
use crate::{Error, SpiffeId, TrustBundle};

/// The ticket keys of one process, kept across renewals of its certificate. Cheap to clone.
#[derive(Clone)]
pub struct TicketKeys(Arc<RwLock<Ring>>);

/// The present key and the one before it. The lock is taken once per ticket, never between requests: ADR-worthy state that
/// workers share, because a client may resume on another worker than it first met.
struct Ring {
    current: Key,
    previous: Option<Key>,
}

struct Key {
    name: [u8; NAME_LEN],
    aead: RandomizedNonceKey,
    /// Seconds since 1970.
    born: u64,
}

impl TicketKeys {
    /// Fresh keys.
    pub fn new() -> Result<TicketKeys, Error> {
        let born = unix(SystemTime::now()).as_secs();
        let current = Key::new(born).ok_or_else(|| Error::Key("the system gave no randomness".into()))?;
        Ok(TicketKeys(Arc::new(RwLock::new(Ring { current, previous: None }))))
    }

    fn seal(&self, aad: &[u8], now: u64, plain: &[u8]) -> Option<Vec<u8>> {
        self.rotate(now)?;
        let ring = self.0.read().ok()?;
        let mut sealed = plain.to_vec();
        let nonce = ring.current.aead.seal_in_place_append_tag(Aad::from(aad), &mut sealed).ok()?;
        Some([&ring.current.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, aad: &[u8], now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let ring = self.0.read().ok()?;
        let alive = |key: &&Key| key.name == name && now.saturating_sub(key.born) < 2 * ROTATE;
        let key = [Some(&ring.current), ring.previous.as_ref()].into_iter().flatten().find(alive)?;
        let mut sealed = sealed.to_vec();
        Some(key.aead.open_in_place(nonce, Aad::from(aad), &mut sealed).ok()?.to_vec())
    }

    fn rotate(&self, now: u64) -> Option<()> {
        let due = |ring: &Ring| now.abs_diff(ring.current.born) >= ROTATE;
        if due(&*self.0.read().ok()?) {
            let mut ring = self.0.write().ok()?;
            if due(&ring) {
                let old = std::mem::replace(&mut ring.current, Key::new(now)?);
                ring.previous = Some(old);
            }
        }
        Some(())
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys(…)")
    }
}

impl Key {
    fn new(born: u64) -> Option<Key> {
        let mut name = [0; NAME_LEN];
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut name).ok()?;
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()?;
        secret.fill(0);
        Some(Key { name, aead, born })
    }
}

/// Tickets of one set of credentials.
pub(crate) struct Tickets {
    keys: TicketKeys,
    /// Bundle version and own identity. A ticket of another bundle (smaller or larger) or identity does not open, and rustls goes
    /// on with a full handshake.
    binding: Vec<u8>,
    leaf_not_after: u64,
    clock: Arc<dyn TimeProvider>,
}

impl Tickets {
    pub(crate) fn new(
        keys: TicketKeys,
        bundle: &TrustBundle,
        own: &SpiffeId,
        leaf_not_after: SystemTime,
        clock: Arc<dyn TimeProvider>,
    ) -> Tickets {
        let binding = [&bundle.version().to_be_bytes()[..], own.as_str().as_bytes()].concat();
        Tickets { keys, binding, leaf_not_after: unix(leaf_not_after).as_secs(), clock }
    }

    /// Seconds since 1970, and how many seconds a ticket issued now may live.
    fn now_and_life(&self) -> Option<(u64, u64)> {
        let now = self.clock.current_time()?.as_secs();
        Some((now, LIFE.as_secs().min(self.leaf_not_after.saturating_sub(now))))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // rustls' client takes 0 as "for ever"; `encrypt` issues nothing in that case.
        self.now_and_life().map_or(1, |(_, life)| life.max(1) as u32)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (now, life) = self.now_and_life().filter(|(_, life)| *life > 0)?;
        self.keys.seal(&self.binding, now, &[&(now + life).to_be_bytes()[..], plain].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.current_time()?.as_secs();
        let opened = self.keys.open(&self.binding, now, ticket)?;
        let (until, plain) = opened.split_first_chunk::<8>()?;
        (now < u64::from_be_bytes(*until)).then(|| plain.to_vec())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

const NAME_LEN: usize = 8;
/// How long a ticket lives. Long enough for a client that reconnects, short enough that a stolen one is of little use.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// How long a key seals; it opens for as long again, so that a ticket's last minute still works: an hour in all.
const ROTATE: u64 = 30 * 60;
