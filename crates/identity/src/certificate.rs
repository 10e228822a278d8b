//! Reads what this mesh needs out of a certificate: identity, validity, serial. Whether the certificate may be believed is
//! `verify`'s business. Certificates come from peers: nothing here may panic on any bytes.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{PeerError, SpiffeId};

/// What stands in a leaf certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) id: SpiffeId,
    pub(crate) validity: Validity,
    pub(crate) serial: String,
}

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// The identity that a certificate claims: exactly one URI among its subject alternative names, a SPIFFE ID of the form
/// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`. DNS names and addresses are ignored.
pub fn peer_id(certificate: &CertificateDer<'_>) -> Result<SpiffeId, PeerError> {
    identity(&parse(certificate)?)
}

/// Until when a certificate holds.
pub fn expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, PeerError> {
    Ok(validity(certificate)?.not_after)
}

pub(crate) fn contents(certificate: &CertificateDer<'_>) -> Result<Contents, PeerError> {
    let certificate = parse(certificate)?;
    if certificate.is_ca() {
        return Err(PeerError::MalformedCertificate("an authority's certificate is not a leaf".into()));
    }
    // X509-SVID 5.2: a leaf that could sign certificates must be refused.
    if let Ok(Some(usage)) = certificate.key_usage()
        && (usage.value.key_cert_sign() || usage.value.crl_sign())
    {
        return Err(PeerError::MalformedCertificate("a leaf may not sign certificates".into()));
    }
    Ok(Contents {
        id: identity(&certificate)?,
        validity: validity_of(&certificate)?,
        serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, PeerError> {
    validity_of(&parse(certificate)?)
}

/// One PEM section, lines of 64 characters (RFC 7468).
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    for chunk in der.chunks(48) {
        base64(chunk, &mut pem);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

fn base64(bytes: &[u8], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for triple in bytes.chunks(3) {
        let bits = triple.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - triple.len()));
        for position in 0..4 {
            let symbol = ALPHABET[(bits >> (18 - 6 * position)) as usize & 63];
            out.push(if position <= triple.len() { symbol as char } else { '=' });
        }
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PeerError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(PeerError::MalformedCertificate("bytes follow the certificate".into())),
        Err(error) => Err(PeerError::MalformedCertificate(error.to_string().into())),
    }
}

fn identity(certificate: &X509Certificate<'_>) -> Result<SpiffeId, PeerError> {
    let malformed = |reason: &str| PeerError::MalformedIdentity(reason.into());
    let names = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => &extension.value.general_names,
        Ok(None) => return Err(malformed("no subject alternative name")),
        Err(error) => return Err(malformed(&error.to_string())),
    };
    let mut uris = Vec::new();
    for name in names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => return Err(malformed("a subject alternative name cannot be read")),
            _ => {}
        }
    }
    match uris[..] {
        [uri] => uri.parse().map_err(|error: crate::InvalidSpiffeId| malformed(&error.to_string())),
        [] => Err(malformed("no URI among the subject alternative names")),
        _ => Err(malformed("more than one URI among the subject alternative names")),
    }
}

fn validity_of(certificate: &X509Certificate<'_>) -> Result<Validity, PeerError> {
    let validity = certificate.validity();
    let (Some(not_before), Some(not_after)) =
        (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()))
    else {
        return Err(PeerError::MalformedCertificate("its validity lies outside of this machine's calendar".into()));
    };
    Ok(Validity { not_before, not_after })
}

fn time(seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}
