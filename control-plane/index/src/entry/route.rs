//! Of an HTTPRoute: its parents, and its rules in the model's terms, judged as far as that goes without looking at Services.

use std::sync::Arc;

use minimesh_api::model::{self, BackendKey, BackendRef, ObjectRef, RuleOrder};
use minimesh_route::RouteTable;

use super::rules::{self, Reader};
use crate::name::Name;
use crate::resource::{HttpRoute, HttpRouteRule, ParentRef, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouteEntry {
    pub(crate) created: Option<Timestamp>,
    /// Of kind Service, in the order written.
    pub(crate) parents: Vec<Parent>,
    /// Backends that may exist stand as Services; whether they do is a join.
    pub(crate) route: model::HttpRoute,
    pub(crate) acceptance: Acceptance,
    /// Rules that answer 500 because of something that is not supported.
    pub(crate) partially_invalid: Vec<String>,
    /// Backend references that no Service could resolve.
    pub(crate) reference_faults: Vec<RefFault>,
}

/// A parentRef of kind Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parent {
    pub(crate) service: Name,
    pub(crate) written: ParentRef,
}

/// Whether the route's own text is in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Acceptance {
    /// It is.
    Valid,
    /// No rule is supported: attached all the same, so that requests are refused and do not slip past a filter.
    Unsupported(String),
    /// It is not, and the route is not attached.
    Invalid(String),
}

/// A backend reference that came to nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RefFault {
    /// As `spec.rules[0].backendRefs[1]`.
    pub(crate) field: String,
    /// Gateway API's reason.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl RouteEntry {
    pub(crate) fn new(source: &HttpRoute) -> Self {
        let metadata = &source.metadata;
        let object = ObjectRef {
            group: "gateway.networking.k8s.io".into(),
            kind: "HTTPRoute".into(),
            namespace: metadata.namespace.as_str().into(),
            name: metadata.name.as_str().into(),
        };
        let parents = parents(source);
        let mut reader = Reader::new(&object.namespace, &parents);
        let everything = [HttpRouteRule::default()];
        let rules = source.spec.rules.as_deref().unwrap_or(&everything);
        let read =
            rules.iter().enumerate().map(|(index, rule)| reader.rule(index, rule)).collect::<Result<Vec<_>, _>>();
        let (rules, read) = match read {
            Ok(rules) => (rules, Ok(())),
            Err(fault) => (Vec::new(), Err(fault)),
        };
        let (unsupported, reference_faults) = reader.finish();
        let route = model::HttpRoute { object, order: RuleOrder::Specificity, rules };
        let acceptance = acceptance(&route, read, &unsupported);
        Self {
            created: metadata.creation_timestamp,
            parents,
            route,
            acceptance,
            partially_invalid: unsupported,
            reference_faults,
        }
    }

    pub(crate) fn name(&self) -> Name {
        Name { namespace: self.route.object.namespace.clone(), name: self.route.object.name.clone() }
    }

    pub(crate) fn is_attached(&self) -> bool {
        !matches!(self.acceptance, Acceptance::Invalid(_))
    }

    /// Service ports that its rules name, with their fields.
    pub(crate) fn backends(&self) -> impl Iterator<Item = (String, &BackendKey)> {
        self.route.rules.iter().enumerate().flat_map(|(rule, one)| {
            one.backends.iter().enumerate().filter_map(move |(index, weighted)| match &weighted.backend {
                BackendRef::Service(key) => Some((rules::backend_field(rule, index), key)),
                BackendRef::Unresolved { .. } => None,
            })
        })
    }

    /// Services that its rules name, with repetition.
    pub(crate) fn backend_services(&self) -> impl Iterator<Item = Name> {
        self.backends().map(|(_, key)| Name { namespace: key.namespace.clone(), name: key.name.clone() })
    }

    /// Oldest first, then by name; an object without a time is younger than any with one.
    pub(crate) fn precedence(&self) -> (bool, Option<Timestamp>, &Arc<str>, &Arc<str>) {
        (self.created.is_none(), self.created, &self.route.object.namespace, &self.route.object.name)
    }
}

fn parents(source: &HttpRoute) -> Vec<Parent> {
    let services = source.spec.parent_refs.iter().filter(|parent| parent.is_service());
    let parent = |written: &ParentRef| Parent {
        service: Name::new(written.namespace.as_deref().unwrap_or(&source.metadata.namespace), &written.name),
        written: written.clone(),
    };
    services.map(parent).collect()
}

fn acceptance(route: &model::HttpRoute, read: Result<(), String>, unsupported: &[String]) -> Acceptance {
    if let Err(fault) = read {
        return Acceptance::Invalid(fault);
    }
    if let Err(fault) = RouteTable::compile(std::slice::from_ref(route)) {
        return Acceptance::Invalid(format!("{}: {}", rules::manifest_field(&fault.field), fault.reason));
    }
    match !route.rules.is_empty() && route.rules.iter().all(rules::is_unsupported) {
        true => Acceptance::Unsupported(unsupported.join("; ")),
        false => Acceptance::Valid,
    }
}
