//! Inbound policies as annotations give them: a default, values of single ports, ports that ask for an identity.
//!
//! | annotation (of a Namespace or a Pod) | value |
//! |---|---|
//! | `default-inbound-policy` | one of the six words |
//! | `minimesh.io/port-inbound-policies` | `8080=deny, 9000-9010=all-authenticated, metrics=audit` |
//! | `proxy-require-identity-inbound-ports` | `8080, 9000-9010, metrics` |
//!
//! The first and the last also under Linkerd's prefix. What cannot be read is refused with its object by a source that can do
//! so (`refusals`), and denies where it is in force all the same.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use minimesh_api::annotations::{DEFAULT_INBOUND_POLICY, PORT_INBOUND_POLICIES, PROXY_REQUIRE_IDENTITY_INBOUND_PORTS};
use minimesh_api::annotations::{entries, port_range};
use minimesh_api::model::DefaultPolicy;

use crate::annotations::{Fault, Ports, parse_ports, port_named};
use crate::resource::Object;

/// What one object says about who may connect to which port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policies {
    default: Option<DefaultPolicy>,
    ports: Vec<(RangeInclusive<u16>, DefaultPolicy)>,
    identified: Option<Ports>,
}

/// An object that must not come into force, because it would let in somebody else than its author meant.
pub fn refusals(object: &Object) -> Vec<Fault> {
    match object {
        Object::Deployment(deployment) => {
            let template = &deployment.spec.template;
            let names = |name: &str| port_named(template.spec.containers(), name);
            read(&template.metadata.annotations, &names, "spec.template.metadata.annotations").1
        }
        Object::Namespace(namespace) => read(&namespace.metadata.annotations, &|_| None, METADATA).1,
        Object::Pod(pod) => read(&pod.metadata.annotations, &|name| port_named(pod.containers(), name), METADATA).1,
        _ => Vec::new(),
    }
}

impl Policies {
    pub(crate) fn of(annotations: &BTreeMap<String, String>, port_by_name: &dyn Fn(&str) -> Option<u16>) -> Policies {
        read(annotations, port_by_name, METADATA).0
    }
}

/// The policy of a port: what the pod says, else what its namespace says, else the cluster's.
pub(crate) fn of_port(
    port: u16,
    pod: &Policies,
    namespace: Option<&Policies>,
    cluster: DefaultPolicy,
) -> DefaultPolicy {
    let said = [Some(pod), namespace].into_iter().flatten();
    let policy = said.clone().find_map(|policies| policies.of_port(port)).unwrap_or(cluster);
    let identified = said.clone().find_map(|policies| policies.identified.as_ref());
    match policy {
        _ if !identified.is_some_and(|ports| ports.contains(port)) => policy,
        DefaultPolicy::AllUnauthenticated => DefaultPolicy::AllAuthenticated,
        DefaultPolicy::ClusterUnauthenticated => DefaultPolicy::ClusterAuthenticated,
        stricter => stricter,
    }
}

impl Policies {
    fn of_port(&self, port: u16) -> Option<DefaultPolicy> {
        let own = self.ports.iter().find(|(ports, _)| ports.contains(&port));
        own.map(|(_, policy)| *policy).or(self.default)
    }
}

fn read(
    annotations: &BTreeMap<String, String>,
    port_by_name: &dyn Fn(&str) -> Option<u16>,
    path: &str,
) -> (Policies, Vec<Fault>) {
    let mut policies = Policies::default();
    let mut faults = Vec::new();
    let mut refuse = |name: &str, reason| faults.push(Fault { field: format!("{path}[{name}]"), reason });
    if let Some((name, value)) = DEFAULT_INBOUND_POLICY.find(annotations) {
        policies.default = Some(policy(value).unwrap_or_else(|reason| {
            refuse(name, reason);
            DefaultPolicy::Deny
        }));
    }
    if let Some((name, value)) = PORT_INBOUND_POLICIES.find(annotations) {
        policies.ports = ports(value, port_by_name).unwrap_or_else(|reason| {
            refuse(name, reason);
            vec![(1..=u16::MAX, DefaultPolicy::Deny)]
        });
    }
    if let Some((name, value)) = PROXY_REQUIRE_IDENTITY_INBOUND_PORTS.find(annotations) {
        let (ports, unreadable) = parse_ports(value, port_by_name);
        policies.identified = Some(ports);
        if let Some(entry) = unreadable.first() {
            refuse(name, format!("{entry:?} is no port, range of ports or name of a port here"));
            policies.identified = Some(Ports::all());
        }
    }
    (policies, faults)
}

/// `PORTS=POLICY, …`; no port twice.
fn ports(
    value: &str,
    port_by_name: &dyn Fn(&str) -> Option<u16>,
) -> Result<Vec<(RangeInclusive<u16>, DefaultPolicy)>, String> {
    let mut found: Vec<(RangeInclusive<u16>, DefaultPolicy)> = Vec::new();
    for entry in entries(value) {
        let (ports, word) = entry.split_once('=').ok_or_else(|| format!("{entry:?} is not PORT=POLICY"))?;
        let ports = ports.trim();
        let range = port_range(ports)
            .or_else(|| port_by_name(ports).map(|port| port..=port))
            .ok_or_else(|| format!("{ports:?} is no port, range of ports or name of a port here"))?;
        let again =
            |(known, _): &&(RangeInclusive<u16>, _)| known.start() <= range.end() && range.start() <= known.end();
        if let Some((known, _)) = found.iter().find(again) {
            return Err(format!("port {} is given twice", known.start().max(range.start())));
        }
        found.push((range, policy(word.trim())?));
    }
    Ok(found)
}

