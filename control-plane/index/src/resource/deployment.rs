//! Deployment: what the demo's kubelet makes pods from. The index itself has no use for it: who owns a pod stands in the pod.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Metadata, PodSpec, absent};

/// A Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Namespace and name.
    pub metadata: Metadata,
    /// How many of what.
    pub spec: DeploymentSpec,
}

/// How many pods of which template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSpec {
    /// Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Which pods are its own.
    pub selector: LabelSelector,
    /// What a pod looks like.
    pub template: PodTemplate,
}

/// Labels that must all be there. `matchExpressions` are not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Label and value.
    #[serde(default, deserialize_with = "absent::string_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// What a pod looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    #[serde(default, deserialize_with = "absent::or_default")]
    pub metadata: TemplateMetadata,
    /// What runs in them.
    pub spec: PodSpec,
}

/// Labels and annotations of pods that have no name yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(default, deserialize_with = "absent::string_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, deserialize_with = "absent::string_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}
