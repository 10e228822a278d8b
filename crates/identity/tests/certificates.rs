//! Certificates that an authority of ours would never issue, but that chain to a trusted root all the same; bytes that are no
//! certificates at all; and keys and chains that do not belong together.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::time::SystemTime;

use minimesh_identity::authority::Authority;
use minimesh_identity::{
    CertificateDer, Credentials, Error, Leaf, PeerError, PrivateKey, SpiffeId, TicketKeys, TrustBundle, peer_id,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

const DOMAIN: &str = "cluster.local";

/// A root of our own making, trusted by `credentials`.
struct Forge {
    issuer: Issuer<'static, KeyPair>,
    credentials: Credentials,
}

impl Forge {
    fn new() -> Forge {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).unwrap().der().clone();
        let ours = Authority::create(DOMAIN).unwrap();
        let roots = [&[root][..], ours.bundle().unwrap().roots()].concat();
        let id = SpiffeId::new(DOMAIN, "shop", "carts").unwrap();
        let leaf = ours.issue_leaf(&id, std::time::Duration::from_secs(3600)).unwrap();
        let bundle = TrustBundle::new(DOMAIN, roots).unwrap();
        let credentials = Credentials::new(leaf, bundle, &TicketKeys::new().unwrap(), 1).unwrap();
        Forge { issuer: Issuer::new(params, key), credentials }
    }

    /// The judgement on a client with a certificate of the given names, changed by `change`.
    fn judge(&self, names: &[SanType], change: impl FnOnce(&mut CertificateParams)) -> Result<SpiffeId, PeerError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap();
        self.credentials.check_client(Some(&[certificate.der().clone()]), SystemTime::now())
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

const ID: &str = "spiffe://cluster.local/ns/shop/sa/front-end";

#[test]
fn dns_names_and_addresses_mean_nothing() {
    let forge = Forge::new();
    let address = SanType::IpAddress(std::net::IpAddr::from([10, 42, 0, 5]));
    let judged = forge.judge(&[dns("front-end.shop"), uri(ID), address], |_| {});
    assert_eq!(judged, Ok(ID.parse().unwrap()));
}

#[test]
fn exactly_one_uri_of_exactly_our_form_is_an_identity() {
    let forge = Forge::new();
    let reasons = [
        (vec![dns("front-end")], "no URI"),
        (vec![], "no subject alternative name"),
        (vec![uri(ID), uri(ID)], "more than one URI"),
        (vec![uri(ID), uri("https://example.org/")], "more than one URI"),
        (vec![uri("https://cluster.local/ns/shop/sa/front-end")], "scheme"),
        (vec![uri("spiffe://cluster.local/ns/shop/sa/front-end/x")], "path"),
        (vec![uri("spiffe://cluster.local/shop/front-end")], "path"),
        (vec![uri("spiffe://Cluster.local/ns/shop/sa/front-end")], "trust domain"),
        (vec![uri("spiffe://cluster.local/ns/Shop/sa/front-end")], "namespace"),
    ];
    for (names, reason) in reasons {
        match forge.judge(&names, |_| {}) {
            Err(PeerError::MalformedIdentity(text)) => assert!(text.contains(reason), "{names:?}: {text}"),
            other => panic!("{names:?}: {other:?}"),
        }
    }
    let foreign = forge.judge(&[uri("spiffe://cluster.local.evil/ns/shop/sa/front-end")], |_| {});
    assert!(matches!(foreign, Err(PeerError::ForeignTrustDomain { .. })), "{foreign:?}");
}

#[test]
fn a_certificate_for_another_use_is_no_leaf() {
    let forge = Forge::new();
    type Change = fn(&mut CertificateParams);
    let changes: [(&str, Change); 4] = [
        ("an authority", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("may sign certificates", |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ("may sign revocations", |params| params.key_usages.push(KeyUsagePurpose::CrlSign)),
        ("serves only", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
    ];
    for (what, change) in changes {
        let judged = forge.judge(&[uri(ID)], change);
        assert!(matches!(judged, Err(PeerError::MalformedCertificate(_))), "{what}: {judged:?}");
    }
}

#[test]
fn a_leaf_needs_its_own_key_and_a_chain() {
    let authority = Authority::create(DOMAIN).unwrap();
    let id: SpiffeId = ID.parse().unwrap();
    let key = PrivateKey::generate().unwrap();
    let chain = authority.issue(&key.csr(None).unwrap(), &id, std::time::Duration::from_secs(60)).unwrap();
    let other = PrivateKey::generate().unwrap();
    assert!(
        matches!(Leaf::new(chain.clone(), other), Err(Error::Certificate(reason)) if reason.contains("not for our key"))
    );
    assert!(matches!(Leaf::new(vec![], key.clone()), Err(Error::Certificate(reason)) if reason.contains("empty")));
    let issuer = chain[1].clone();
    assert!(Leaf::new(vec![issuer], key.clone()).is_err());
    let leaf = Leaf::new(chain, key.clone()).unwrap();
    assert_eq!(leaf.id(), &id);
    assert_eq!(leaf.serial().len(), 32);
    assert_eq!(format!("{key:?}"), "PrivateKey(…)");
}

#[test]
fn a_bundle_is_never_empty_and_is_the_same_in_any_order() {
    assert!(TrustBundle::new(DOMAIN, vec![]).is_err());
    assert!(TrustBundle::new("Not A Domain", vec![]).is_err());
    assert!(TrustBundle::from_pem(DOMAIN, b"").is_err());
    assert!(TrustBundle::from_pem(DOMAIN, b"-----BEGIN CERTIFICATE-----\nAAAA\n").is_err());
    let roots: Vec<_> =
        (0..2).flat_map(|_| Authority::create(DOMAIN).unwrap().bundle().unwrap().roots().to_vec()).collect();
    let one = TrustBundle::new(DOMAIN, roots.clone()).unwrap();
    let other = TrustBundle::new(DOMAIN, roots.iter().rev().chain(&roots).cloned().collect()).unwrap();
    assert_eq!((&one, one.version()), (&other, other.version()));
    let read = TrustBundle::from_pem(DOMAIN, one.to_pem().as_bytes()).unwrap();
    assert_eq!(read, one);
    let smaller = TrustBundle::new(DOMAIN, roots[..1].to_vec()).unwrap();
    assert_ne!(smaller.version(), one.version());
    assert_ne!(TrustBundle::new("other.local", roots).unwrap().version(), one.version());
}

fn some_certificate() -> CertificateDer<'static> {
    let authority = Authority::create(DOMAIN).unwrap();
    authority.issue_leaf(&ID.parse().unwrap(), std::time::Duration::from_secs(60)).unwrap().chain()[0].clone()
}

proptest! {
    #[test]
    fn random_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(peer_id(&bytes.into()).is_err());
    }

    #[test]
    fn a_certificate_with_changed_bytes_never_panics_and_never_verifies(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        thread_local!(static FORGE: (Forge, CertificateDer<'static>) = (Forge::new(), some_certificate()));
        FORGE.with(|(forge, certificate)| {
            let mut bytes = certificate.to_vec();
            for (index, byte) in &changes {
                let index = index.index(bytes.len());
                bytes[index] = *byte;
            }
            let _ = peer_id(&bytes.clone().into());
            // Not of the forge's roots in any case; it must be said without panic.
            assert!(forge.credentials.check_client(Some(&[bytes.into()]), SystemTime::now()).is_err());
        });
    }

    #[test]
    fn a_cut_certificate_is_refused(cut in 0usize..300) {
        thread_local!(static CERTIFICATE: CertificateDer<'static> = some_certificate());
        CERTIFICATE.with(|certificate| {
            let short = certificate[..certificate.len().saturating_sub(cut + 1)].to_vec();
            assert!(peer_id(&short.into()).is_err());
        });
    }
}
