//! Of a Namespace: the defaults that it gives.

use crate::annotations::{self, Ports};
use crate::policy::Policies;
use crate::resource::Namespace;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NamespaceEntry {
    pub(crate) opaque: Option<Ports>,
    pub(crate) policies: Policies,
    /// Its pods are meshed when they are made.
    pub(crate) injected: bool,
}

impl NamespaceEntry {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let annotations = &namespace.metadata.annotations;
        Self {
            opaque: annotations::opaque_ports(annotations, &|_| None),
            policies: Policies::of(annotations, &|_| None),
            injected: namespace.metadata.labels.get(INJECT).is_some_and(|word| word == "enabled"),
        }
    }
}

/// Label by which namespaces and pods are meshed.
const INJECT: &str = "minimesh.io/inject";
