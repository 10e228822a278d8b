//! Conditions of routes, in Gateway API's words. For logs now, written back to Kubernetes later.

use crate::resource::{ObjectKey, ParentRef};

/// Status of one route: an entry per parent that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// The route.
    pub route: ObjectKey,
    /// One entry per parentRef of kind Service, in the order written.
    pub parents: Vec<ParentStatus>,
}

/// What became of one parentRef.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentStatus {
    /// As written.
    pub parent: ParentRef,
    /// `Accepted`, `ResolvedRefs`, and `PartiallyInvalid` where it is true.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Accepted`, `ResolvedRefs`, `PartiallyInvalid`.
    pub condition_type: &'static str,
    /// `True` or `False`.
    pub status: bool,
    /// One CamelCase word of the Gateway API.
    pub reason: &'static str,
    /// For people: which field, and why.
    pub message: String,
}
