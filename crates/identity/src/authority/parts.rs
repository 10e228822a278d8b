//! An authority as PEM texts: how it is kept in a Kubernetes Secret, and how users bring their own.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Authority, Certified};
use crate::{Error, certificate};

/// An authority's certificates and keys in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Parts {
    /// The root, or several of which the issuer is below one.
    pub roots: String,
    /// The root's key; `None`: it is elsewhere, and the issuer is renewed by whoever has it.
    pub root_key: Option<String>,
    /// The issuer, then any intermediates above it.
    pub issuer: String,
    /// The issuer's key: PKCS#8 or SEC 1.
    pub issuer_key: String,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("roots", &self.roots).field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Authority {
    /// From PEM. Checks that root, issuer and keys belong together.
    pub fn from_parts(trust_domain: &str, parts: &Parts) -> Result<Authority, Error> {
        let mut roots = certificates("the roots", &parts.roots)?;
        let mut chain = certificates("the issuer", &parts.issuer)?;
        // A chain may end in its root, which peers have.
        chain.retain(|certificate| !roots.contains(certificate));
        if chain.is_empty() {
            return Err(Error::Certificate("the issuer is a root itself; a certificate below it is needed".into()));
        }
        let issuer_key = key("the issuer", &parts.issuer_key)?;
        let issuer = Certified::new(chain.remove(0), Some(issuer_key))?;
        let root_key = parts.root_key.as_deref().map(|text| key("the root", text)).transpose()?;
        if root_key.is_some() && roots.len() != 1 {
            return Err(Error::Certificate("one key beside several roots".into()));
        }
        let place = match roots.len() {
            1 => 0,
            _ => root_of(trust_domain, &roots, &issuer, &chain)?,
        };
        let root = Certified::new(roots.remove(place), root_key)?;
        Ok(Authority::assemble(trust_domain, root, issuer, chain)?.trusting(roots))
    }

    /// In PEM, without what it trusts besides.
    pub fn to_parts(&self) -> Parts {
        let pem = |certificate: &CertificateDer<'_>| certificate::to_pem("CERTIFICATE", certificate);
        let chain = [&self.issuer.certificate].into_iter().chain(&self.intermediates);
        Parts {
            roots: pem(&self.root.certificate),
            root_key: self.root.key.as_ref().map(KeyPair::serialize_pem),
            issuer: chain.map(pem).collect(),
            issuer_key: self.issuer.key.as_ref().map(KeyPair::serialize_pem).unwrap_or_default(),
        }
    }
}

/// Which of several roots the issuer is below.
fn root_of(
    trust_domain: &str,
    roots: &[CertificateDer<'static>],
    issuer: &Certified,
    chain: &[CertificateDer<'static>],
) -> Result<usize, Error> {
    let is_it = |root: &CertificateDer<'static>| {
        let issuer_key = issuer.key.as_ref().map(super::same)?.ok();
        let issuer = Certified::new(issuer.certificate.clone(), issuer_key).ok()?;
        let root = Certified::new(root.clone(), None).ok()?;
        Authority::assemble(trust_domain, root, issuer, chain.to_vec()).ok()
    };
    let found = roots.iter().position(|root| is_it(root).is_some());
    found.ok_or_else(|| Error::Certificate("the issuer is below none of the roots".into()))
}

/// Roots in PEM.
pub(super) fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|error| Error::Certificate(format!("{what}: {error}")))?;
    if read.is_empty() {
        return Err(Error::Certificate(format!("{what}: no certificate in PEM")));
    }
    Ok(read)
}

fn key(whose: &str, pem: &str) -> Result<KeyPair, Error> {
    let failed = |reason: String| Error::Key(format!("{whose}'s: {reason}"));
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| failed(error.to_string()))?;
    let key = KeyPair::from_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
    key.map_err(|error| failed(format!("{error}; it must be ECDSA on P-256")))
}
