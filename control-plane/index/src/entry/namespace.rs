//! Of a Namespace: the defaults that it gives.

use minimesh_api::injection::Inject;

use crate::annotations::{self, Ports};
use crate::policy::Policies;
use crate::resource::Namespace;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NamespaceEntry {
    pub(crate) opaque: Option<Ports>,
    pub(crate) policies: Policies,
    /// Whether its pods are meshed when they are made.
    pub(crate) inject: Inject,
}

impl NamespaceEntry {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let annotations = &namespace.metadata.annotations;
        Self {
            opaque: annotations::opaque_ports(annotations, &|_| None),
            policies: Policies::of(annotations, &|_| None),
            inject: Inject::of(&namespace.metadata.labels),
        }
    }
}
