//! A certificate's short name: for people, and for telling the roots of one bundle apart. Proves nothing.

use std::fmt;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;

/// The first 8 bytes of a certificate's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of that certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Fingerprint {
        let digest = digest::digest(&digest::SHA256, certificate);
        let (first, _) = digest.as_ref().split_first_chunk::<8>().expect("SHA-256 has 32 bytes");
        Fingerprint(u64::from_be_bytes(*first))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
