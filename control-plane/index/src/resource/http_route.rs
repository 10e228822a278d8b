//! HTTPRoute of the Gateway API, as far as a mesh route goes.
//!
//! Types of matches and filters are text here, not enums: one that this version does not know must end in an answer 500 and a
//! word in the status, not in a route that is missing.

use serde::{Deserialize, Serialize};

use super::{HttpRouteFilter, Metadata, SessionPersistence, absent};

/// An HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRoute {
    /// Namespace, name, age.
    pub metadata: Metadata,
    /// Parents and rules.
    pub spec: HttpRouteSpec,
    /// Fields that were written and that nobody here reads, as `spec.rules[0].matches[0].tls`. Whoever reads the text notes them.
    #[serde(skip)]
    pub unread: Vec<String>,
}

/// Parents and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// What the route is attached to.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentRef>,
    /// Mean nothing on a Service, which is found by its address.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Absent: one rule that matches everything, without backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<HttpRouteRule>>,
}

/// What a route is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Absent: `gateway.networking.k8s.io`; empty: the core group.
    pub group: Option<String>,
    /// Absent: `Gateway`.
    pub kind: Option<String>,
    /// Absent: the route's.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Of a Service: the name of a port.
    pub section_name: Option<String>,
    /// Absent: all ports.
    pub port: Option<u16>,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// May be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Any of them; empty: every request.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<HttpRouteMatch>,
    /// In order.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
    /// Weighted.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<HttpRouteBackend>,
    /// Deadlines.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "absent::is_default")]
    pub timeouts: HttpRouteTimeouts,
    /// What is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<HttpRouteRetry>,
    /// Requests of one client session go to one endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

/// When a request is sent again (GEP-1731).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRouteRetry {
    /// Statuses.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<u16>,
    /// After the first; absent: 1; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Least time between attempts, as a GEP-2257 duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<String>,
}

/// One alternative of a rule: all that is there must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    /// Absent: the prefix `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
    /// All of them.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpValueMatch>,
    /// All of them.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<HttpValueMatch>,
    /// Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// How the path must look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpPathMatch {
    /// `Exact`, `PathPrefix` (absent), `RegularExpression`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub match_type: Option<String>,
    /// Absent: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How a header or query parameter must look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpValueMatch {
    /// `Exact` (absent), `RegularExpression`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub match_type: Option<String>,
    /// Of the header or parameter.
    pub name: String,
    /// Text or expression.
    pub value: String,
}

/// A backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteBackend {
    /// Absent or empty: the core group.
    pub group: Option<String>,
    /// Absent: `Service`.
    pub kind: Option<String>,
    /// Absent: the route's.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Required for a Service.
    pub port: Option<u16>,
    /// Absent: 1.
    pub weight: Option<i64>,
    /// For this backend's share only.
    #[serde(default, deserialize_with = "absent::or_default", skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
}

/// Deadlines, as GEP-2257 durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// From the request's head to the response's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// One attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<String>,
}

impl ParentRef {
    /// A Service is meant.
    pub fn is_service(&self) -> bool {
        self.group.as_deref().is_some_and(|group| group.is_empty() || group == "core")
            && self.kind.as_deref() == Some("Service")
    }
}
