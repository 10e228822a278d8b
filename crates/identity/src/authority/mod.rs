//! The mesh's certificate authority: a root, and an issuer below it that signs leaves. Owned by the control plane, which has
//! decided *who* a request comes from before it asks for a certificate; nothing in a request but its key is believed.
//!
//! Reads and writes one file (`store`) when told to; a file that it cannot read is never overwritten. Kept elsewhere, it goes in
//! and out as PEM (`parts`).

mod parts;
mod store;

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

pub use parts::Parts;
pub use store::FILE;

use crate::certificate::{self, Validity};
use crate::{Error, Fingerprint, Leaf, PrivateKey, SpiffeId, TrustBundle, spiffe};

/// Root and issuer of one trust domain, with their keys.
pub struct Authority {
    trust_domain: String,
    root: Certified,
    issuer: Certified,
    /// Between issuer and root, where a user brought such an authority.
    intermediates: Vec<CertificateDer<'static>>,
    /// Trusted beside the root: the next one, or the one before.
    also: Vec<CertificateDer<'static>>,
    signer: Issuer<'static, KeyPair>,
}

/// An authority's certificate and its key as they are stored.
struct Certified {
    certificate: CertificateDer<'static>,
    /// A root's may be elsewhere.
    key: Option<KeyPair>,
    validity: Validity,
}

impl Authority {
    /// A new root, valid for ten years, and a new issuer.
    pub fn create(trust_domain: &str) -> Result<Authority, Error> {
        Authority::create_at(trust_domain, SystemTime::now())
    }

    /// The same at a given time.
    pub fn create_at(trust_domain: &str, now: SystemTime) -> Result<Authority, Error> {
        spiffe::check_trust_domain(trust_domain).map_err(|error| Error::Certificate(error.to_string()))?;
        let root_key = new_key()?;
        let root_params =
            authority_params("root", trust_domain, BasicConstraints::Constrained(1), now, now + ROOT_LIFE)?;
        let root = root_params.self_signed(&root_key).map_err(certificate_error)?.der().clone();
        Authority::with_new_issuer(trust_domain, root, root_key, now)
    }

    /// The authority in `dir`, or, only if there is no file yet, a new one that is saved there. An issuer that is past two thirds
    /// of its life is replaced by a new one of the same root.
    pub fn load_or_create(dir: &Path, trust_domain: &str) -> Result<Authority, Error> {
        let now = SystemTime::now();
        let authority = match Authority::load(dir, trust_domain) {
            Ok(authority) => match authority.renewed_at(now)? {
                Some(renewed) => renewed,
                None => return Ok(authority),
            },
            Err(Error::File { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                Authority::create_at(trust_domain, now)?
            }
            Err(error) => return Err(error),
        };
        authority.save(dir)?;
        Ok(authority)
    }

    /// The authority that [`save`](Authority::save) left in `dir`.
    pub fn load(dir: &Path, trust_domain: &str) -> Result<Authority, Error> {
        store::load(dir, trust_domain)
    }

    /// Writes root, issuer and both keys to one file of mode 0600 in `dir`, which is made if need be: all of it or, on any error,
    /// nothing.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        store::save(self, dir)
    }

    /// Writes the public roots for others to read (mode 0644), all or nothing.
    pub fn save_bundle(&self, path: &Path) -> Result<(), Error> {
        store::write_atomically(path, 0o644, self.bundle()?.to_pem().as_bytes())
    }

    /// Whom everyone has to trust.
    pub fn bundle(&self) -> Result<TrustBundle, Error> {
        let roots = [&self.root.certificate].into_iter().chain(&self.also).cloned().collect();
        TrustBundle::new(&self.trust_domain, roots)
    }

