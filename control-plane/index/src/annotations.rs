//! Annotations that the mesh reads, with Linkerd's names as aliases.
//!
//! A value that cannot be read has a safe meaning (a policy denies, a port is not skipped) and is a [`Fault`], for whoever
//! can show it to people.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use minimesh_api::model::DefaultPolicy;

use crate::resource::{Object, Pod, Service};

/// Something in an object that has no meaning to the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field.
    pub field: String,
    /// What is wrong, and what follows from it.
    pub reason: String,
}

/// A set of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    pub(crate) fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

/// SHA-256 of the pod's bootstrap token, in hex: how folder mode authenticates a pod.
pub(crate) const TOKEN_SHA256: &str = "minimesh.io/token-sha256";

const DEFAULT_INBOUND_POLICY: &str = "default-inbound-policy";
const OPAQUE_PORTS: &str = "opaque-ports";
const SKIP_INBOUND_PORTS: &str = "skip-inbound-ports";

/// Every annotation of an object that cannot be read.
pub fn faults(object: &Object) -> Vec<Fault> {
    let annotations = &object.metadata().annotations;
    let mut faults = Vec::new();
    let mut ports = |annotation: &str, port_by_name: &dyn Fn(&str) -> Option<u16>| {
        if let Some((name, value)) = find(annotations, annotation) {
            let (_, unreadable) = parse_ports(value, port_by_name);
            faults.extend(unreadable.into_iter().map(|entry| Fault {
                field: field(&name),
                reason: format!("{entry:?} is no port, range of ports or name of a port here; it is left out"),
            }));
        }
    };
    match object {
        Object::Namespace(_) => ports(OPAQUE_PORTS, &|_| None),
        Object::Service(service) => ports(OPAQUE_PORTS, &|name| service_port(service, name)),
        Object::Pod(pod) => {
            ports(OPAQUE_PORTS, &|name| container_port(pod, name));
            ports(SKIP_INBOUND_PORTS, &|name| container_port(pod, name));
        }
        _ => return faults,
    }
    if !matches!(object, Object::Service(_))
        && let Some((name, value)) = find(annotations, DEFAULT_INBOUND_POLICY)
        && parse_policy(value).is_none()
    {
        faults.push(Fault {
            field: field(&name),
            reason: format!(
                "{value:?} is no policy; everything is denied. Policies are {}",
                POLICIES.map(|p| p.0).join(", ")
            ),
        });
    }
    if let Object::Pod(_) = object
        && let Some(value) = annotations.get(TOKEN_SHA256)
        && parse_sha256(value).is_none()
    {
        let reason = "is not 64 hexadecimal digits; the pod cannot be given a certificate".to_owned();
        faults.push(Fault { field: field(TOKEN_SHA256), reason });
    }
    faults
}

/// `None`: nothing is said. What cannot be read denies.
pub(crate) fn default_policy(annotations: &BTreeMap<String, String>) -> Option<DefaultPolicy> {
    let (_, value) = find(annotations, DEFAULT_INBOUND_POLICY)?;
    Some(parse_policy(value).unwrap_or(DefaultPolicy::Deny))
}

/// `None`: nothing is said, and someone else may say it. An empty value says "none".
pub(crate) fn opaque_ports(
    annotations: &BTreeMap<String, String>,
    port_by_name: &dyn Fn(&str) -> Option<u16>,
) -> Option<Ports> {
    find(annotations, OPAQUE_PORTS).map(|(_, value)| parse_ports(value, port_by_name).0)
}

/// A pod's own word alone: what its interception does was settled when the pod was made.
pub(crate) fn skipped_ports(pod: &Pod) -> Ports {
    let found = find(&pod.metadata.annotations, SKIP_INBOUND_PORTS);
    found.map(|(_, value)| parse_ports(value, &|name| container_port(pod, name)).0).unwrap_or_default()
}

pub(crate) fn token_sha256(annotations: &BTreeMap<String, String>) -> Option<[u8; 32]> {
    annotations.get(TOKEN_SHA256).and_then(|value| parse_sha256(value))
}

