//! The authority: what it signs, what it refuses to sign, and that its file is never lost.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use minimesh_identity::authority::{Authority, FILE};
use minimesh_identity::{Error, Leaf, PrivateKey, SpiffeId, TrustBundle};

const DOMAIN: &str = "cluster.local";
const DAY: Duration = Duration::from_secs(86_400);

fn id() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/carts".parse().unwrap()
}

/// A folder of this test's own, gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("authority-{name}"));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_leaf_begins_ten_minutes_early_and_ends_when_asked() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let authority = Authority::create_at(DOMAIN, now).unwrap();
    let key = PrivateKey::generate().unwrap();
    let leaf = Leaf::new(authority.issue_at(&key.csr(None).unwrap(), &id(), DAY, now).unwrap(), key).unwrap();
    assert_eq!(leaf.id(), &id());
    assert_eq!((leaf.not_before(), leaf.not_after()), (now - Duration::from_secs(600), now + DAY));
    assert_eq!(leaf.chain().len(), 2, "leaf and issuer, no root");
}

#[test]
fn a_leaf_ends_no_later_than_its_issuer() {
    let authority = Authority::create(DOMAIN).unwrap();
    let leaf = authority.issue_leaf(&id(), 100 * 365 * DAY).unwrap();
    assert_eq!(leaf.not_after(), authority.issuer_not_after());
    let key = PrivateKey::generate().unwrap();
    let late = authority.issue_at(&key.csr(None).unwrap(), &id(), DAY, authority.issuer_not_after() + DAY);
    assert!(matches!(late, Err(Error::Csr(reason)) if reason.contains("expired")));
}

#[test]
fn serial_numbers_differ() {
    let authority = Authority::create(DOMAIN).unwrap();
    let serial = || authority.issue_leaf(&id(), DAY).unwrap().serial().to_owned();
    assert_ne!(serial(), serial());
}

#[test]
fn a_request_may_ask_for_its_own_name_and_no_other() {
    let authority = Authority::create(DOMAIN).unwrap();
    let key = PrivateKey::generate().unwrap();
    assert!(authority.issue(&key.csr(Some(&id())).unwrap(), &id(), DAY).is_ok());
    let other = SpiffeId::new(DOMAIN, "shop", "user").unwrap();
    let refused = authority.issue(&key.csr(Some(&other)).unwrap(), &id(), DAY);
    assert!(matches!(refused, Err(Error::Csr(reason)) if reason.contains("another name")));
    let foreign = SpiffeId::new("other.local", "shop", "carts").unwrap();
    assert!(authority.issue(&key.csr(None).unwrap(), &foreign, DAY).is_err());
}

#[test]
fn what_else_a_request_asks_for_is_ignored() {
    let authority = Authority::create(DOMAIN).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = params.serialize_request(&key).unwrap();
    let chain = authority.issue(csr.der(), &id(), DAY).unwrap();
    // `Leaf` refuses authorities and leaves that may sign; here only the key is another's.
    let refused = Leaf::new(chain, PrivateKey::generate().unwrap());
    assert!(matches!(refused, Err(Error::Certificate(reason)) if reason.contains("not for our key")));
}

#[test]
fn a_request_that_is_tampered_with_or_uses_another_kind_of_key_is_refused() {
    let authority = Authority::create(DOMAIN).unwrap();
    let csr = PrivateKey::generate().unwrap().csr(None).unwrap();
    for index in [0, csr.len() / 2, csr.len() - 1] {
        let mut csr = csr.clone();
        csr[index] ^= 1;
        assert!(matches!(authority.issue(&csr, &id(), DAY), Err(Error::Csr(_))), "byte {index}");
    }
    assert!(matches!(authority.issue(b"", &id(), DAY), Err(Error::Csr(_))));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let refused = authority.issue(csr.der(), &id(), DAY);
    assert!(matches!(refused, Err(Error::Csr(reason)) if reason.contains("P-256")));
}

