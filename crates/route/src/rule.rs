//! A compiled rule and its backends.

use std::sync::Arc;

use minimesh_api::model::{BackendRef, ObjectRef, Retry, Session, Timeouts};

use crate::backends::Weights;
use crate::filters::Filters;

/// A rule of an attached route.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The route it stands in.
    pub object: ObjectRef,
    /// Which rule of that route.
    pub index: usize,
    /// Gateway API's rule name; may be empty.
    pub name: Arc<str>,
    /// Deadlines; a zero as written has become `None` (Gateway API GEP-1742).
    pub timeouts: Timeouts,
    /// What is sent again beside what was provably not delivered.
    pub retry: Option<Retry>,
    /// Whether requests of one client session go to one endpoint.
    pub session: Option<Session>,
    /// The rule's own, for what is decided before a backend is picked: redirects and preflights. Everything else stands in
    /// the backends' too.
    pub filters: Filters,
    pub(crate) backends: Vec<Backend>,
    pub(crate) weights: Weights,
    /// Why the rule cannot be followed; see mesh.proto.
    pub(crate) unsupported: Option<Unsupported>,
}

/// A share of a rule's requests.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where to. [`BackendRef::Unresolved`]: this share is answered 500.
    pub reference: BackendRef,
    /// The rule's filters and then this backend's, reduced to their net effect: nothing else is to be applied.
    pub filters: Filters,
    /// Of the 1 to 1 000 000 that Gateway API allows; 0 is never picked.
    pub weight: u32,
    /// Dense index into [`crate::RouteTable::backends`], for state that is kept per backend.
    pub index: usize,
}

/// What of a rule this version does not understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsupported {
    /// The rule matches, and its requests are answered 500.
    Filter,
    /// The rule matches nothing.
    Match,
}

impl Rule {
    /// The backend that `random`, uniform over all of `u64`, falls on. `None`: there is none, or all have weight 0, and the
    /// request is answered 500.
    pub fn pick_backend(&self, random: u64) -> Option<&Backend> {
        self.weights.pick(random).map(|index| &self.backends[index])
    }

    /// All backends as written, those of weight 0 included.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }
}
