//! Of a Namespace: the defaults that it gives.

use minimesh_api::model::DefaultPolicy;

use crate::annotations::{self, Ports};
use crate::resource::Namespace;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NamespaceEntry {
    pub(crate) opaque: Option<Ports>,
    pub(crate) policy: Option<DefaultPolicy>,
}

impl NamespaceEntry {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let annotations = &namespace.metadata.annotations;
        Self {
            opaque: annotations::opaque_ports(annotations, &|_| None),
            policy: annotations::default_policy(annotations),
        }
    }
}
