//! Conditions of routes, in Gateway API's words: for logs, and in a cluster written back.

use std::sync::Arc;

use crate::entry::{Acceptance, Parent, RefFault, RouteEntry};
use crate::index::Index;
use crate::link::selects;
use crate::resource::{ObjectKey, ParentRef};

/// Status of one route: an entry per parent that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// The route.
    pub route: ObjectKey,
    /// Which object of that name was judged: generations begin anew with each; `None`: nobody tells them apart.
    pub uid: Option<Arc<str>>,
    /// Which of its generations was judged; `None`: nobody counts them.
    pub generation: Option<i64>,
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
    /// Whether it is so.
    pub status: Truth,
    /// One CamelCase word of the Gateway API.
    pub reason: &'static str,
    /// For people: which field, and why.
    pub message: String,
}

/// Whether a condition is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is not.
    False,
    /// It is.
    True,
    /// Nobody can tell.
    Unknown,
}

impl Truth {
    /// As conditions write it.
    pub fn word(self) -> &'static str {
        match self {
            Truth::False => "False",
            Truth::True => "True",
            Truth::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Truth {
        if truth { Truth::True } else { Truth::False }
    }
}

impl Index {
    /// Conditions of every route with a Service parent, in the order of their keys.
    pub fn route_statuses(&self) -> Vec<RouteStatus> {
        let routes = self.routes.values().filter(|route| !route.parents.is_empty());
        routes.map(|route| self.route_status(route)).collect()
    }

    fn route_status(&self, route: &RouteEntry) -> RouteStatus {
        let resolved = self.resolved_refs(route);
        let partial = (!route.partially_invalid.is_empty())
            .then(|| condition("PartiallyInvalid", true, "UnsupportedValue", route.partially_invalid.join("; ")));
        let parent = |parent: &Parent| {
            let mut conditions = vec![self.accepted(route, parent), resolved.clone()];
            conditions.extend(partial.clone());
            ParentStatus { parent: parent.written.clone(), conditions }
        };
        RouteStatus {
            route: route.key.clone(),
            uid: route.uid.clone(),
            generation: route.generation,
            parents: route.parents.iter().map(parent).collect(),
        }
    }

    fn accepted(&self, route: &RouteEntry, parent: &Parent) -> Condition {
        let refused = |reason, message: String| condition("Accepted", false, reason, message);
        let no_parent = |message: String| refused("NoMatchingParent", message);
        let name = &parent.service;
        let Some(service) = self.services.get(name) else {
            return no_parent(format!("Service {name} does not exist"));
        };
        if service.headless || service.external_name {
            return no_parent(format!("Service {name} has no address of its own to which a route could apply"));
        }
        let ports = service.ports.iter().filter(|port| selects(parent, port));
        let first = |port| self.candidates(&route.key.namespace, name, service, port).first().map(|first| &first.key);
        let ports: Vec<_> = ports.map(first).collect();
        if ports.is_empty() {
            return no_parent(format!("Service {name} has no TCP port that fits port and sectionName"));
        }
        match &route.acceptance {
            Acceptance::Valid => match rival(&route.key, &ports) {
                None => condition("Accepted", true, "Accepted", String::new()),
                Some(rival) => {
                    let message = "is older or comes first, and the two kinds of route do not stand together";
                    refused("UnsupportedValue", format!("{rival} {message}"))
                }
            },
            Acceptance::Unsupported(message) | Acceptance::Invalid(message) => {
                refused("UnsupportedValue", message.clone())
            }
        }
    }

    /// The reason is that of the first reference that failed; the message names all.
    fn resolved_refs(&self, route: &RouteEntry) -> Condition {
        let missing = route.backends().filter_map(|(field, key)| {
            let (reason, message) = self.backend_fault(route, key)?;
            Some(RefFault { field, reason, message })
        });
        let mut faults: Vec<RefFault> = route.reference_faults.iter().cloned().chain(missing).collect();
        faults.sort_by(|a, b| a.field.cmp(&b.field));
        match faults.first() {
            None => condition("ResolvedRefs", true, "ResolvedRefs", String::new()),
            Some(first) => {
                let messages: Vec<_> =
                    faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
                condition("ResolvedRefs", false, first.reason, messages.join("; "))
            }
        }
    }
}

/// The route of the other kind that keeps this one from being in force, if it is in force nowhere. `first`: at each of its ports
/// the route that comes first.
fn rival<'a>(own: &ObjectKey, first: &[Option<&'a ObjectKey>]) -> Option<&'a ObjectKey> {
    let rivals: Vec<_> = first.iter().flatten().filter(|first| first.kind != own.kind).collect();
    rivals.first().filter(|_| rivals.len() == first.len()).map(|rival| **rival)
}

fn condition(condition_type: &'static str, status: bool, reason: &'static str, message: String) -> Condition {
    Condition { condition_type, status: status.into(), reason, message }
}
