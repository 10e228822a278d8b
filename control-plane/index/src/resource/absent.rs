//! Absence in Kubernetes YAML: a field that is `null` is a field that is not there.
//!
//! Used by the field attributes of every resource type. It must never turn a wrong type into a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `null` or the value.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A map of strings; an entry without a value is the empty string, as the API server reads it.
pub(super) fn string_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map = Option::<BTreeMap<String, Option<String>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(map.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

/// Whether a field is left out when written.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
