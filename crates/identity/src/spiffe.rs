//! SPIFFE identities as this mesh uses them. Parsed strictly and once, at the edge; everyone else holds a [`SpiffeId`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`, byte for byte. Cheap to clone.
#[derive(Clone)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the three names end; each begins at a fixed distance after the previous one.
    trust_domain_end: u16,
    namespace_end: u16,
}

/// Why a text is no SPIFFE ID of this mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// The namespace is not a DNS label (RFC 1123).
    #[error("the namespace is not a lower-case DNS label of at most 63 characters")]
    Namespace,
    /// The path is not `/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
    #[error("the path is not /ns/NAMESPACE/sa/SERVICE-ACCOUNT")]
    Path,
    /// The scheme is not `spiffe://`.
    #[error("the scheme is not spiffe://")]
    Scheme,
    /// The service account is not a DNS subdomain (RFC 1123).
    #[error("the service account is not a lower-case DNS name of at most 253 characters")]
    ServiceAccount,
    /// The trust domain is empty, too long, or has characters that SPIFFE does not allow.
    #[error("the trust domain is not 1 to 255 characters of a-z, 0-9, '.', '-' and '_'")]
    TrustDomain,
}

const SCHEME: &str = "spiffe://";
const NAMESPACE: &str = "/ns/";
const SERVICE_ACCOUNT: &str = "/sa/";

impl SpiffeId {
    /// From its three names, each checked.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<SpiffeId, InvalidSpiffeId> {
        check_trust_domain(trust_domain)?;
        if !is_dns_label(namespace) {
            return Err(InvalidSpiffeId::Namespace);
        }
        if !is_dns_subdomain(service_account) {
            return Err(InvalidSpiffeId::ServiceAccount);
        }
        let trust_domain_end = SCHEME.len() + trust_domain.len();
        let namespace_end = trust_domain_end + NAMESPACE.len() + namespace.len();
        Ok(SpiffeId {
            text: format!("{SCHEME}{trust_domain}{NAMESPACE}{namespace}{SERVICE_ACCOUNT}{service_account}").into(),
            trust_domain_end: trust_domain_end as u16,
            namespace_end: namespace_end as u16,
        })
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..usize::from(self.trust_domain_end)]
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.text[usize::from(self.trust_domain_end) + NAMESPACE.len()..usize::from(self.namespace_end)]
    }

    /// The Kubernetes service account.
    pub fn service_account(&self) -> &str {
        &self.text[usize::from(self.namespace_end) + SERVICE_ACCOUNT.len()..]
    }

    /// The whole URI, shared.
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<SpiffeId, InvalidSpiffeId> {
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId::Scheme)?;
        let slash = rest.find('/').ok_or(InvalidSpiffeId::Path)?;
        let (trust_domain, path) = rest.split_at(slash);
        check_trust_domain(trust_domain)?;
        let names = path.strip_prefix(NAMESPACE).ok_or(InvalidSpiffeId::Path)?;
        let mut segments = names.split('/');
        let (Some(namespace), Some("sa"), Some(service_account), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(InvalidSpiffeId::Path);
        };
        SpiffeId::new(trust_domain, namespace, service_account)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl PartialEq for SpiffeId {
    fn eq(&self, other: &SpiffeId) -> bool {
        self.text == other.text
    }
}

impl Eq for SpiffeId {}

impl Hash for SpiffeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for SpiffeId {
    fn partial_cmp(&self, other: &SpiffeId) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SpiffeId {
    fn cmp(&self, other: &SpiffeId) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

/// SPIFFE-ID standard 2.1: at most 255 bytes of lower-case letters, digits, dots, dashes and underscores.
pub(crate) fn check_trust_domain(name: &str) -> Result<(), InvalidSpiffeId> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 255 || !name.bytes().all(allowed) {
        return Err(InvalidSpiffeId::TrustDomain);
    }
    Ok(())
}

/// RFC 1123 label, which Kubernetes demands of namespaces.
fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_label(name)
}

