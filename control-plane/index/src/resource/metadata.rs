//! Object metadata.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Timestamp, absent};

/// What every object carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// A DNS-1123 subdomain, so that it can stand in a SPIFFE ID and in a label.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Empty for cluster-scoped kinds, and until the reader of a manifest fills in the default.
    #[serde(default, deserialize_with = "optional_name", skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Set by the API server, or by the demo's kubelet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Labels.
    #[serde(default, deserialize_with = "absent::string_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, deserialize_with = "absent::string_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Counts changes of what is wanted; set by the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Age decides between objects that claim the same thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// Set: the object is marked for deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Owners.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
}

/// Names the owner of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// As `apps/v1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// As `ReplicaSet`.
    pub kind: String,
    /// Name in the object's own namespace.
    pub name: String,
    /// UID of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The owner that manages the object; at most one.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub controller: bool,
}

impl Metadata {
    /// Metadata of an object of that namespace (empty: cluster-scoped) and name, and nothing else.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { name: name.into(), namespace: namespace.into(), ..Self::default() }
    }

    /// The owner that manages the object: the controller, or the first owner where none says that it is.
    pub fn managing_owner(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller).or_else(|| self.owner_references.first())
    }
}

/// A DNS-1123 subdomain: what Kubernetes takes as the name of these kinds.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name_fault(&name) {
        None => Ok(name),
        Some(fault) => Err(de::Error::custom(format_args!("invalid name {name:?}: {fault}"))),
    }
}

/// Empty or null: absent.
pub(super) fn optional_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    match name_fault(&name) {
        Some(fault) if !name.is_empty() => Err(de::Error::custom(format_args!("invalid name {name:?}: {fault}"))),
        _ => Ok(name),
    }
}

fn name_fault(name: &str) -> Option<&'static str> {
    let label = |label: &str| {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric)
            && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
    };
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > 253 {
        Some("it is longer than 253 characters")
    } else if !name.split('.').all(label) {
        Some("lower-case letters, digits, '-' and '.' are allowed, beginning and ending with a letter or digit")
    } else {
        None
    }
}
