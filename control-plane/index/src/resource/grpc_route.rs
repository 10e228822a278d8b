//! GRPCRoute of the Gateway API, as far as a mesh route goes. See `http_route` for why types are text.

use serde::{Deserialize, Serialize};

use super::{HttpRouteBackend, HttpRouteFilter, HttpValueMatch, Metadata, ParentRef, SessionPersistence, absent};

/// A GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcRoute {
    /// Namespace, name, age.
    pub metadata: Metadata,
    /// Parents and rules.
    pub spec: GrpcRouteSpec,
    /// Fields that were written and that nobody here reads, as `spec.rules[0].matches[0].tls`. Whoever reads the text notes them.
    #[serde(skip)]
    pub unread: Vec<String>,
}

/// Parents and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteSpec {
    /// What the route is attached to.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentRef>,
    /// Mean nothing on a Service.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// In the order written.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<GrpcRouteRule>,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteRule {
    /// May be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Any of them; empty: every request.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<GrpcRouteMatch>,
    /// In order.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
    /// Weighted.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<HttpRouteBackend>,
    /// Requests of one client session go to one endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

/// One alternative of a rule: all that is there must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcRouteMatch {
    /// Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<GrpcMethodMatch>,
    /// All of them.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpValueMatch>,
}

/// How service and method must look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcMethodMatch {
    /// `Exact` (absent), `RegularExpression`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub match_type: Option<String>,
    /// Absent or empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Absent or empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}
