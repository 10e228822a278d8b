//! What the Secret `minimesh-issuer` holds, and how it changes when the root is replaced. Pure.
//!
//! | phase | keys |
//! |---|---|
//! | steady | `root.pem` `root.key` `issuer.pem` `issuer.key`, `session.key` |
//! | added | the same, and `next-root.pem` `next-root.key` `next-issuer.pem` `next-issuer.key` |
//! | switched | the next ones in the place of the first, `previous-root.pem`, `switched-at` |
//!
//! Or what a user brought, as `kubernetes.io/tls` and cert-manager have it: `tls.crt` (issuer), `tls.key`, `ca.crt` (roots). Such
//! an authority is renewed and replaced by who brought it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use k8s_openapi::ByteString;
use minimesh_api::model::RotationPhase;
use minimesh_identity::authority::{Authority, Parts};
use minimesh_identity::{CertificateDer, Error, TrustBundle};

use crate::issuing::Issuing;

/// The Secret's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys(pub(super) BTreeMap<String, ByteString>);

/// Why the data is of no use, or does not change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// Keys and certificates do not belong together, or cannot be read.
    #[error(transparent)]
    Authority(#[from] Error),
    /// Something is not there, or is no text.
    #[error("{0}: missing or no text")]
    Missing(&'static str),
    /// A step that was taken already, or not yet.
    #[error("the replacement of the root is at {found:?}, not at {expected:?}")]
    OtherPhase {
        /// What was said.
        expected: RotationPhase,
        /// What is.
        found: RotationPhase,
    },
    /// Somebody else has the root's key.
    #[error("the authority was brought by a user (tls.crt, ca.crt); who brought it replaces it there")]
    NotOurs,
}

impl Keys {
    /// A new authority.
    pub(super) fn create(trust_domain: &str) -> Result<Keys, KeysError> {
        let mut keys = Keys::default();
        keys.put("", &Authority::create(trust_domain)?.to_parts());
        let mut session_key = [0; 32];
        aws_lc_rs::rand::fill(&mut session_key).map_err(|_| KeysError::Missing("randomness"))?;
        keys.0.insert(SESSION_KEY.to_owned(), ByteString(session_key.to_vec()));
        Ok(keys)
    }

    /// The authority.
    pub(super) fn read(&self, trust_domain: &str) -> Result<Issuing, KeysError> {
        let authority = Authority::from_parts(trust_domain, &self.parts("")?)?;
        let phase = self.phase();
        let authority = match phase {
            RotationPhase::Added => authority.trusting(self.roots(trust_domain, NEXT_ROOT)?),
            RotationPhase::Steady => authority,
            RotationPhase::Switched => authority.trusting(self.roots(trust_domain, PREVIOUS_ROOT)?),
        };
        Ok(Issuing { authority, phase })
    }

    /// What client sessions are signed with: the same for every replica, and hard to guess.
    pub(super) fn session_key(&self) -> Arc<[u8]> {
        let own = self.0.get(SESSION_KEY).map(|key| key.0.as_slice()).filter(|key| (16..=64).contains(&key.len()));
        let derived = || {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(b"minimesh session key of ");
            context.update(self.text("tls.key").or_else(|_| self.text("issuer.key")).unwrap_or_default().as_bytes());
            context.finish()
        };
        own.map_or_else(|| derived().as_ref().into(), Into::into)
    }

    /// With the next step of the root's replacement taken.
    pub(super) fn advanced(&self, trust_domain: &str, from: RotationPhase, now: SystemTime) -> Result<Keys, KeysError> {
        let found = self.phase();
        if found != from {
            return Err(KeysError::OtherPhase { expected: from, found });
        }
        let mut keys = self.clone();
        match from {
            RotationPhase::Steady => {
                if self.parts("")?.root_key.is_none() {
                    return Err(KeysError::NotOurs);
                }
                keys.put(NEXT, &Authority::create_at(trust_domain, now)?.to_parts());
            }
            RotationPhase::Added => {
                let next = self.parts(NEXT)?;
                keys.0.retain(|name, _| !name.starts_with(NEXT));
                keys.set(PREVIOUS_ROOT, &self.parts("")?.roots);
                keys.set(SWITCHED_AT, &seconds(now).to_string());
                keys.put("", &next);
            }
            RotationPhase::Switched => {
                keys.0.remove(PREVIOUS_ROOT);
                keys.0.remove(SWITCHED_AT);
            }
        }
        keys.read(trust_domain)?;
        Ok(keys)
    }

    /// With what time demands: a new issuer, or the end of a replacement of which every certificate has run out. `None`: nothing.
    pub(super) fn aged(
        &self,
        trust_domain: &str,
        leaf_lifetime: Duration,
        now: SystemTime,
    ) -> Result<Option<Keys>, KeysError> {
        let switched = self.text(SWITCHED_AT).ok().and_then(|text| text.parse().ok());
        let over = switched.is_some_and(|at: u64| seconds(now) > at + leaf_lifetime.as_secs() + MARGIN.as_secs());
        if self.phase() == RotationPhase::Switched && over {
            return self.advanced(trust_domain, RotationPhase::Switched, now).map(Some);
        }
        let Some(renewed) = Authority::from_parts(trust_domain, &self.parts("")?)?.renewed_at(now)? else {
            return Ok(None);
        };
        let mut keys = self.clone();
        keys.put("", &renewed.to_parts());
        Ok(Some(keys))
    }

    fn phase(&self) -> RotationPhase {
        match (self.0.contains_key(NEXT_ROOT), self.0.contains_key(PREVIOUS_ROOT)) {
            (true, _) => RotationPhase::Added,
            (false, true) => RotationPhase::Switched,
            (false, false) => RotationPhase::Steady,
        }
    }

    fn parts(&self, prefix: &str) -> Result<Parts, KeysError> {
        if prefix.is_empty() && self.0.contains_key("tls.crt") {
            let text = |name| self.text(name).map(str::to_owned);
            let (roots, issuer, issuer_key) = (text("ca.crt")?, text("tls.crt")?, text("tls.key")?);
            return Ok(Parts { roots, root_key: None, issuer, issuer_key });
        }
        let text = |index: usize| self.text(&format!("{prefix}{}", FILES[index])).map(str::to_owned);
        let missing = |index: usize| move |_| KeysError::Missing(FILES[index]);
        Ok(Parts {
            roots: text(0).map_err(missing(0))?,
            root_key: text(1).ok(),
            issuer: text(2).map_err(missing(2))?,
            issuer_key: text(3).map_err(missing(3))?,
        })
    }

    fn put(&mut self, prefix: &str, parts: &Parts) {
        let Parts { roots, root_key, issuer, issuer_key } = parts;
        for (file, text) in FILES.into_iter().zip([Some(roots), root_key.as_ref(), Some(issuer), Some(issuer_key)]) {
            if let Some(text) = text {
                self.set(&format!("{prefix}{file}"), text);
            }
        }
    }

    fn set(&mut self, name: &str, text: &str) {
        self.0.insert(name.to_owned(), ByteString(text.as_bytes().to_vec()));
    }

    fn text(&self, name: &str) -> Result<&str, KeysError> {
        let bytes = self.0.get(name).map(|bytes| bytes.0.as_slice());
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(KeysError::Missing("a key of the Secret"))
    }

    fn roots(&self, trust_domain: &str, name: &str) -> Result<Vec<CertificateDer<'static>>, KeysError> {
        Ok(TrustBundle::from_pem(trust_domain, self.text(name)?.as_bytes())?.roots().to_vec())
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

const FILES: [&str; 4] = ["root.pem", "root.key", "issuer.pem", "issuer.key"];
/// Made with the first keys; of an authority that a user brought it is derived.
const SESSION_KEY: &str = "session.key";
const NEXT: &str = "next-";
const NEXT_ROOT: &str = "next-root.pem";
const PREVIOUS_ROOT: &str = "previous-root.pem";
const SWITCHED_AT: &str = "switched-at";
/// Certificates are dated back, and clocks differ.
const MARGIN: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use minimesh_identity::{PrivateKey, SpiffeId};

    use super::*;

    const DOMAIN: &str = "cluster.local";

    fn roots(keys: &Keys) -> usize {
        keys.read(DOMAIN).unwrap().authority.bundle().unwrap().roots().len()
    }

    /// A leaf's chain.
    fn leaf(keys: &Keys) -> Vec<CertificateDer<'static>> {
        let id = SpiffeId::new(DOMAIN, "shop", "carts").unwrap();
        let csr = PrivateKey::generate().unwrap().csr(None).unwrap();
        keys.read(DOMAIN).unwrap().authority.issue(&csr, &id, Duration::from_secs(60)).unwrap()
    }

    fn accepts(keys: &Keys, chain: &[CertificateDer<'static>]) -> bool {
        keys.read(DOMAIN).unwrap().authority.bundle().unwrap().root_of(chain).is_some()
    }

    #[test]
    fn a_replacement_never_leaves_anybody_without_somebody_who_trusts_it() {
        let now = SystemTime::now();
        let steady = Keys::create(DOMAIN).unwrap();
        let added = steady.advanced(DOMAIN, RotationPhase::Steady, now).unwrap();
        let switched = added.advanced(DOMAIN, RotationPhase::Added, now).unwrap();
        let done = switched.advanced(DOMAIN, RotationPhase::Switched, now).unwrap();
        assert_eq!([&steady, &added, &switched, &done].map(roots), [1, 2, 2, 1]);
        let chains = [&steady, &added, &switched, &done].map(leaf);
        // who is one step behind or ahead is accepted
        for (step, keys) in [&steady, &added, &switched, &done].into_iter().enumerate() {
            for chain in &chains[step.saturating_sub(1)..=step] {
                assert!(step == 3 || accepts(keys, chain), "step {step}");
            }
        }
        assert!(!accepts(&done, &chains[0]) && accepts(&done, &chains[2]), "the old root is gone");
        assert_eq!(
            done.0.keys().collect::<Vec<_>>(),
            ["issuer.key", "issuer.pem", "root.key", "root.pem", "session.key"]
        );
        assert_ne!(done.read(DOMAIN).unwrap().authority.root(), steady.read(DOMAIN).unwrap().authority.root());
    }

    #[test]
    fn a_step_is_not_taken_twice() {
        let now = SystemTime::now();
        let added = Keys::create(DOMAIN).unwrap().advanced(DOMAIN, RotationPhase::Steady, now).unwrap();
        let refusal = added.advanced(DOMAIN, RotationPhase::Steady, now).unwrap_err().to_string();
        assert_eq!(refusal, "the replacement of the root is at Added, not at Steady");
    }

    #[test]
    fn a_switch_is_finished_when_every_older_certificate_has_run_out() {
        let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
        let added = Keys::create(DOMAIN).unwrap().advanced(DOMAIN, RotationPhase::Steady, now).unwrap();
        assert_eq!(added.aged(DOMAIN, day, now + day * 2).unwrap(), None, "it waits for acknowledgements");
        let switched = added.advanced(DOMAIN, RotationPhase::Added, now).unwrap();
        assert_eq!(switched.aged(DOMAIN, day, now + day).unwrap(), None);
        let aged = switched.aged(DOMAIN, day, now + day + MARGIN * 2).unwrap().expect("finished");
        assert_eq!(aged, switched.advanced(DOMAIN, RotationPhase::Switched, now).unwrap());
    }

    #[test]
    fn an_old_issuer_is_replaced_under_the_same_root() {
        let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
        let keys = Keys::create(DOMAIN).unwrap();
        assert_eq!(keys.aged(DOMAIN, day, now + day * 200).unwrap(), None);
        let renewed = keys.aged(DOMAIN, day, now + day * 300).unwrap().expect("renewed");
        assert_eq!(renewed.read(DOMAIN).unwrap().authority.root(), keys.read(DOMAIN).unwrap().authority.root());
        assert_ne!(renewed.0["issuer.pem"], keys.0["issuer.pem"]);
    }

    #[test]
    fn an_authority_that_a_user_brought_is_used_and_left_alone() {
        let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
        let ours = Keys::create(DOMAIN).unwrap();
        let mut brought = Keys::default();
        let other = Keys::create(DOMAIN).unwrap();
        let both = format!("{}{}", other.text("root.pem").unwrap(), ours.text("root.pem").unwrap());
        brought.set("ca.crt", &both);
        brought.set("tls.crt", ours.text("issuer.pem").unwrap());
        brought.set("tls.key", ours.text("issuer.key").unwrap());
        assert_eq!(roots(&brought), 2, "cert-manager overlaps too");
        assert!(accepts(&brought, &leaf(&brought)) && accepts(&ours, &leaf(&brought)));
        assert_eq!(brought.aged(DOMAIN, day, now + day * 300).unwrap(), None);
        let refusal = brought.advanced(DOMAIN, RotationPhase::Steady, now).unwrap_err();
        assert!(matches!(refusal, KeysError::NotOurs), "{refusal}");
    }

    #[test]
    fn what_cannot_be_read_says_what_and_never_shows_a_key() {
        let keys = Keys::create(DOMAIN).unwrap();
        for name in FILES {
            let mut broken = keys.clone();
            broken.set(name, "nonsense");
            let text = broken.read(DOMAIN).unwrap_err().to_string();
            assert!(text.contains("root") || text.contains("issuer"), "{name}: {text}");
        }
        let mut missing = keys.clone();
        missing.0.remove("issuer.key");
        assert_eq!(missing.read(DOMAIN).unwrap_err().to_string(), "issuer.key: missing or no text");
        let mut foreign = keys;
        foreign.0.insert("root.pem".into(), Keys::create(DOMAIN).unwrap().0["root.pem"].clone());
        assert!(foreign.read(DOMAIN).is_err(), "the key beside it belongs to another certificate");
    }
}
