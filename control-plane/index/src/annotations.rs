//! What annotations say of ports, routes and tokens; names and aliases stand in the table of `minimesh_api::annotations`. Those of
//! inbound policy are in `policy`.
//!
//! A value that cannot be read has a safe meaning (a port is not skipped) and is a [`Fault`], for whoever can show it to
//! people.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use minimesh_api::annotations::{self, Annotation, OPAQUE_PORTS, RULE_ORDER, SKIP_INBOUND_PORTS, TOKEN_SHA256};
use minimesh_api::model::RuleOrder;

use crate::recording;
use crate::resource::{Container, GrpcRoute, HttpRoute, Object, ParentRef, Pod, Service};

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

    pub(crate) fn all() -> Ports {
        Ports(vec![1..=u16::MAX])
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// Everything in an object that has no meaning: annotations that cannot be read, fields without effect.
pub fn faults(object: &Object) -> Vec<Fault> {
    let annotations = &object.metadata().annotations;
    let mut faults = Vec::new();
    let mut ports = |annotation: Annotation, port_by_name: &dyn Fn(&str) -> Option<u16>| {
        if let Some((name, value)) = annotation.find(annotations) {
            let (_, unreadable) = parse_ports(value, port_by_name);
            faults.extend(unreadable.into_iter().map(|entry| Fault {
                field: field(name),
                reason: format!("{entry:?} is no port, range of ports or name of a port here; it is left out"),
            }));
        }
    };
    match object {
        Object::Deployment(deployment) => {
            let template = recording::faults(&deployment.spec.template.metadata.annotations);
            return template.map(|fault| Fault { field: format!("spec.template.{}", fault.field), ..fault }).collect();
        }
        Object::Namespace(_) => {
            ports(OPAQUE_PORTS, &|_| None);
            faults.extend(recording::faults(annotations));
        }
        Object::Service(service) => ports(OPAQUE_PORTS, &|name| service_port(service, name)),
        Object::Pod(pod) => {
            ports(OPAQUE_PORTS, &|name| container_port(pod, name));
            ports(SKIP_INBOUND_PORTS, &|name| container_port(pod, name));
        }
        Object::GrpcRoute(GrpcRoute { spec, unread, .. }) => {
            return route_faults(annotations, &spec.parent_refs, &spec.hostnames, unread);
        }
        Object::HttpRoute(HttpRoute { spec, unread, .. }) => {
            return route_faults(annotations, &spec.parent_refs, &spec.hostnames, unread);
        }
        _ => return faults,
    }
    if let Object::Pod(_) = object
        && let Some((name, value)) = TOKEN_SHA256.find(annotations)
        && parse_sha256(value).is_none()
    {
        let reason = "is not 64 hexadecimal digits; the pod cannot be given a certificate".to_owned();
        faults.push(Fault { field: field(name), reason });
    }
    faults
}

fn route_faults(
    annotations: &BTreeMap<String, String>,
    parents: &[ParentRef],
    hostnames: &[String],
    unread: &[String],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some((name, value)) = RULE_ORDER.find(annotations)
        && !RULE_ORDER.form.accepts(value)
    {
        let reason = format!("{value:?} is no order of rules; written and specificity are, and the latter is in force");
        faults.push(Fault { field: field(name), reason });
    }
    if !hostnames.is_empty() && parents.iter().any(ParentRef::is_service) {
        let reason =
            "has no effect on a Service parent: requests are routed by the address that was dialled".to_owned();
        faults.push(Fault { field: "spec.hostnames".to_owned(), reason });
    }
    faults.extend(unread.iter().map(|field| unread_fault(field)));
    faults
}

/// Of a field that nobody reads: in a match or a filter it may have said anything, and the rule cannot be obeyed without it.
pub(crate) fn unread_fault(field: &str) -> Fault {
    let parts: Vec<&str> = field.split('.').filter_map(|part| part.split('[').next()).collect();
    let reason = match parts[..] {
        ["spec", "rules", "matches" | "filters", ..] | ["spec", "rules", "backendRefs", "filters", ..] => {
            "is not known to this version; the rule answers 500"
        }
        _ => "is not known to this version and has no effect",
    };
    Fault { field: field.to_owned(), reason: reason.to_owned() }
}

/// How the rules of a route compete; Gateway API's precedence unless the route says otherwise.
pub(crate) fn rule_order(annotations: &BTreeMap<String, String>) -> RuleOrder {
    match RULE_ORDER.find(annotations) {
        Some((_, "written")) => RuleOrder::Written,
        _ => RuleOrder::Specificity,
    }
}

/// `None`: nothing is said, and someone else may say it. An empty value says "none".
pub(crate) fn opaque_ports(
    annotations: &BTreeMap<String, String>,
    port_by_name: &dyn Fn(&str) -> Option<u16>,
) -> Option<Ports> {
    OPAQUE_PORTS.find(annotations).map(|(_, value)| parse_ports(value, port_by_name).0)
}

/// A pod's own word alone: what its interception does was settled when the pod was made.
pub(crate) fn skipped_ports(pod: &Pod) -> Ports {
    let found = SKIP_INBOUND_PORTS.find(&pod.metadata.annotations);
    found.map(|(_, value)| parse_ports(value, &|name| container_port(pod, name)).0).unwrap_or_default()
}

pub(crate) fn token_sha256(annotations: &BTreeMap<String, String>) -> Option<[u8; 32]> {
    TOKEN_SHA256.find(annotations).and_then(|(_, value)| parse_sha256(value))
}

pub(crate) fn container_port(pod: &Pod, name: &str) -> Option<u16> {
    port_named(pod.containers(), name)
}

pub(crate) fn port_named<'a>(containers: impl Iterator<Item = &'a Container>, name: &str) -> Option<u16> {
    let mut ports = containers.flat_map(|container| &container.ports);
    ports.find(|port| port.name == name).map(|port| port.container_port)
}

pub(crate) fn service_port(service: &Service, name: &str) -> Option<u16> {
    service.spec.ports.iter().find(|port| port.name == name).map(|port| port.port)
}

pub(crate) fn field(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

/// The set, and the entries that mean nothing.
pub(crate) fn parse_ports<'a>(value: &'a str, port_by_name: &dyn Fn(&str) -> Option<u16>) -> (Ports, Vec<&'a str>) {
    let mut ports = Ports::default();
    let mut unreadable = Vec::new();
    for entry in annotations::entries(value) {
        match annotations::port_range(entry).or_else(|| port_by_name(entry).map(|port| port..=port)) {
            Some(range) => ports.0.push(range),
            None => unreadable.push(entry),
        }
    }
    (ports, unreadable)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_ranges_and_names() {
        let (ports, unreadable) =
            parse_ports(" 3306, 6000-6002 ,db,,0,9-8,99999", &|name| (name == "db").then_some(5432));
        let inside: Vec<u16> = (1..=u16::MAX).filter(|&port| ports.contains(port)).collect();
        assert_eq!((inside, unreadable), (vec![3306, 5432, 6000, 6001, 6002], vec!["0", "9-8", "99999"]));
    }

    #[test]
    fn token_hash_is_64_hexadecimal_digits() {
        assert_eq!(parse_sha256(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(parse_sha256(&"0f".repeat(31)), None);
        assert_eq!(parse_sha256(&"0g".repeat(32)), None);
    }
}