    /// The root that certificates are issued under.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root.certificate
    }

    /// Short name of that root.
    pub fn root_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.root.certificate)
    }

    /// Trusts these roots beside its own.
    pub fn trusting(mut self, roots: Vec<CertificateDer<'static>>) -> Authority {
        self.also.extend(roots);
        self
    }

    /// With a new issuer, where the present one is past two thirds of its life; `None`: it is not, or the root's key is elsewhere
    /// and whoever has it must renew the issuer.
    pub fn renewed_at(&self, now: SystemTime) -> Result<Option<Authority>, Error> {
        let Some(key) = self.root.key.as_ref().filter(|_| self.issuer.ages(now)) else { return Ok(None) };
        let root = self.root.certificate.clone();
        let renewed = Authority::with_new_issuer(&self.trust_domain, root, same(key)?, now)?;
        Ok(Some(renewed.trusting(self.also.clone())))
    }

    /// The trust domain whose identities it vouches for.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Until when the issuer's certificate holds; leaves end no later.
    pub fn issuer_not_after(&self) -> SystemTime {
        self.issuer.validity.not_after
    }

    /// A certificate of `id` for the key of a signing request (DER): leaf, then issuer. The request's signature must be right; a
    /// name in it must be `id` alone; everything else in it is ignored.
    pub fn issue(&self, csr: &[u8], id: &SpiffeId, lifetime: Duration) -> Result<Vec<CertificateDer<'static>>, Error> {
        self.issue_at(csr, id, lifetime, SystemTime::now())
    }

    /// The same at a given time.
    pub fn issue_at(
        &self,
        csr: &[u8],
        id: &SpiffeId,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        let refused = |reason: String| Err(Error::Csr(reason));
        if id.trust_domain() != self.trust_domain {
            return refused(format!("{id} is not of the trust domain {}", self.trust_domain));
        }
        let request = CertificateSigningRequestDer::from(csr);
        let mut request =
            CertificateSigningRequestParams::from_der(&request).map_err(|error| Error::Csr(error.to_string()))?;
        if *request.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
            return refused("its key is not ECDSA on P-256".into());
        }
        let named = |name: &SanType| matches!(name, SanType::URI(uri) if uri.as_str() == id.as_str());
        if !request.params.subject_alt_names.iter().all(named) {
            return refused(format!("it asks for another name than {id}"));
        }
        let not_after = (now + lifetime).min(self.issuer.validity.not_after);
        if not_after <= now {
            return refused("the issuer's certificate has expired and was not renewed".into());
        }
        request.params = leaf_params(id, now, not_after)?;
        let leaf = request.signed_by(&self.signer).map_err(certificate_error)?;
        let mut chain = vec![leaf.der().clone(), self.issuer.certificate.clone()];
        chain.extend(self.intermediates.iter().cloned());
        Ok(chain)
    }

    /// A leaf with a key made here, for the control plane's own identity.
    pub fn issue_leaf(&self, id: &SpiffeId, lifetime: Duration) -> Result<Leaf, Error> {
        let key = PrivateKey::generate()?;
        Leaf::new(self.issue(&key.csr(None)?, id, lifetime)?, key)
    }

    fn with_new_issuer(
        trust_domain: &str,
        root: CertificateDer<'static>,
        root_key: KeyPair,
        now: SystemTime,
    ) -> Result<Authority, Error> {
        let parent = Issuer::from_ca_cert_der(&root, &root_key).map_err(certificate_error)?;
        let root_ends = certificate::validity(&root).map_err(|error| Error::Certificate(error.to_string()))?.not_after;
        let key = new_key()?;
        let not_after = (now + ISSUER_LIFE).min(root_ends);
        let params = authority_params("issuer", trust_domain, BasicConstraints::Constrained(0), now, not_after)?;
        let issuer = params.signed_by(&key, &parent).map_err(certificate_error)?.der().clone();
        drop(parent);
        let root = Certified::new(root, Some(root_key))?;
        Authority::assemble(trust_domain, root, Certified::new(issuer, Some(key))?, Vec::new())
    }

    /// Checks that the issuer is below the root and that both may sign.
    fn assemble(
        trust_domain: &str,
        root: Certified,
        issuer: Certified,
        intermediates: Vec<CertificateDer<'static>>,
    ) -> Result<Authority, Error> {
        let key = issuer.key.as_ref().ok_or_else(|| Error::Key("the issuer's is missing".into()))?;
        let signer = Issuer::from_ca_cert_der(&issuer.certificate, same(key)?).map_err(certificate_error)?;
        let trust_domain = trust_domain.to_owned();
        let authority = Authority { trust_domain, root, issuer, intermediates, also: Vec::new(), signer };
        // The proof is in the doing: what it issues must verify under its own root.
        let probe = SpiffeId::new(&authority.trust_domain, "minimesh", "probe")
            .map_err(|e| Error::Certificate(e.to_string()))?;
        let begin = authority.issuer.validity.not_before + BACKDATE;
        let key = PrivateKey::generate()?;
        let chain = authority.issue_at(&key.csr(None)?, &probe, Duration::from_secs(60), begin)?;
        let trust = crate::verify::Trust::new(authority.bundle()?);
        trust
            .verify(&chain[0], &chain[1..], crate::verify::Side::Server, begin)
            .map_err(|error| Error::Certificate(format!("root and issuer do not belong together: {error}")))?;
        Ok(authority)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Certified {
    fn new(certificate: CertificateDer<'static>, key: Option<KeyPair>) -> Result<Certified, Error> {
        let validity = certificate::validity(&certificate).map_err(|error| Error::Certificate(error.to_string()))?;
        let parsed = webpki::EndEntityCert::try_from(&certificate).map_err(|e| Error::Certificate(e.to_string()))?;
        let differs = |key: &KeyPair| parsed.subject_public_key_info().as_ref() != key.subject_public_key_info();
        if key.as_ref().is_some_and(differs) {
            return Err(Error::Certificate("the key beside it belongs to another certificate".into()));
        }
        Ok(Certified { certificate, key, validity })
    }

    /// Past two thirds of its life.
    fn ages(&self, now: SystemTime) -> bool {
        let life = self.validity.not_after.duration_since(self.validity.not_before).unwrap_or_default();
        now > self.validity.not_before + life * 2 / 3
    }
}

fn authority_params(
    role: &str,
    trust_domain: &str,
    constraints: BasicConstraints,
    now: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let serial = serial()?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "minimesh");
    // The number keeps two authorities of one trust domain apart for who reads a chain.
    let number: String = serial.to_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("{role} {number}"));
    params.distinguished_name.push(DnType::OrganizationalUnitName, trust_domain);
    params.serial_number = Some(serial);
    params.not_before = (now - BACKDATE).into();
    params.not_after = not_after.into();
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The subject stays empty: the identity is the URI alone (X509-SVID 4.2 leaves the subject to us).
fn leaf_params(id: &SpiffeId, now: SystemTime, not_after: SystemTime) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(serial()?);
    params.not_before = (now - BACKDATE).into();
    params.not_after = not_after.into();
    let uri = id.as_str().try_into().map_err(certificate_error)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 127 random bits: positive, and never guessed.
fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Key("the system gave no randomness".into()))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Keys cannot be cloned.
fn same(key: &KeyPair) -> Result<KeyPair, Error> {
    KeyPair::from_pem(&key.serialize_pem()).map_err(|error| Error::Key(error.to_string()))
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| Error::Key(error.to_string()))
}

fn certificate_error(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}

const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * DAY);
/// Renewed by `load_or_create` long before; short enough that the renewal is exercised.
const ISSUER_LIFE: Duration = Duration::from_secs(365 * DAY);
/// NotBefore lies this much in the past: clocks of nodes differ.
const BACKDATE: Duration = Duration::from_secs(600);
const DAY: u64 = 86_400;
