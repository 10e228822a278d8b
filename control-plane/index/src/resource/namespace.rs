//! Namespace: defaults for what lives in it, as annotations.

use serde::{Deserialize, Serialize};

use super::Metadata;

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name, labels, annotations.
    pub metadata: Metadata,
}
