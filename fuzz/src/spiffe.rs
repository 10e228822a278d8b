//! Identities: a text is one if and only if its parts are names, and no certificate that differs from what the authority
//! signed proves another identity than that one.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use minimesh_identity::authority::Authority;
use minimesh_identity::{CertificateDer, Credentials, Error, SpiffeId, TicketKeys, peer_id};

/// By its first byte, an input is a text, a certificate, or changes to a genuine one.
pub(crate) fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, certificate)) => foreign(certificate),
        Some((1, changes)) => changed(changes),
        Some((_, text)) => {
            if let Ok(text) = std::str::from_utf8(text) {
                id(text);
            }
        }
        None => {}
    }
}

fn id(text: &str) {
    let parsed: Result<SpiffeId, _> = text.parse();
    let parts: Vec<&str> = text.split('/').collect();
    let names = match parts[..] {
        ["spiffe:", "", domain, "ns", namespace, "sa", account] => Some((domain, namespace, account)),
        _ => None,
    };
    let expected = names.filter(|(domain, namespace, account)| {
        let domain_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        (1..=255).contains(&domain.len())
            && domain.bytes().all(domain_byte)
            && namespace.len() <= 63
            && label(namespace)
            && account.len() <= 253
            && account.split('.').all(label)
    });
    assert_eq!(parsed.is_ok(), expected.is_some(), "{text:?}: {parsed:?}");
    if let (Ok(id), Some(names)) = (parsed, expected) {
        assert_eq!((id.trust_domain(), id.namespace(), id.service_account()), names);
        assert_eq!(id.as_str(), text);
    }
}

/// RFC 1123, but for its length: of a service account's name Kubernetes limits the whole.
fn label(text: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(byte) && !text.starts_with('-') && !text.ends_with('-')
}

fn foreign(certificate: &[u8]) {
    let certificate = CertificateDer::from(certificate);
    let _ = peer_id(&certificate);
    let refused = GENUINE.credentials.check_client(Some(&[certificate]), SystemTime::now());
    assert!(refused.is_err(), "nobody else has the authority's key");
}

/// Pairs of bytes: how far ahead of the last change, and what is added there.
fn changed(changes: &[u8]) {
    let genuine = &*GENUINE;
    let mut chain: Vec<Vec<u8>> = genuine.chain.iter().map(|certificate| certificate.to_vec()).collect();
    let length: usize = chain.iter().map(Vec::len).sum();
    let mut at = 0;
    for change in changes.chunks_exact(2) {
        at = (at + 4 * usize::from(change[0])) % length;
        let mut place = at;
        for certificate in &mut chain {
            match certificate.get_mut(place) {
                Some(byte) => {
                    *byte = byte.wrapping_add(change[1]);
                    break;
                }
                None => place -= certificate.len(),
            }
        }
    }
    let chain: Vec<CertificateDer<'_>> = chain.into_iter().map(CertificateDer::from).collect();
    match genuine.credentials.check_client(Some(&chain), SystemTime::now()) {
        Ok(id) => assert_eq!(id, genuine.id),
        Err(error) => assert!(chain != genuine.chain, "genuine: {error}"),
    }
}

struct Genuine {
    id: SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    /// Of another pod: those that judge.
    credentials: Credentials,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| genuine().expect("an authority of the same process"));

fn genuine() -> Result<Genuine, Error> {
    let authority = Authority::create("cluster.local")?;
    let name = |account| SpiffeId::new("cluster.local", "shop", account).map_err(|e| Error::Certificate(e.to_string()));
    let life = Duration::from_secs(86_400);
    let id = name("carts")?;
    let leaf = authority.issue_leaf(&id, life)?;
    let own = authority.issue_leaf(&name("front-end")?, life)?;
    let credentials = Credentials::new(own, authority.bundle()?, &TicketKeys::new()?, 1)?;
    Ok(Genuine { id, chain: leaf.chain().to_vec(), credentials })
}
