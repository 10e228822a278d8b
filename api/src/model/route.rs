//! Routes as the Gateway API says them, validated but not compiled; `minimesh-route` compiles them into a table.

use std::sync::Arc;
use std::time::Duration;

use super::BackendKey;

/// One HTTPRoute or GRPCRoute attached to a Service; which, `object.kind` says.
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
    /// What is sent again beside what was provably not delivered; `None`: nothing.
    pub retry: Option<Retry>,
    /// Requests of one client session go to one endpoint.
    pub session: Option<Session>,
}

/// Gateway API HTTPRouteRetry (GEP-1731).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// 400 to 599.
    pub codes: Vec<u16>,
    /// Attempts after the first. 0: nothing is asked again but what was not delivered.
    pub attempts: u32,
    /// Least time between attempts; `None`: the proxy's own.
    pub backoff: Option<Duration>,
}

/// Gateway API SessionPersistence (GEP-1619).
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Of the cookie or header: an RFC 9110 token, which is what a cookie's name must be too (RFC 6265 section 4.1.1).
    pub name: Arc<str>,
    /// Cookie or header.
    pub kind: SessionKind,
    /// Since the session began.
    pub absolute_timeout: Option<Duration>,
    /// Since its last request.
    pub idle_timeout: Option<Duration>,
    /// What sessions are signed with.
    pub key: Arc<[u8]>,
}

/// How a client carries its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// In a cookie.
    Cookie {
        /// Its `Path`.
        path: Arc<str>,
        /// Kept by the client for the absolute time-out, else until its own session ends.
        permanent: bool,
    },
    /// In a header of that name.
    Header,
}

impl std::fmt::Debug for Session {
    /// Without the key: this stands in dumps and logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("absolute_timeout", &self.absolute_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
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
    /// The path `/service/method` of gRPC; `None`: any. Among these the longest service wins, then the longest method, then
    /// the most headers (GRPCRoute's precedence).
    GrpcMethod {
        /// With its package.
        service: Option<Arc<str>>,
        /// Method of the service.
        method: Option<Arc<str>>,
    },
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
    /// Gateway API CORS.
    Cors(Cors),
    /// Gateway API RequestMirror.
    Mirror(Mirror),
    /// Gateway API RequestRedirect.
    Redirect(Redirect),
    /// Gateway API RequestHeaderModifier.
    RequestHeaders(HeaderModifier),
    /// Gateway API ResponseHeaderModifier.
    ResponseHeaders(HeaderModifier),
    /// Gateway API URLRewrite.
    Rewrite(Rewrite),
    /// Not understood: the rule answers 500 `unsupported_by_proxy`.
    Unsupported,
}

/// Gateway API HTTPRequestRedirectFilter: the proxy answers. `None` everywhere: as the request has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Of the new location.
    pub scheme: Option<Scheme>,
    /// Of the new location.
    pub hostname: Option<Arc<str>>,
    /// Of the new location.
    pub path: Option<PathModifier>,
    /// Of the new location; `None`: by the rules of the field `port` of HTTPRequestRedirectFilter.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// Scheme of a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Well-known port 80.
    Http,
    /// Well-known port 443.
    Https,
}

/// Gateway API HTTPURLRewriteFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Becomes Host, or `:authority`.
    pub hostname: Option<Arc<str>>,
    /// Becomes the path; the query stays.
    pub path: Option<PathModifier>,
}

/// Gateway API HTTPPathModifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// Replaces all of it. Begins with a slash.
    Full(Arc<str>),
    /// Replaces the prefix that the rule's match found. Empty, or begins with a slash.
    Prefix(Arc<str>),
}

/// Gateway API HTTPRequestMirrorFilter: a copy of so many requests, whose answer nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where to. Unresolved: no copies are made.
    pub backend: BackendRef,
    /// At most `denominator`.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

/// Gateway API HTTPCORSFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// `*`, or `SCHEME://HOST[:PORT]` where the host may be `*` or begin with `*.`.
    pub origins: Vec<Arc<str>>,
    /// Whether requests may carry credentials.
    pub credentials: bool,
    /// `*` or methods.
    pub methods: Vec<Arc<str>>,
    /// `*` or header names of requests.
    pub headers: Vec<Arc<str>>,
    /// `*` or header names of responses.
    pub expose: Vec<Arc<str>>,
    /// Seconds that a client may keep the answer to a preflight.
    pub max_age: u32,
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
