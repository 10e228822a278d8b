//! A route's rules, from Kubernetes' terms into the model's. What a regular expression, a path or a header name may look like
//! is judged by `minimesh-route`, which has to live with it.

use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{
    BackendKey, BackendRef, Filter, HeaderMatch, HttpMatch, HttpRule, PathMatch, QueryMatch, StringMatch, Timeouts,
    WeightedBackend,
};

use super::{RefFault, session};
use crate::annotations::unread_fault;
use crate::duration;
use crate::resource::{
    GrpcRouteRule, HttpPathMatch, HttpRouteBackend, HttpRouteFilter, HttpRouteMatch, HttpRouteRule, HttpRouteTimeouts,
    HttpValueMatch, Kind, ObjectKey,
};

/// Reads the rules of one route, and collects what is to be said about them.
pub(super) struct Reader<'a> {
    pub(super) route: &'a ObjectKey,
    pub(super) kind: Kind,
    session_key: &'a Arc<[u8]>,
    /// Fields that nobody reads.
    unread: &'a [String],
    pub(super) unsupported: Vec<String>,
    reference_faults: Vec<RefFault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(route: &'a ObjectKey, session_key: &'a Arc<[u8]>, unread: &'a [String]) -> Self {
        let kind = route.kind;
        Self { route, kind, session_key, unread, unsupported: Vec::new(), reference_faults: Vec::new() }
    }

    /// Things that are not supported, each with the field; backend references that no Service could resolve.
    pub(super) fn finish(self) -> (Vec<String>, Vec<RefFault>) {
        (self.unsupported, self.reference_faults)
    }

    /// Whether something was written inside this field that nobody reads; it is noted.
    pub(super) fn is_unread(&mut self, field: &str) -> bool {
        let is_inside =
            |unread: &&String| unread.strip_prefix(field).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
        let before = self.unsupported.len();
        self.unsupported.extend(self.unread.iter().filter(is_inside).map(|field| unread_fault(field).to_string()));
        self.unsupported.len() > before
    }

    /// `Err`: the field and why it makes the route invalid.
    pub(super) fn rule(&mut self, index: usize, rule: &HttpRouteRule) -> Result<HttpRule, String> {
        let field = format!("spec.rules[{index}]");
        let everything = [HttpRouteMatch::default()];
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        let matches = matches.iter().enumerate().map(|(i, one)| self.one_match(&format!("{field}.matches[{i}]"), one));
        let matches = matches.collect();
        let timeouts = timeouts(&field, &rule.timeouts)?;
        let retry = session::retry(&field, rule.retry.as_ref())?;
        let plain = self.plain(index, rule.name.as_deref(), &rule.filters, &rule.backend_refs)?;
        let unnamed = self.session_name(index);
        let session = session::session(&field, rule.session_persistence.as_ref(), &unnamed, self.session_key)?;
        Ok(HttpRule { matches, timeouts, retry, session, ..plain })
    }

    /// A rule of a GRPCRoute. `Err`: the field and why it makes the route invalid.
    pub(super) fn grpc_rule(&mut self, index: usize, rule: &GrpcRouteRule) -> Result<HttpRule, String> {
        let field = format!("spec.rules[{index}]");
        let matches = self.grpc_matches(&field, &rule.matches);
        let plain = self.plain(index, rule.name.as_deref(), &rule.filters, &rule.backend_refs)?;
        let unnamed = self.session_name(index);
        let session = session::session(&field, rule.session_persistence.as_ref(), &unnamed, self.session_key)?;
        Ok(HttpRule { matches, session, ..plain })
    }

    /// What rules of both kinds have in common; it matches nothing yet.
    fn plain(
        &mut self,
        index: usize,
        name: Option<&str>,
        filters: &[HttpRouteFilter],
        backends: &[HttpRouteBackend],
    ) -> Result<HttpRule, String> {
        let filters = self.filters(&format!("spec.rules[{index}]"), filters)?;
        let backends = backends.iter().enumerate().map(|(i, one)| self.backend(backend_field(index, i), one));
        Ok(HttpRule {
            name: name.unwrap_or_default().into(),
            matches: Vec::new(),
            filters,
            backends: backends.collect::<Result<_, _>>()?,
            timeouts: Timeouts::default(),
            retry: None,
            session: None,
        })
    }

    /// Of a cookie that is given none: its own for every rule, so that sessions do not mix.
    fn session_name(&self, rule: usize) -> String {
        format!("session-{}-{}-{rule}", self.route.namespace, self.route.name)
    }

    fn one_match(&mut self, field: &str, source: &HttpRouteMatch) -> HttpMatch {
        let path = path(source.path.as_ref());
        let headers: Option<Vec<_>> = source.headers.iter().map(header_match).collect();
        let query: Option<Vec<_>> = source.query_params.iter().map(query_match).collect();
        let (Some(path), Some(headers), Some(query)) = (path, headers, query) else {
            self.unsupported.push(format!("{field} has a type of match that is not supported; the rule answers 500"));
            return HttpMatch::Unsupported;
        };
        if self.is_unread(field) {
            return HttpMatch::Unsupported;
        }
        let method = source.method.as_deref().filter(|method| !method.is_empty()).map(Arc::from);
        HttpMatch::All { path, headers, query, method }
    }

    fn backend(&mut self, field: String, source: &HttpRouteBackend) -> Result<WeightedBackend, String> {
        let weight = source.weight.unwrap_or(1);
        let weight = u32::try_from(weight).ok().filter(|&weight| weight <= 1_000_000);
        let weight = weight.ok_or_else(|| format!("{field}.weight: is not from 0 to 1000000"))?;
        let filters = self.filters(&field, &source.filters)?;
        let backend = self.resolve(field, source);
        Ok(WeightedBackend { weight, backend, filters })
    }

    /// What a reference comes to, as far as it itself tells; a fault is noted.
    pub(super) fn resolve(&mut self, field: String, source: &HttpRouteBackend) -> BackendRef {
        match self.reference(source) {
            Ok(key) => BackendRef::Service(key),
            Err((reason, message)) => {
                let unresolved = BackendRef::Unresolved { reason: format!("{reason}: {message}").into() };
                self.reference_faults.push(RefFault { field, reason, message });
                unresolved
            }
        }
    }

    /// As far as the reference itself tells.
    fn reference(&self, source: &HttpRouteBackend) -> Result<BackendKey, (&'static str, String)> {
        let group = source.group.as_deref().unwrap_or_default();
        let kind = source.kind.as_deref().unwrap_or("Service");
        if kind != "Service" || !matches!(group, "" | "core") {
            return Err(("InvalidKind", format!("{kind} of group {group:?} is no backend; a Service is")));
        }
        let namespace = source.namespace.as_deref().unwrap_or(&self.route.namespace);
        match source.port {
            Some(port) if port > 0 => {
                Ok(BackendKey { namespace: namespace.into(), name: source.name.as_str().into(), port })
            }
            _ => Err(("BackendNotFound", format!("the port of Service {namespace}/{} is missing", source.name))),
        }
    }
}

