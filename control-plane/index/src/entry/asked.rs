//! Of a label `minimesh.io/inject`, of a namespace or a pod: what it asks for. The injector decides by the same table
//! (`injector/src/wanted.rs`); here it tells who was missed.

use std::collections::BTreeMap;

/// What a label says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `disabled`.
    Disabled,
    /// `enabled`.
    Enabled,
    /// Nothing, or another word.
    #[default]
    Unsaid,
}

impl Asked {
    pub(crate) fn of(labels: &BTreeMap<String, String>) -> Asked {
        match labels.get(LABEL).map(String::as_str) {
            Some("disabled") => Asked::Disabled,
            Some("enabled") => Asked::Enabled,
            _ => Asked::Unsaid,
        }
    }

    /// Whether a pod whose label this is was to be meshed; `around`: its namespace's label.
    pub(crate) fn is_for(self, around: Asked, namespace: &str) -> bool {
        match (around, self) {
            (Asked::Disabled, _) | (_, Asked::Disabled) | (Asked::Unsaid, Asked::Unsaid) => false,
            (Asked::Enabled, _) => namespace != SYSTEM,
            (Asked::Unsaid, Asked::Enabled) => true,
        }
    }
}

/// Of namespaces and pods.
const LABEL: &str = "minimesh.io/inject";
/// Meshed by labels of single pods alone.
const SYSTEM: &str = "kube-system";
