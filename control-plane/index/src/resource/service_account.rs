//! ServiceAccount: what a workload's identity is named after.

use serde::{Deserialize, Serialize};

use super::Metadata;

/// A ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// Namespace and name.
    pub metadata: Metadata,
}
