//! Our own certificate: the chain that the authority gave, and the key that it was made for.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::certificate::{self, Contents};
use crate::{Error, PeerError, PrivateKey, SpiffeId};

/// A certificate chain (leaf first, no root) with its key. Cheap to clone.
#[derive(Clone)]
pub struct Leaf {
    contents: Arc<Contents>,
    certified: Arc<CertifiedKey>,
}

impl Leaf {
    /// Checks that the chain can be read, names exactly one SPIFFE ID, and belongs to `key`. Whether it chains to a root is
    /// asked where the root is known: [`Credentials::check_own`](crate::Credentials::check_own).
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Result<Leaf, Error> {
        let Some(first) = chain.first() else {
            return Err(Error::Certificate("the chain is empty".into()));
        };
        let contents = certificate::contents(first).map_err(|error| Error::Certificate(error.to_string()))?;
        let certified = CertifiedKey::new(chain, Arc::new(key));
        if certified.keys_match().is_err() {
            return Err(Error::Certificate(format!("the certificate of {} is not for our key", contents.id)));
        }
        Ok(Leaf { contents: Arc::new(contents), certified: Arc::new(certified) })
    }

    /// Who we are.
    pub fn id(&self) -> &SpiffeId {
        &self.contents.id
    }

    /// From when it holds.
    pub fn not_before(&self) -> SystemTime {
        self.contents.validity.not_before
    }

    /// Until when it holds.
    pub fn not_after(&self) -> SystemTime {
        self.contents.validity.not_after
    }

    /// The serial number in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.contents.serial
    }

    /// The certificates, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Whether it holds at `now`; if not, this proxy's clock or its renewal is at fault, not a peer.
    pub fn check_validity(&self, now: SystemTime) -> Result<(), PeerError> {
        self.contents.validity.check(now)
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.contents, f)
    }
}
