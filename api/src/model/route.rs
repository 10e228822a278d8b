//! Routes as the Gateway API says them, validated but not compiled; `minimesh-route` compiles them into a table.

use std::sync::Arc;
use std::time::Duration;

use super::BackendKey;

/// One HTTPRoute attached to a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute {
    /// The Kubernetes object, for metrics and explanations.
    pub object: ObjectRef,
    /// How rules compete.
    pub order: RuleOrder,
    /// In the order written.
    pub rules: Vec<HttpRule>,
}

/// Names a Kubernetes object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// API group; empty for the core group.
    pub group: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// How rules compete when several match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleOrder {
    /// Gateway API precedence.
    Specificity,
    /// The first rule that matches.
    Written,
}

/// A rule: matches, filters, backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    /// Gateway API's rule name; may be empty.
    pub name: Arc<str>,
    /// Any of them matches the rule; never empty. A match that this version does not understand is
    /// [`HttpMatch::Unsupported`].
    pub matches: Vec<HttpMatch>,
    /// In order. A filter that this version does not understand is [`Filter::Unsupported`].
    pub filters: Vec<Filter>,
    /// Weighted; empty: 500.
    pub backends: Vec<WeightedBackend>,
    /// Deadlines.
    pub timeouts: Timeouts,
}

/// Gateway API HTTPRouteTimeouts. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's head to the response's end.
    pub request: Option<Duration>,
    /// One attempt.
    pub backend_request: Option<Duration>,
}

/// One alternative of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpMatch {
    /// All parts must match.
    All {
        /// On the path without the query.
        path: PathMatch,
        /// All of them.
        headers: Vec<HeaderMatch>,
        /// All of them.
        query: Vec<QueryMatch>,
        /// Case-sensitive; `None`: any.
        method: Option<Arc<str>>,
    },
    /// Not understood: the whole rule matches nothing, and a request that no other rule takes is answered 500
    /// `unsupported_by_proxy`.
    Unsupported,
}

/// How a path is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(Arc<str>),
    /// By path element.
    Prefix(Arc<str>),
    /// RE2 syntax, anchored at both ends.
    Regex(Arc<str>),
}

/// How a value is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    /// Byte for byte.
    Exact(Arc<str>),
    /// RE2 syntax, anchored at both ends.
    Regex(Arc<str>),
}

/// A header that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: Arc<str>,
    /// Compared with the value; several headers of one name are joined by a comma (RFC 9110 section 5.3).
    pub value: StringMatch,
}

/// A query parameter that must be there; the first of a name counts (Gateway API HTTPQueryParamMatch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// Exact, after percent-decoding.
    pub name: Arc<str>,
    /// Compared after percent-decoding.
    pub value: StringMatch,
}

/// What a rule does to requests and responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Gateway API RequestHeaderModifier.
    RequestHeaders(HeaderModifier),
    /// Gateway API ResponseHeaderModifier.
    ResponseHeaders(HeaderModifier),
    /// Not understood: the rule answers 500 `unsupported_by_proxy`.
    Unsupported,
}

/// Gateway API HTTPHeaderFilter: set, then add, then remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderModifier {
    /// Replaces all headers of that name.
    pub set: Vec<Header>,
    /// Appends.
    pub add: Vec<Header>,
    /// Lower-case names.
    pub remove: Vec<Arc<str>>,
}

/// A header line to write. The name is a valid token in the case in which it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// RFC 9110 token.
    pub name: Arc<str>,
    /// No CR, LF or NUL.
    pub value: Arc<[u8]>,
}

/// A backend with its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedBackend {
    /// 0 to 1 000 000.
    pub weight: u32,
    /// Where to.
    pub backend: BackendRef,
    /// Applied only to this backend's share, after the rule's.
    pub filters: Vec<Filter>,
}

/// What a backend reference came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendRef {
    /// A Service port.
    Service(BackendKey),
    /// Could not be resolved: its share is answered 500.
    Unresolved {
        /// For people.
        reason: Arc<str>,
    },
}
