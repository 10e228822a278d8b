//! Routes: where "unknown is not ignorable" decides the most.

use std::time::Duration;

use super::{Invalid, field, filter as filters};
use crate::grpc::{self, filter, path_match, string_match, weighted_backend};
use crate::model::{
    BackendRef, Filter, Header, HeaderMatch, HeaderModifier, HttpMatch, HttpRoute, HttpRule, ObjectRef, PathMatch,
    QueryMatch, RuleOrder, StringMatch, Timeouts, WeightedBackend,
};

impl TryFrom<grpc::HttpRoute> for HttpRoute {
    type Error = Invalid;

    fn try_from(value: grpc::HttpRoute) -> Result<HttpRoute, Invalid> {
        Ok(HttpRoute {
            object: field::convert(value.object, "object")?,
            order: rule_order(value.order)?,
            rules: field::list(value.rules, "rules", field::ROUTE_ITEMS)?,
        })
    }
}

impl From<&HttpRoute> for grpc::HttpRoute {
    fn from(value: &HttpRoute) -> grpc::HttpRoute {
        let order = match value.order {
            RuleOrder::Specificity => grpc::RuleOrder::Specificity,
            RuleOrder::Written => grpc::RuleOrder::Written,
        };
        grpc::HttpRoute {
            object: Some((&value.object).into()),
            order: order.into(),
            rules: value.rules.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<grpc::ObjectRef> for ObjectRef {
    type Error = Invalid;

    fn try_from(value: grpc::ObjectRef) -> Result<ObjectRef, Invalid> {
        Ok(ObjectRef {
            group: field::word(value.group, "group")?,
            kind: field::word(value.kind, "kind")?,
            namespace: field::word(value.namespace, "namespace")?,
            name: field::word(value.name, "name")?,
        })
    }
}

impl From<&ObjectRef> for grpc::ObjectRef {
    fn from(value: &ObjectRef) -> grpc::ObjectRef {
        grpc::ObjectRef {
            group: value.group.as_ref().to_owned(),
            kind: value.kind.as_ref().to_owned(),
            namespace: value.namespace.as_ref().to_owned(),
            name: value.name.as_ref().to_owned(),
        }
    }
}

impl TryFrom<grpc::HttpRule> for HttpRule {
    type Error = Invalid;

    fn try_from(value: grpc::HttpRule) -> Result<HttpRule, Invalid> {
        if value.matches.is_empty() {
            return Err(Invalid::new("matches", "empty"));
        }
        Ok(HttpRule {
            name: field::word(value.name, "name")?,
            matches: field::list(value.matches, "matches", field::RULE_ITEMS)?,
            filters: field::list(value.filters, "filters", field::RULE_ITEMS)?,
            backends: field::list(value.backends, "backends", field::ROUTE_ITEMS)?,
            timeouts: field::convert(value.timeouts, "timeouts")?,
            retry: field::convert_optional(value.retry, "retry")?,
            session: field::convert_optional(value.session, "session")?,
        })
    }
}

impl From<&HttpRule> for grpc::HttpRule {
    fn from(value: &HttpRule) -> grpc::HttpRule {
        grpc::HttpRule {
            name: value.name.as_ref().to_owned(),
            matches: value.matches.iter().map(Into::into).collect(),
            filters: value.filters.iter().map(Into::into).collect(),
            backends: value.backends.iter().map(Into::into).collect(),
            timeouts: Some(value.timeouts.into()),
            retry: value.retry.as_ref().map(Into::into),
            session: value.session.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<grpc::Timeouts> for Timeouts {
    type Error = Invalid;

    fn try_from(value: grpc::Timeouts) -> Result<Timeouts, Invalid> {
        let limit = |value: Option<prost_types::Duration>, name| {
            let limit = value.map(|value| field::duration(value, name)).transpose()?;
            // GEP-1742: zero switches the time-out off.
            Ok::<_, Invalid>(limit.filter(|limit| !limit.is_zero()))
        };
        Ok(Timeouts {
            request: limit(value.request, "request")?,
            backend_request: limit(value.backend_request, "backend_request")?,
        })
    }
}

impl From<Timeouts> for grpc::Timeouts {
    fn from(value: Timeouts) -> grpc::Timeouts {
        let limit = |limit: Option<Duration>| limit.filter(|limit| !limit.is_zero()).map(field::wire_duration);
        grpc::Timeouts { request: limit(value.request), backend_request: limit(value.backend_request) }
    }
}

impl TryFrom<grpc::HttpMatch> for HttpMatch {
    type Error = Invalid;

    fn try_from(value: grpc::HttpMatch) -> Result<HttpMatch, Invalid> {
        let path = path(field::required(value.path, "path")?)?;
        let headers = parts(value.headers, "headers", header_match)?;
        let query = parts(value.query, "query", query_match)?;
        let method = match value.method {
            method if method.is_empty() => None,
            method => Some(field::token(method, "method")?),
        };
        // One part that is not understood: nobody can say what the whole would match.
        Ok(match (path, headers, query) {
            (Some(path), Some(headers), Some(query)) => HttpMatch::All { path, headers, query, method },
            _ => HttpMatch::Unsupported,
        })
    }
}

impl From<&HttpMatch> for grpc::HttpMatch {
    fn from(value: &HttpMatch) -> grpc::HttpMatch {
        match value {
            HttpMatch::All { path, headers, query, method } => grpc::HttpMatch {
                path: Some(path.into()),
                headers: headers.iter().map(Into::into).collect(),
                query: query.iter().map(Into::into).collect(),
                method: method.as_deref().unwrap_or_default().to_owned(),
            },
            HttpMatch::Unsupported => {
                grpc::HttpMatch { path: Some(grpc::PathMatch { kind: None }), ..grpc::HttpMatch::default() }
            }
        }
    }
}

impl From<&PathMatch> for grpc::PathMatch {
    fn from(value: &PathMatch) -> grpc::PathMatch {
        use path_match::Kind;
        let kind = match value {
            PathMatch::Exact(path) => Kind::Exact(path.as_ref().to_owned()),
            PathMatch::GrpcMethod { service, method } => Kind::GrpcMethod(grpc::GrpcMethod {
                service: service.as_deref().unwrap_or_default().to_owned(),
                method: method.as_deref().unwrap_or_default().to_owned(),
            }),
            PathMatch::Prefix(path) => Kind::Prefix(path.as_ref().to_owned()),
            PathMatch::Regex(pattern) => Kind::Regex(pattern.as_ref().to_owned()),
        };
        grpc::PathMatch { kind: Some(kind) }
    }
}

impl From<&StringMatch> for grpc::StringMatch {
    fn from(value: &StringMatch) -> grpc::StringMatch {
        use string_match::Kind;
        let kind = match value {
            StringMatch::Exact(value) => Kind::Exact(value.as_ref().to_owned()),
            StringMatch::Regex(pattern) => Kind::Regex(pattern.as_ref().to_owned()),
        };
        grpc::StringMatch { kind: Some(kind) }
    }
}

impl From<&HeaderMatch> for grpc::HeaderMatch {
    fn from(value: &HeaderMatch) -> grpc::HeaderMatch {
        grpc::HeaderMatch { name: value.name.as_ref().to_owned(), value: Some((&value.value).into()) }
    }
}

impl From<&QueryMatch> for grpc::QueryMatch {
    fn from(value: &QueryMatch) -> grpc::QueryMatch {
        grpc::QueryMatch { name: value.name.as_ref().to_owned(), value: Some((&value.value).into()) }
    }
}

impl TryFrom<grpc::Filter> for Filter {
    type Error = Invalid;

    fn try_from(value: grpc::Filter) -> Result<Filter, Invalid> {
        use filter::Kind;
        match value.kind {
            Some(Kind::RequestHeaders(headers)) => {
                headers.try_into().map(Filter::RequestHeaders).map_err(|e: Invalid| e.under("request_headers"))
            }
            Some(Kind::ResponseHeaders(headers)) => {
                headers.try_into().map(Filter::ResponseHeaders).map_err(|e: Invalid| e.under("response_headers"))
            }
            Some(Kind::Redirect(redirect)) => filters::read_redirect(redirect).map_err(|e| e.under("redirect")),
            Some(Kind::Rewrite(rewrite)) => filters::read_rewrite(rewrite).map_err(|e| e.under("rewrite")),
            Some(Kind::Mirror(mirror)) => filters::read_mirror(mirror).map_err(|e| e.under("mirror")),
            Some(Kind::Cors(cors)) => filters::read_cors(cors).map_err(|e| e.under("cors")),
            None => Ok(Filter::Unsupported),
        }
    }
}

impl From<&Filter> for grpc::Filter {
    fn from(value: &Filter) -> grpc::Filter {
        use filter::Kind;
        let kind = match value {
            Filter::Cors(cors) => Some(Kind::Cors(cors.into())),
            Filter::Mirror(mirror) => Some(Kind::Mirror(mirror.into())),
            Filter::Redirect(redirect) => Some(Kind::Redirect(redirect.into())),
            Filter::RequestHeaders(headers) => Some(Kind::RequestHeaders(headers.into())),
            Filter::ResponseHeaders(headers) => Some(Kind::ResponseHeaders(headers.into())),
            Filter::Rewrite(rewrite) => Some(Kind::Rewrite(rewrite.into())),
            Filter::Unsupported => None,
        };
        grpc::Filter { kind }
    }
}

impl TryFrom<grpc::HeaderModifier> for HeaderModifier {
    type Error = Invalid;

    fn try_from(value: grpc::HeaderModifier) -> Result<HeaderModifier, Invalid> {
        field::bounded(value.remove.len(), "remove", field::RULE_ITEMS)?;
        let remove = value.remove.into_iter().enumerate();
        let remove = remove.map(|(index, name)| field::lower_token(name, &format!("remove[{index}]")));
        Ok(HeaderModifier {
            set: field::list(value.set, "set", field::RULE_ITEMS)?,
            add: field::list(value.add, "add", field::RULE_ITEMS)?,
            remove: remove.collect::<Result<_, _>>()?,
        })
    }
}

impl From<&HeaderModifier> for grpc::HeaderModifier {
    fn from(value: &HeaderModifier) -> grpc::HeaderModifier {
        grpc::HeaderModifier {
            set: value.set.iter().map(Into::into).collect(),
            add: value.add.iter().map(Into::into).collect(),
            remove: value.remove.iter().map(|name| name.as_ref().to_owned()).collect(),
        }
    }
}

impl TryFrom<grpc::Header> for Header {
    type Error = Invalid;

    fn try_from(value: grpc::Header) -> Result<Header, Invalid> {
        field::header_value(&value.value, "value")?;
        Ok(Header { name: field::token(value.name, "name")?, value: value.value.as_ref().into() })
    }
}

impl From<&Header> for grpc::Header {
    fn from(value: &Header) -> grpc::Header {
        grpc::Header { name: value.name.as_ref().to_owned(), value: value.value.to_vec().into() }
    }
}

impl TryFrom<grpc::WeightedBackend> for WeightedBackend {
    type Error = Invalid;

    fn try_from(value: grpc::WeightedBackend) -> Result<WeightedBackend, Invalid> {
        use weighted_backend::Backend;
        if value.weight > field::WEIGHT {
            return Err(Invalid::new("weight", "above 1000000"));
        }
        let backend = match field::required(value.backend, "backend")? {
            Backend::Service(key) => {
                key.try_into().map(BackendRef::Service).map_err(|invalid: Invalid| invalid.under("service"))?
            }
            Backend::Unresolved(unresolved) => BackendRef::Unresolved { reason: field::hint(unresolved.reason) },
        };
        let filters = field::list(value.filters, "filters", field::RULE_ITEMS)?;
        Ok(WeightedBackend { weight: value.weight, backend, filters })
    }
}

impl From<&WeightedBackend> for grpc::WeightedBackend {
    fn from(value: &WeightedBackend) -> grpc::WeightedBackend {
        grpc::WeightedBackend {
            weight: value.weight,
            backend: Some(backend(&value.backend)),
            filters: value.filters.iter().map(Into::into).collect(),
        }
    }
}

pub(super) fn backend(value: &BackendRef) -> weighted_backend::Backend {
    match value {
        BackendRef::Service(key) => weighted_backend::Backend::Service(key.into()),
        BackendRef::Unresolved { reason } => {
            weighted_backend::Backend::Unresolved(grpc::Unresolved { reason: reason.as_ref().to_owned() })
        }
    }
}

fn rule_order(value: i32) -> Result<RuleOrder, Invalid> {
    match grpc::RuleOrder::try_from(value) {
        Ok(grpc::RuleOrder::Specificity) => Ok(RuleOrder::Specificity),
        Ok(grpc::RuleOrder::Written) => Ok(RuleOrder::Written),
        Ok(grpc::RuleOrder::Unspecified) | Err(_) => Err(Invalid::new("order", "unknown order")),
    }
}

/// `None`: a kind that this version does not understand.
fn path(value: grpc::PathMatch) -> Result<Option<PathMatch>, Invalid> {
    use path_match::Kind;
    let absolute = |path: String| match field::text(path, "path", field::VALUE_BYTES)? {
        path if path.starts_with('/') => Ok(path),
        _ => Err(Invalid::new("path", "does not begin with /")),
    };
    Ok(match value.kind {
        Some(Kind::Exact(path)) => Some(PathMatch::Exact(absolute(path)?)),
        Some(Kind::Prefix(path)) => Some(PathMatch::Prefix(absolute(path)?)),
        Some(Kind::Regex(pattern)) => Some(PathMatch::Regex(field::text(pattern, "path", field::VALUE_BYTES)?)),
        Some(Kind::GrpcMethod(wanted)) => Some(PathMatch::GrpcMethod {
            service: grpc_name(wanted.service, "service")?,
            method: grpc_name(wanted.method, "method")?,
        }),
        None => None,
    })
}

/// Empty: any.
fn grpc_name(value: String, name: &str) -> Result<Option<std::sync::Arc<str>>, Invalid> {
    match field::text(value, name, field::VALUE_BYTES)? {
        value if value.contains('/') => Err(Invalid::new(name, "has a slash")),
        value => Ok(Some(value).filter(|value| !value.is_empty())),
    }
}

/// A list of parts of a match; `None` as soon as one is not understood.
fn parts<T, U>(
    values: Vec<T>,
    name: &str,
    part: impl Fn(T) -> Result<Option<U>, Invalid>,
) -> Result<Option<Vec<U>>, Invalid> {
    field::bounded(values.len(), name, field::RULE_ITEMS)?;
    let convert = |(index, value)| part(value).map_err(|invalid| invalid.under_item(name, index)).transpose();
    // An item that is not understood ends the iteration early; the count then differs.
    let count = values.len();
    let all: Vec<U> = values.into_iter().enumerate().map_while(convert).collect::<Result<_, _>>()?;
    Ok(Some(all).filter(|all| all.len() == count))
}

fn header_match(value: grpc::HeaderMatch) -> Result<Option<HeaderMatch>, Invalid> {
    let name = field::lower_token(value.name, "name")?;
    Ok(string_match(field::required(value.value, "value")?)?.map(|value| HeaderMatch { name, value }))
}

fn query_match(value: grpc::QueryMatch) -> Result<Option<QueryMatch>, Invalid> {
    if value.name.is_empty() {
        return Err(Invalid::new("name", "empty"));
    }
    let name = field::text(value.name, "name", field::TOKEN_BYTES)?;
    Ok(string_match(field::required(value.value, "value")?)?.map(|value| QueryMatch { name, value }))
}

fn string_match(value: grpc::StringMatch) -> Result<Option<StringMatch>, Invalid> {
    use string_match::Kind;
    Ok(match value.kind {
        Some(Kind::Exact(exact)) => Some(StringMatch::Exact(field::text(exact, "value", field::VALUE_BYTES)?)),
        Some(Kind::Regex(regex)) => Some(StringMatch::Regex(field::text(regex, "value", field::VALUE_BYTES)?)),
        None => None,
    })
}
