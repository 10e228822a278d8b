//! The roots of one trust domain. Made from what the control plane or a mounted file says; read by the verifier.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::verify::{Side, Trust};
use crate::{Error, spiffe};

/// The roots that vouch for the identities of one trust domain; never empty. Cheap to clone.
#[derive(Clone)]
pub struct TrustBundle(Arc<Inner>);

struct Inner {
    trust_domain: Box<str>,
    /// Sorted and without duplicates, so that equal sets are equal bundles.
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    version: u64,
}

/// A bundle holds the roots of at most a few authorities, old and new; more is a mistake or an attack on verification time.
const MAX_ROOTS: usize = 64;

impl TrustBundle {
    /// Checks that every root can be read and that there is at least one.
    pub fn new(trust_domain: &str, mut roots: Vec<CertificateDer<'static>>) -> Result<TrustBundle, Error> {
        spiffe::check_trust_domain(trust_domain).map_err(|error| Error::Bundle(error.to_string()))?;
        roots.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        roots.dedup();
        if roots.is_empty() {
            return Err(Error::Bundle("holds no root certificate".into()));
        }
        if roots.len() > MAX_ROOTS {
            return Err(Error::Bundle(format!("holds {} roots, at most {MAX_ROOTS} are allowed", roots.len())));
        }
        let anchors = roots.iter().enumerate().map(|(index, root)| match webpki::anchor_from_trusted_cert(root) {
            Ok(anchor) => Ok(anchor.to_owned()),
            Err(error) => Err(Error::Bundle(format!("root {} of {}: {error}", index + 1, roots.len()))),
        });
        let anchors = anchors.collect::<Result<Vec<_>, Error>>()?;
        let version = version(trust_domain, &roots);
        Ok(TrustBundle(Arc::new(Inner { trust_domain: trust_domain.into(), roots, anchors, version })))
    }

    /// From certificates in PEM; anything else in the text but comments between them is refused.
    pub fn from_pem(trust_domain: &str, pem: &[u8]) -> Result<TrustBundle, Error> {
        let roots = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        TrustBundle::new(trust_domain, roots.map_err(|error| Error::Bundle(error.to_string()))?)
    }

    /// The roots in PEM.
    pub fn to_pem(&self) -> String {
        self.0.roots.iter().map(|root| crate::certificate::to_pem("CERTIFICATE", root)).collect()
    }

    /// The roots, in the order of their bytes.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.0.roots
    }

    /// The trust domain, as in `spiffe://TRUST-DOMAIN/…`.
    pub fn trust_domain(&self) -> &str {
        &self.0.trust_domain
    }

    /// The root that a peer's chain (leaf first) leads to now; `None`: to none of these.
    pub fn root_of(&self, chain: &[CertificateDer<'_>]) -> Option<&CertificateDer<'static>> {
        let (leaf, intermediates) = chain.split_first()?;
        let now = SystemTime::now();
        self.roots().iter().find(|root| {
            let alone = TrustBundle::new(self.trust_domain(), vec![(*root).clone()]);
            alone.is_ok_and(|alone| Trust::new(alone).verify(leaf, intermediates, Side::Client, now).is_ok())
        })
    }

    /// A hash of the content: equal bundles have equal versions, in every process and after every restart.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.0.anchors
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &TrustBundle) -> bool {
        self.0.trust_domain == other.0.trust_domain && self.0.roots == other.0.roots
    }
}

impl Eq for TrustBundle {}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("trust_domain", &self.0.trust_domain)
            .field("roots", &self.0.roots.len())
            .field("version", &format_args!("{:016x}", self.0.version))
            .finish()
    }
}

fn version(trust_domain: &str, roots: &[CertificateDer<'_>]) -> u64 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(trust_domain.as_bytes()).chain(roots.iter().map(AsRef::as_ref)) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let (first, _) = digest.as_ref().split_first_chunk::<8>().expect("SHA-256 has 32 bytes");
    u64::from_be_bytes(*first)
}
