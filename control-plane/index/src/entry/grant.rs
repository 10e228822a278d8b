//! Of a ReferenceGrant: which routes of other namespaces may send traffic to which Services of its own.

use std::sync::Arc;

use crate::resource::{Kind, ObjectKey, ReferenceGrant, ReferenceGrantFrom, ReferenceGrantTo};

/// Entries that are about something else than routes and Services are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GrantEntry {
    routes: Vec<(Kind, Arc<str>)>,
    /// `None`: every Service.
    services: Vec<Option<Arc<str>>>,
}

impl GrantEntry {
    pub(crate) fn new(grant: &ReferenceGrant) -> Self {
        let route = |from: &ReferenceGrantFrom| {
            let kind = [Kind::GrpcRoute, Kind::HttpRoute].into_iter().find(|kind| kind.name() == from.kind)?;
            (from.group == "gateway.networking.k8s.io").then(|| (kind, from.namespace.as_str().into()))
        };
        let service = |to: &ReferenceGrantTo| {
            let name = to.name.as_deref().filter(|name| !name.is_empty());
            (to.kind == "Service" && matches!(to.group.as_str(), "" | "core")).then(|| name.map(Arc::from))
        };
        Self {
            routes: grant.spec.from.iter().filter_map(route).collect(),
            services: grant.spec.to.iter().filter_map(service).collect(),
        }
    }

    pub(crate) fn permits(&self, route: &ObjectKey, service: &str) -> bool {
        self.routes.iter().any(|(kind, namespace)| *kind == route.kind && *namespace == route.namespace)
            && self.services.iter().any(|name| name.as_deref().is_none_or(|name| name == service))
    }
}