/// RFC 1123 subdomain, which Kubernetes demands of service accounts; it limits the whole, not each label.
fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<SpiffeId, InvalidSpiffeId> {
        text.parse()
    }

    #[test]
    fn a_parsed_id_gives_back_its_parts_and_its_text() {
        let id = parse("spiffe://cluster.local/ns/sock-shop/sa/front.end-1").expect("valid");
        assert_eq!(id.trust_domain(), "cluster.local");
        assert_eq!(id.namespace(), "sock-shop");
        assert_eq!(id.service_account(), "front.end-1");
        assert_eq!(id.to_string(), "spiffe://cluster.local/ns/sock-shop/sa/front.end-1");
        assert_eq!(id, SpiffeId::new("cluster.local", "sock-shop", "front.end-1").expect("valid"));
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        use InvalidSpiffeId::*;
        let long = "a".repeat(64);
        let cases = [
            ("", Scheme),
            ("https://cluster.local/ns/a/sa/b", Scheme),
            ("SPIFFE://cluster.local/ns/a/sa/b", Scheme),
            ("spiffe:/cluster.local/ns/a/sa/b", Scheme),
            ("spiffe://cluster.local", Path),
            ("spiffe://cluster.local/", Path),
            ("spiffe://cluster.local/ns/a", Path),
            ("spiffe://cluster.local/ns/a/sa", Path),
            ("spiffe://cluster.local/ns/a/sa/b/", Path),
            ("spiffe://cluster.local/ns/a/sa/b/c", Path),
            ("spiffe://cluster.local//ns/a/sa/b", Path),
            ("spiffe://cluster.local/ns/a/SA/b", Path),
            ("spiffe://cluster.local/xx/a/sa/b", Path),
            ("spiffe:///ns/a/sa/b", TrustDomain),
            ("spiffe://Cluster.local/ns/a/sa/b", TrustDomain),
            ("spiffe://cluster.local:443/ns/a/sa/b", TrustDomain),
            ("spiffe://user@cluster.local/ns/a/sa/b", TrustDomain),
            ("spiffe://cluster%2elocal/ns/a/sa/b", TrustDomain),
            ("spiffe://cluster.local/ns//sa/b", Namespace),
            ("spiffe://cluster.local/ns/A/sa/b", Namespace),
            ("spiffe://cluster.local/ns/a.b/sa/b", Namespace),
            ("spiffe://cluster.local/ns/-a/sa/b", Namespace),
            ("spiffe://cluster.local/ns/../sa/b", Namespace),
            ("spiffe://cluster.local/ns/a/sa/", ServiceAccount),
            ("spiffe://cluster.local/ns/a/sa/b?x=1", ServiceAccount),
            ("spiffe://cluster.local/ns/a/sa/b#x", ServiceAccount),
            ("spiffe://cluster.local/ns/a/sa/%62", ServiceAccount),
            ("spiffe://cluster.local/ns/a/sa/b..c", ServiceAccount),
            ("spiffe://cluster.local/ns/a/sa/b ", ServiceAccount),
            ("spiffe://cluster.local/ns/a/sa/b\0", ServiceAccount),
            ("spiffe://cluster.local/ns/a/sa/b\u{e9}", ServiceAccount),
        ];
        for (text, reason) in cases {
            assert_eq!(parse(text), Err(reason), "{text}");
        }
        assert_eq!(parse(&format!("spiffe://cluster.local/ns/{long}/sa/b")), Err(Namespace));
        let long = "a".repeat(256);
        assert_eq!(parse(&format!("spiffe://{long}/ns/a/sa/b")), Err(TrustDomain));
        assert_eq!(parse(&format!("spiffe://cluster.local/ns/a/sa/{long}")), Err(ServiceAccount));
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,300}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_near_an_id_parses_to_itself_or_not_at_all(
            text in "spiffe://[a-z0-9._A-]{0,5}/(ns|sa)/[a-z0-9.-]{0,4}/(sa|ns)/[a-z0-9./-]{0,6}"
        ) {
            if let Ok(id) = parse(&text) {
                prop_assert_eq!(id.as_str(), &text);
                let again = SpiffeId::new(id.trust_domain(), id.namespace(), id.service_account());
                prop_assert_eq!(again, Ok(id));
            }
        }
    }
}