/// The policy that a word names, as annotations and the control plane's flag write it.
pub fn policy(word: &str) -> Result<DefaultPolicy, String> {
    let known = WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, policy)| policy);
    known.ok_or_else(|| format!("{word:?} is no policy; policies are {}", WORDS.map(|(word, _)| word).join(", ")))
}

const METADATA: &str = "metadata.annotations";

const WORDS: [(&str, DefaultPolicy); 6] = [
    ("all-authenticated", DefaultPolicy::AllAuthenticated),
    ("all-unauthenticated", DefaultPolicy::AllUnauthenticated),
    ("audit", DefaultPolicy::Audit),
    ("cluster-authenticated", DefaultPolicy::ClusterAuthenticated),
    ("cluster-unauthenticated", DefaultPolicy::ClusterUnauthenticated),
    ("deny", DefaultPolicy::Deny),
];

#[cfg(test)]
mod tests {
    use DefaultPolicy::*;

    use super::*;

    const PORTS: &str = PORT_INBOUND_POLICIES.name;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn policies(pairs: &[(&str, &str)]) -> Policies {
        Policies::of(&annotations(pairs), &|name| (name == "metrics").then_some(9090))
    }

    fn reasons(name: &str, value: &str) -> Vec<String> {
        let faults = read(&annotations(&[(name, value)]), &|_| None, METADATA).1;
        faults.into_iter().map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn the_pods_word_for_a_port_wins_then_its_default_then_the_namespaces() {
        let namespace = policies(&[("minimesh.io/default-inbound-policy", "deny"), (PORTS, "80=audit")]);
        let pod = policies(&[(PORTS, "8080=all-authenticated, 9000-9010 = cluster-unauthenticated,metrics=deny,")]);
        let of = |port, pod| of_port(port, pod, Some(&namespace), AllUnauthenticated);
        assert_eq!(
            [8080, 9000, 9010, 9090].map(|port| of(port, &pod)),
            [AllAuthenticated, ClusterUnauthenticated, ClusterUnauthenticated, Deny]
        );
        assert_eq!([80, 9011].map(|port| of(port, &pod)), [Audit, Deny], "the namespace's");
        let pod = policies(&[("config.linkerd.io/default-inbound-policy", "cluster-authenticated")]);
        assert_eq!(of(80, &pod), ClusterAuthenticated, "a pod's default over its namespace's word for a port");
        assert_eq!(of_port(80, &Policies::default(), None, Audit), Audit, "the cluster's");
    }

    #[test]
    fn our_own_annotation_wins_over_the_alias() {
        let both =
            [("config.linkerd.io/default-inbound-policy", "deny"), ("minimesh.io/default-inbound-policy", "audit")];
        assert_eq!(of_port(80, &policies(&both), None, AllUnauthenticated), Audit);
    }

    #[test]
    fn a_port_that_requires_identity_is_as_strict_as_it_was_or_stricter() {
        let name = "config.linkerd.io/proxy-require-identity-inbound-ports";
        let of = |default| {
            let pod = policies(&[(name, "80, metrics"), ("minimesh.io/default-inbound-policy", default)]);
            [80, 81, 9090].map(|port| of_port(port, &pod, None, AllUnauthenticated))
        };
        assert_eq!(of("all-unauthenticated"), [AllAuthenticated, AllUnauthenticated, AllAuthenticated]);
        assert_eq!(of("cluster-unauthenticated")[0], ClusterAuthenticated);
        assert_eq!(of("deny")[0], Deny);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_field_and_denies() {
        let default = "config.linkerd.io/default-inbound-policy";
        for (name, value, says) in [
            (default, "al", "\"al\" is no policy; policies are all-authenticated, "),
            (PORTS, "80", "\"80\" is not PORT=POLICY"),
            (PORTS, "web=deny", "\"web\" is no port"),
            (PORTS, "80=Deny", "\"Deny\" is no policy"),
            (PORTS, "80-90=deny,85=audit", "port 85 is given twice"),
            ("minimesh.io/proxy-require-identity-inbound-ports", "0", "\"0\" is no port"),
        ] {
            let found = reasons(name, value);
            assert!(
                found.len() == 1 && found[0].starts_with(&format!("metadata.annotations[{name}]: {says}")),
                "{found:?}"
            );
            let strict = of_port(443, &policies(&[(name, value)]), None, AllUnauthenticated);
            assert_eq!(strict, if name.ends_with("ports") { AllAuthenticated } else { Deny }, "{name}: {value}");
        }
        assert_eq!(reasons(PORTS, "80=deny, 81-90=audit"), Vec::<String>::new());
    }
}
