//! ReferenceGrant of the Gateway API: what routes of other namespaces may refer to in the grant's own.

use serde::{Deserialize, Serialize};

use super::{Metadata, absent};

/// A ReferenceGrant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrant {
    /// Namespace and name.
    pub metadata: Metadata,
    /// Who may refer to what.
    pub spec: ReferenceGrantSpec,
}

/// Any of `from` may refer to any of `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantSpec {
    /// Who.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<ReferenceGrantFrom>,
    /// To what.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<ReferenceGrantTo>,
}

/// Objects of that kind in that namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantFrom {
    /// As `gateway.networking.k8s.io`.
    pub group: String,
    /// As `HTTPRoute`.
    pub kind: String,
    /// Another namespace than the grant's.
    pub namespace: String,
}

/// Objects of that kind in the grant's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantTo {
    /// Empty: the core group.
    pub group: String,
    /// As `Service`.
    pub kind: String,
    /// Absent or empty: all of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
