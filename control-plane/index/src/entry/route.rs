//! Of an HTTPRoute or GRPCRoute: its parents, and its rules in the model's terms, judged as far as that goes without looking at Services.

use std::sync::Arc;

use minimesh_api::model::{self, BackendKey, BackendRef, Filter, HttpRule, ObjectRef};
use minimesh_route::RouteTable;

use super::rules::{self, Reader};
use crate::annotations;
use crate::name::Name;
use crate::resource::{GrpcRoute, HttpRoute, HttpRouteRule, Kind, Metadata, ObjectKey, ParentRef, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouteEntry {
    pub(crate) key: ObjectKey,
    pub(crate) created: Option<Timestamp>,
    /// Of the object that this was read from.
    pub(crate) uid: Option<Arc<str>>,
    /// Of the object that this was read from.
    pub(crate) generation: Option<i64>,
    /// Of kind Service, in the order written.
    pub(crate) parents: Vec<Parent>,
    /// Backends that may exist stand as Services; whether they do, and may be referred to, is a join.
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
    pub(crate) fn http(source: &HttpRoute, session_key: &Arc<[u8]>) -> Self {
        let everything = [HttpRouteRule::default()];
        let rules = source.spec.rules.as_deref().unwrap_or(&everything);
        let (metadata, parents) = (&source.metadata, &source.spec.parent_refs);
        let key = ObjectKey::new(Kind::HttpRoute, &metadata.namespace, &metadata.name);
        Self::new(metadata, parents, Reader::new(&key, session_key, &source.unread), |reader| {
            rules.iter().enumerate().map(|(index, rule)| reader.rule(index, rule)).collect()
        })
    }

    pub(crate) fn grpc(source: &GrpcRoute, session_key: &Arc<[u8]>) -> Self {
        let (metadata, parents) = (&source.metadata, &source.spec.parent_refs);
        let rules = &source.spec.rules;
        let key = ObjectKey::new(Kind::GrpcRoute, &metadata.namespace, &metadata.name);
        Self::new(metadata, parents, Reader::new(&key, session_key, &source.unread), |reader| {
            rules.iter().enumerate().map(|(index, rule)| reader.grpc_rule(index, rule)).collect()
        })
    }

    fn new(
        metadata: &Metadata,
        parent_refs: &[ParentRef],
        mut reader: Reader<'_>,
        read: impl FnOnce(&mut Reader<'_>) -> Result<Vec<HttpRule>, String>,
    ) -> Self {
        let key = reader.route.clone();
        let object = ObjectRef {
            group: "gateway.networking.k8s.io".into(),
            kind: key.kind.name().into(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        };
        let parents = parents(parent_refs, &key.namespace);
        let (rules, read) = match read(&mut reader) {
            Ok(rules) => (rules, Ok(())),
            Err(fault) => (Vec::new(), Err(fault)),
        };
        let (unsupported, reference_faults) = reader.finish();
        let order = annotations::rule_order(&metadata.annotations);
        let route = model::HttpRoute { object, order, rules };
        let acceptance = acceptance(&route, read, &unsupported);
        Self {
            key,
            created: metadata.creation_timestamp,
            uid: metadata.uid.as_deref().map(Arc::from),
            generation: metadata.generation,
            parents,
            route,
            acceptance,
            partially_invalid: unsupported,
            reference_faults,
        }
    }

    pub(crate) fn is_attached(&self) -> bool {
        !matches!(self.acceptance, Acceptance::Invalid(_))
    }

    /// Service ports that its rules name, as backends or mirrors, with their fields.
    pub(crate) fn backends(&self) -> impl Iterator<Item = (String, &BackendKey)> {
        self.route.rules.iter().enumerate().flat_map(|(rule, one)| {
            let own = mirrors(&one.filters, format!("spec.rules[{rule}]"));
            let shares = one.backends.iter().enumerate().flat_map(move |(index, weighted)| {
                let field = rules::backend_field(rule, index);
                let backend = match &weighted.backend {
                    BackendRef::Service(key) => Some((field.clone(), key)),
                    BackendRef::Unresolved { .. } => None,
                };
                backend.into_iter().chain(mirrors(&weighted.filters, field))
            });
            own.chain(shares)
        })
    }

    /// Services that its rules name, with repetition.
    pub(crate) fn backend_services(&self) -> impl Iterator<Item = Name> {
        self.backends().map(|(_, key)| Name { namespace: key.namespace.clone(), name: key.name.clone() })
    }

    /// Oldest first, then by name; an object without a time is younger than any with one.
    pub(crate) fn precedence(&self) -> (bool, Option<Timestamp>, &Arc<str>, &Arc<str>) {
        (self.created.is_none(), self.created, &self.key.namespace, &self.key.name)
    }
}

fn mirrors(filters: &[Filter], field: String) -> impl Iterator<Item = (String, &BackendKey)> {
    filters.iter().enumerate().filter_map(move |(index, filter)| match filter {
        Filter::Mirror(model::Mirror { backend: BackendRef::Service(key), .. }) => {
            Some((format!("{field}.filters[{index}].requestMirror.backendRef"), key))
        }
        _ => None,
    })
}

fn parents(parent_refs: &[ParentRef], namespace: &str) -> Vec<Parent> {
    let parent = |written: &ParentRef| Parent {
        service: Name::new(written.namespace.as_deref().unwrap_or(namespace), &written.name),
        written: written.clone(),
    };
    parent_refs.iter().filter(|parent| parent.is_service()).map(parent).collect()
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
