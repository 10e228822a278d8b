//! Which answers may differ after an event: what spares discovery from asking every question again.
//!
//! Never too little (a property test compares all lookups before and after); now and then too much.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use minimesh_api::model::ResourceKey;

use crate::name::Name;

/// What an event may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Everything: the index was replaced.
    pub everything: bool,
    /// Targets at these addresses, on every port and for every client.
    pub addresses: BTreeSet<IpAddr>,
    /// Endpoints of every port of these Services.
    pub services: BTreeSet<Name>,
    /// Workload, [`PodInfo`](crate::PodInfo) and inbound policy of these pods, and which pod has their addresses.
    pub pods: BTreeSet<Name>,
    /// Of these pods the inbound policy alone.
    pub ports: BTreeSet<Name>,
    /// Endpoints as clients on these nodes see them.
    pub nodes: BTreeSet<Arc<str>>,
    /// Conditions of routes.
    pub routes: bool,
}

impl Changes {
    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the answer for a subscriber of that pod may differ.
    pub fn affects(&self, resource: &ResourceKey, pod_namespace: &str, pod_name: &str) -> bool {
        let pod = Name::new(pod_namespace, pod_name);
        self.everything
            || match resource {
                ResourceKey::Endpoints(key) => {
                    self.services.contains(&Name { namespace: key.namespace.clone(), name: key.name.clone() })
                }
                ResourceKey::Port(_) => self.pods.contains(&pod) || self.ports.contains(&pod),
                ResourceKey::Target(address) => self.addresses.contains(&address.ip().to_canonical()),
                ResourceKey::Trust => false,
                ResourceKey::Workload => self.pods.contains(&pod),
            }
    }

    /// Adds what another event may have changed.
    pub fn merge(&mut self, other: Changes) {
        self.everything |= other.everything;
        self.addresses.extend(other.addresses);
        self.services.extend(other.services);
        self.pods.extend(other.pods);
        self.ports.extend(other.ports);
        self.nodes.extend(other.nodes);
        self.routes |= other.routes;
    }
}
