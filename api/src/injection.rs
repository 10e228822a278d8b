//! Which pods are to have a sidecar, by label. The webhook configuration's selectors say the same, so that the API server asks for no
//! other pod; this is what `minimesh inject` and `check` go by, the injector's second look at what is asked, and how the control plane
//! tells who was missed.

use std::collections::BTreeMap;
use std::fmt;

/// The label of namespaces and pods.
pub const LABEL: &str = "minimesh.io/inject";

/// What a label says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inject {
    /// `enabled`.
    Enabled,
    /// `disabled`.
    Disabled,
    /// There is no label, or another value.
    #[default]
    Unsaid,
}

/// Why a pod gets no sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWanted {
    /// The namespace says `disabled`, which no pod can overrule.
    NamespaceDisabled,
    /// Nobody said anything.
    NotAsked,
    /// The namespace is the mesh's own, whose parts must start without it.
    OwnNamespace,
    /// The pod says `disabled`.
    PodDisabled,
    /// The namespace is Kubernetes' own, and the pod itself does not ask.
    System,
}

impl Inject {
    /// What these labels say.
    pub fn of(labels: &BTreeMap<String, String>) -> Inject {
        match labels.get(LABEL).map(String::as_str) {
            Some("enabled") => Inject::Enabled,
            Some("disabled") => Inject::Disabled,
            _ => Inject::Unsaid,
        }
    }
}

/// Whether a pod is to have a sidecar.
pub fn wanted(namespace: &str, mesh_namespace: &str, of_namespace: Inject, of_pod: Inject) -> Result<(), NotWanted> {
    if namespace == mesh_namespace {
        return Err(NotWanted::OwnNamespace);
    }
    match (of_namespace, of_pod) {
        (Inject::Disabled, _) => Err(NotWanted::NamespaceDisabled),
        (_, Inject::Disabled) => Err(NotWanted::PodDisabled),
        // even there, one workload can be meshed by its own word: K3s's Traefik is
        (Inject::Enabled, _) if namespace == SYSTEM => Err(NotWanted::System),
        (Inject::Enabled, _) | (Inject::Unsaid, Inject::Enabled) => Ok(()),
        (Inject::Unsaid, Inject::Unsaid) => Err(NotWanted::NotAsked),
    }
}

impl fmt::Display for NotWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotWanted::NamespaceDisabled => write!(f, "its namespace has the label {LABEL}=disabled"),
            NotWanted::NotAsked => write!(f, "neither its namespace nor the pod has the label {LABEL}=enabled"),
            NotWanted::OwnNamespace => write!(f, "its namespace is the mesh's own"),
            NotWanted::PodDisabled => write!(f, "the pod has the label {LABEL}=disabled"),
            NotWanted::System => {
                write!(f, "{SYSTEM} is meshed by labels of single pods alone, in a namespace without the label")
            }
        }
    }
}

/// A label on all of it could keep a cluster from starting.
const SYSTEM: &str = "kube-system";

#[cfg(test)]
mod tests {
    use Inject::{Disabled, Enabled, Unsaid};

    use super::*;

    #[test]
    fn all_nine_combinations() {
        let expected = [
            (Enabled, Enabled, Ok(())),
            (Enabled, Unsaid, Ok(())),
            (Enabled, Disabled, Err(NotWanted::PodDisabled)),
            (Unsaid, Enabled, Ok(())),
            (Unsaid, Unsaid, Err(NotWanted::NotAsked)),
            (Unsaid, Disabled, Err(NotWanted::PodDisabled)),
            (Disabled, Enabled, Err(NotWanted::NamespaceDisabled)),
            (Disabled, Unsaid, Err(NotWanted::NamespaceDisabled)),
            (Disabled, Disabled, Err(NotWanted::NamespaceDisabled)),
        ];
        for (namespace, pod, result) in expected {
            assert_eq!(wanted("shop", "minimesh", namespace, pod), result, "{namespace:?} {pod:?}");
            assert_eq!(wanted("minimesh", "minimesh", namespace, pod), Err(NotWanted::OwnNamespace));
        }
        assert_eq!(wanted(SYSTEM, "minimesh", Unsaid, Enabled), Ok(()));
        assert_eq!(wanted(SYSTEM, "minimesh", Enabled, Unsaid), Err(NotWanted::System));
    }

    #[test]
    fn other_values_say_nothing() {
        let labels = |value: &str| BTreeMap::from([(LABEL.to_owned(), value.to_owned())]);
        assert_eq!(Inject::of(&labels("enabled")), Enabled);
        assert_eq!(Inject::of(&labels("disabled")), Disabled);
        assert_eq!(Inject::of(&labels("true")), Unsaid);
        assert_eq!(Inject::of(&BTreeMap::new()), Unsaid);
    }
}
