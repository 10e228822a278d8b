//! Names of namespaced objects, and relations between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::resource::Metadata;

/// Namespace and name of an object whose kind is clear from where the name stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// Which objects are found under a key: a secondary index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relation<K, V = Name> {
    map: BTreeMap<K, BTreeSet<V>>,
}

impl Name {
    /// From borrowed parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self::new(&metadata.namespace, &metadata.name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl<K, V> Default for Relation<K, V> {
    fn default() -> Self {
        Self { map: BTreeMap::new() }
    }
}

impl<K: Ord, V: Ord + Clone> Relation<K, V> {
    pub(crate) fn add(&mut self, key: K, name: &V) {
        self.map.entry(key).or_default().insert(name.clone());
    }

    /// Leaves no empty set behind: two indexes of equal content must be equal.
    pub(crate) fn remove(&mut self, key: &K, name: &V) {
        if let Some(names) = self.map.get_mut(key) {
            names.remove(name);
            if names.is_empty() {
                self.map.remove(key);
            }
        }
    }

    /// In order of names.
    pub(crate) fn of<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a V> + use<'a, K, V> {
        self.map.get(key).into_iter().flatten()
    }
}