pub(crate) fn container_port(pod: &Pod, name: &str) -> Option<u16> {
    let ports = pod.containers().flat_map(|container| &container.ports);
    ports.filter(|port| port.name == name).map(|port| port.container_port).next()
}

pub(crate) fn service_port(service: &Service, name: &str) -> Option<u16> {
    service.spec.ports.iter().find(|port| port.name == name).map(|port| port.port)
}

/// Our own name wins over Linkerd's.
fn find<'a>(annotations: &'a BTreeMap<String, String>, name: &str) -> Option<(String, &'a str)> {
    ["minimesh.io/", "config.linkerd.io/"].into_iter().find_map(|prefix| {
        let name = format!("{prefix}{name}");
        let value = annotations.get(&name)?;
        Some((name, value.trim()))
    })
}

fn field(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

fn parse_policy(value: &str) -> Option<DefaultPolicy> {
    POLICIES.into_iter().find(|(word, _)| *word == value).map(|(_, policy)| policy)
}

/// The set, and the entries that mean nothing.
fn parse_ports<'a>(value: &'a str, port_by_name: &dyn Fn(&str) -> Option<u16>) -> (Ports, Vec<&'a str>) {
    let mut ports = Ports::default();
    let mut unreadable = Vec::new();
    for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match parse_range(entry).or_else(|| port_by_name(entry).map(|port| port..=port)) {
            Some(range) => ports.0.push(range),
            None => unreadable.push(entry),
        }
    }
    (ports, unreadable)
}

fn parse_range(entry: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.trim().parse().ok().filter(|&port: &u16| port > 0);
    match entry.split_once('-') {
        Some((first, last)) => Some(port(first)?..=port(last)?).filter(|range| !range.is_empty()),
        None => port(entry).map(|port| port..=port),
    }
}

fn parse_sha256(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.trim().as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| (digit as char).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(hash)
}

const POLICIES: [(&str, DefaultPolicy); 6] = [
    ("all-authenticated", DefaultPolicy::AllAuthenticated),
    ("all-unauthenticated", DefaultPolicy::AllUnauthenticated),
    ("audit", DefaultPolicy::Audit),
    ("cluster-authenticated", DefaultPolicy::ClusterAuthenticated),
    ("cluster-unauthenticated", DefaultPolicy::ClusterUnauthenticated),
    ("deny", DefaultPolicy::Deny),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Metadata, Namespace};

    #[test]
    fn ports_are_numbers_ranges_and_names() {
        let (ports, unreadable) =
            parse_ports(" 3306, 6000-6002 ,db,,0,9-8,99999", &|name| (name == "db").then_some(5432));
        let inside: Vec<u16> = (1..=u16::MAX).filter(|&port| ports.contains(port)).collect();
        assert_eq!((inside, unreadable), (vec![3306, 5432, 6000, 6001, 6002], vec!["0", "9-8", "99999"]));
    }

    #[test]
    fn our_own_annotation_wins_over_the_alias() {
        let annotations = BTreeMap::from([
            ("config.linkerd.io/default-inbound-policy".to_owned(), "deny".to_owned()),
            ("minimesh.io/default-inbound-policy".to_owned(), "audit".to_owned()),
        ]);
        assert_eq!(default_policy(&annotations), Some(DefaultPolicy::Audit));
    }

    #[test]
    fn a_policy_that_cannot_be_read_denies_and_is_a_fault() {
        let annotations = BTreeMap::from([("config.linkerd.io/default-inbound-policy".to_owned(), "al".to_owned())]);
        assert_eq!(default_policy(&annotations), Some(DefaultPolicy::Deny));
        let metadata = Metadata { annotations, ..Metadata::new("", "shop") };
        let fault = &faults(&Object::Namespace(Namespace { metadata }))[0];
        assert_eq!(fault.field, "metadata.annotations[config.linkerd.io/default-inbound-policy]");
    }

    #[test]
    fn token_hash_is_64_hexadecimal_digits() {
        assert_eq!(parse_sha256(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(parse_sha256(&"0f".repeat(31)), None);
        assert_eq!(parse_sha256(&"0g".repeat(32)), None);
    }
}