pub(super) fn backend_field(rule: usize, backend: usize) -> String {
    format!("spec.rules[{rule}].backendRefs[{backend}]")
}

/// From `minimesh-route`'s path of a field to the manifest's.
pub(super) fn manifest_field(compiled: &str) -> String {
    let path = compiled.strip_prefix("http_routes[0]").unwrap_or(compiled);
    let mut field = String::from("spec");
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, index) = part.split_at(part.find('[').unwrap_or(part.len()));
        let name = match name {
            "backends" => "backendRefs",
            "redirect" => "requestRedirect",
            "request_headers" => "requestHeaderModifier",
            "response_headers" => "responseHeaderModifier",
            "rewrite" => "urlRewrite",
            "query" => "queryParams",
            other => other,
        };
        field.push('.');
        field.push_str(name);
        field.push_str(index);
    }
    field
}

/// Answers 500 whatever the request.
pub(super) fn is_unsupported(rule: &HttpRule) -> bool {
    rule.matches.contains(&HttpMatch::Unsupported)
        || rule.filters.contains(&Filter::Unsupported)
        || rule.backends.iter().any(|backend| backend.filters.contains(&Filter::Unsupported))
}

fn path(source: Option<&HttpPathMatch>) -> Option<PathMatch> {
    let Some(source) = source else { return Some(PathMatch::Prefix("/".into())) };
    let value = source.value.as_deref().unwrap_or("/").into();
    match source.match_type.as_deref() {
        Some("Exact") => Some(PathMatch::Exact(value)),
        None | Some("PathPrefix") => Some(PathMatch::Prefix(value)),
        Some("RegularExpression") => Some(PathMatch::Regex(value)),
        Some(_) => None,
    }
}

pub(super) fn header_match(source: &HttpValueMatch) -> Option<HeaderMatch> {
    Some(HeaderMatch { name: source.name.to_ascii_lowercase().into(), value: value_match(source)? })
}

fn query_match(source: &HttpValueMatch) -> Option<QueryMatch> {
    Some(QueryMatch { name: source.name.as_str().into(), value: value_match(source)? })
}

fn value_match(source: &HttpValueMatch) -> Option<StringMatch> {
    match source.match_type.as_deref() {
        None | Some("Exact") => Some(StringMatch::Exact(source.value.as_str().into())),
        Some("RegularExpression") => Some(StringMatch::Regex(source.value.as_str().into())),
        Some(_) => None,
    }
}

fn timeouts(field: &str, source: &HttpRouteTimeouts) -> Result<Timeouts, String> {
    let read = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => match duration::parse(text) {
            Ok(limit) => Ok(Some(limit).filter(|limit| !limit.is_zero())),
            Err(fault) => Err(format!("{field}.timeouts.{name}: {text:?} {fault}")),
        },
    };
    let request: Option<Duration> = read("request", &source.request)?;
    let backend_request = read("backendRequest", &source.backend_request)?;
    match (request, backend_request) {
        (Some(request), Some(backend)) if backend > request => {
            Err(format!("{field}.timeouts.backendRequest: is longer than timeouts.request"))
        }
        _ => Ok(Timeouts { request, backend_request }),
    }
}