#[test]
fn a_saved_authority_is_loaded_again_and_readable_by_its_owner_alone() {
    let folder = Folder::new("saved");
    let made = Authority::load_or_create(&folder.0, DOMAIN).unwrap();
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let loaded = Authority::load_or_create(&folder.0, DOMAIN).unwrap();
    assert_eq!(loaded.bundle().unwrap(), made.bundle().unwrap());
    let issuer = |authority: &Authority| authority.issue_leaf(&id(), DAY).unwrap().chain()[1].clone();
    assert_eq!(issuer(&loaded), issuer(&made), "a young issuer stays");
}

#[test]
fn the_public_roots_can_be_read_by_all_and_hold_no_key() {
    let folder = Folder::new("public");
    let authority = Authority::load_or_create(&folder.0, DOMAIN).unwrap();
    let path = folder.0.join("trust-bundle.pem");
    authority.save_bundle(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("PRIVATE"));
    assert_eq!(TrustBundle::from_pem(DOMAIN, text.as_bytes()).unwrap(), authority.bundle().unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn an_aged_issuer_is_replaced_below_the_same_root() {
    let folder = Folder::new("aged");
    let old = Authority::create_at(DOMAIN, SystemTime::now() - 300 * DAY).unwrap();
    old.save(&folder.0).unwrap();
    let renewed = Authority::load_or_create(&folder.0, DOMAIN).unwrap();
    assert_eq!(renewed.bundle().unwrap(), old.bundle().unwrap());
    assert!(renewed.issuer_not_after() > old.issuer_not_after());
    let again = Authority::load(&folder.0, DOMAIN).unwrap();
    assert_eq!(again.issuer_not_after(), renewed.issuer_not_after(), "and saved");
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_never_overwritten() {
    let folder = Folder::new("broken");
    Authority::load_or_create(&folder.0, DOMAIN).unwrap();
    let whole = fs::read_to_string(folder.file()).unwrap();
    let other = Folder::new("broken-other");
    Authority::load_or_create(&other.0, DOMAIN).unwrap();
    let foreign = fs::read_to_string(other.file()).unwrap();
    let half = whole.len() / 2;
    let section = "-----BEGIN ";
    let sections: Vec<String> =
        whole.split_inclusive("-----\n").collect::<Vec<_>>().chunks(2).map(|c| c.concat()).collect();
    let foreign: Vec<String> =
        foreign.split_inclusive("-----\n").collect::<Vec<_>>().chunks(2).map(|c| c.concat()).collect();
    assert_eq!((sections.len(), whole.matches(section).count()), (4, 4));
    let cases = [
        ("empty", String::new(), "root certificate is missing"),
        ("text", "hello".into(), "root certificate is missing"),
        ("half written", whole[..half].into(), "the issuer certificate"),
        ("cut between sections", sections[..2].concat(), "issuer certificate is missing"),
        ("a bit flipped", whole.replacen('A', "B", 1), ""),
        ("not base64", whole.replacen('A', "*", 1), "cannot be read"),
        ("wrong order", [&sections[1][..], &sections[0], &sections[2], &sections[3]].concat(), "another kind"),
        ("another's root", [&foreign[..2], &sections[2..]].concat().concat(), "do not belong together"),
        ("another's key", [&sections[..3], &foreign[3..]].concat().concat(), "another certificate"),
    ];
    for (what, text, reason) in cases {
        fs::write(folder.file(), &text).unwrap();
        match Authority::load_or_create(&folder.0, DOMAIN) {
            Err(error @ Error::Malformed { .. }) => {
                let error = error.to_string();
                assert!(error.contains(reason) && error.contains("authority.pem"), "{what}: {error}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(fs::read_to_string(folder.file()).unwrap(), text, "{what}: untouched");
    }
    fs::write(folder.file(), whole).unwrap();
    Authority::load_or_create(&folder.0, DOMAIN).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_with_its_name() {
    let folder = Folder::new("unwritable");
    fs::create_dir_all(folder.0.parent().unwrap()).unwrap();
    fs::write(&folder.0, "a file where the folder should be").unwrap();
    let error = Authority::create(DOMAIN).unwrap().save(&folder.0).unwrap_err().to_string();
    assert!(error.contains("authority-unwritable"), "{error}");
    fs::remove_file(&folder.0).unwrap();
}
