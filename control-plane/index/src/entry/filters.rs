//! A rule's filters, from Kubernetes' terms into the model's. What a path, a host or a header name may look like is judged by
//! `minimesh-route`.

use minimesh_api::model::{Cors, Filter, Header, HeaderModifier, Mirror, PathModifier, Redirect, Rewrite, Scheme};

use super::rules::Reader;
use crate::resource::{
    Fraction, HttpCorsFilter, HttpHeader, HttpHeaderFilter, HttpMirrorFilter, HttpPathModifier, HttpRedirectFilter,
    HttpRewriteFilter, HttpRouteFilter, Kind,
};

/// What became of a filter.
enum Read {
    Filter(Filter),
    /// Something in it is not known to this version: the text says what.
    Unknown(String),
}

impl Reader<'_> {
    /// `Err`: the field and why it makes the route invalid.
    pub(super) fn filters(&mut self, field: &str, filters: &[HttpRouteFilter]) -> Result<Vec<Filter>, String> {
        let mut read = Vec::with_capacity(filters.len());
        for (index, filter) in filters.iter().enumerate() {
            let field = format!("{field}.filters[{index}]");
            read.push(match self.filter(&field, filter)? {
                Read::Filter(_) if self.is_unread(&field) => Filter::Unsupported,
                Read::Filter(filter) => filter,
                Read::Unknown(what) => {
                    self.unsupported.push(format!("{field}: {what} is not supported; the rule answers 500"));
                    Filter::Unsupported
                }
            });
        }
        Ok(read)
    }

    fn filter(&mut self, field: &str, filter: &HttpRouteFilter) -> Result<Read, String> {
        let kind = filter.filter_type.as_str();
        let of_grpc = ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"].contains(&kind);
        let known = PARTS.iter().any(|(known, _)| *known == kind) && (self.kind == Kind::HttpRoute || of_grpc);
        if !known {
            return Ok(Read::Unknown(format!("filter {kind}")));
        }
        for (other, name) in PARTS {
            match (other == kind, has(filter, other)) {
                (true, false) => return Err(format!("{field}.{name}: is required for a filter of type {kind}")),
                (false, true) => return Err(format!("{field}.{name}: does not belong to a filter of type {kind}")),
                _ => {}
            }
        }
        let HttpRouteFilter { request_header_modifier, response_header_modifier, .. } = filter;
        let HttpRouteFilter { request_mirror, request_redirect, url_rewrite, cors, .. } = filter;
        if let Some(modifier) = request_header_modifier {
            return Ok(Read::Filter(Filter::RequestHeaders(header_modifier(modifier))));
        }
        if let Some(modifier) = response_header_modifier {
            return Ok(Read::Filter(Filter::ResponseHeaders(header_modifier(modifier))));
        }
        if let Some(source) = request_mirror {
            return self.mirror(&format!("{field}.requestMirror"), source);
        }
        if let Some(source) = request_redirect {
            return redirect(&format!("{field}.requestRedirect"), source);
        }
        if let Some(source) = url_rewrite {
            return rewrite(&format!("{field}.urlRewrite"), source);
        }
        cors.as_ref().map_or(Ok(Read::Unknown(format!("filter {kind}"))), |source| Ok(read_cors(source)))
    }

    fn mirror(&mut self, field: &str, source: &HttpMirrorFilter) -> Result<Read, String> {
        let (numerator, denominator) = match (source.percent, &source.fraction) {
            (None, None) => (100, 100),
            (Some(percent), None) => (percent, 100),
            (None, Some(Fraction { numerator, denominator })) => (*numerator, denominator.unwrap_or(100)),
            (Some(_), Some(_)) => return Err(format!("{field}.fraction: cannot stand beside percent")),
        };
        let share = (u32::try_from(numerator), u32::try_from(denominator));
        let (Ok(numerator), Ok(denominator @ 1..)) = share else {
            return Err(format!("{field}: {numerator} of {denominator} is no share of requests"));
        };
        if numerator > denominator {
            return Err(format!("{field}: {numerator} of {denominator} is more than all requests"));
        }
        let backend = self.resolve(format!("{field}.backendRef"), &source.backend_ref);
        Ok(Read::Filter(Filter::Mirror(Mirror { backend, numerator, denominator })))
    }
}

fn redirect(field: &str, source: &HttpRedirectFilter) -> Result<Read, String> {
    let scheme = match source.scheme.as_deref() {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(other) => return Ok(Read::Unknown(format!("scheme {other:?} of a redirect"))),
    };
    let status = source.status_code.unwrap_or(302);
    if ![301, 302, 303, 307, 308].contains(&status) {
        return Ok(Read::Unknown(format!("status {status} of a redirect")));
    }
    if source.port == Some(0) {
        return Err(format!("{field}.port: is not from 1 to 65535"));
    }
    let path = match path_modifier(&format!("{field}.path"), source.path.as_ref())? {
        Ok(path) => path,
        Err(what) => return Ok(Read::Unknown(what)),
    };
    let hostname = source.hostname.as_deref().map(Into::into);
    Ok(Read::Filter(Filter::Redirect(Redirect { scheme, hostname, path, port: source.port, status })))
}

fn rewrite(field: &str, source: &HttpRewriteFilter) -> Result<Read, String> {
    let path = match path_modifier(&format!("{field}.path"), source.path.as_ref())? {
        Ok(path) => path,
        Err(what) => return Ok(Read::Unknown(what)),
    };
    Ok(Read::Filter(Filter::Rewrite(Rewrite { hostname: source.hostname.as_deref().map(Into::into), path })))
}

/// `Ok(Err)`: a type that is not known.
fn path_modifier(
    field: &str,
    source: Option<&HttpPathModifier>,
) -> Result<Result<Option<PathModifier>, String>, String> {
    let Some(HttpPathModifier { modifier_type, replace_full_path, replace_prefix_match }) = source else {
        return Ok(Ok(None));
    };
    match (modifier_type.as_str(), replace_full_path, replace_prefix_match) {
        ("ReplaceFullPath", Some(path), None) => {
            // Gateway API lets an empty one pass: the root is meant
            let path = if path.is_empty() { "/" } else { path };
            Ok(Ok(Some(PathModifier::Full(path.into()))))
        }
        ("ReplacePrefixMatch", None, Some(prefix)) => Ok(Ok(Some(PathModifier::Prefix(prefix.as_str().into())))),
        ("ReplaceFullPath" | "ReplacePrefixMatch", ..) => {
            Err(format!("{field}: needs the value that belongs to {modifier_type}, and no other"))
        }
        (other, ..) => Ok(Err(format!("path modifier {other}"))),
    }
}

fn read_cors(source: &HttpCorsFilter) -> Read {
    let words = |words: &[String]| words.iter().map(|word| word.as_str().into()).collect();
    Read::Filter(Filter::Cors(Cors {
        origins: words(&source.allow_origins),
        credentials: source.allow_credentials.unwrap_or(false),
        methods: words(&source.allow_methods),
        headers: words(&source.allow_headers),
        expose: words(&source.expose_headers),
        // Gateway API's default
        max_age: source.max_age.unwrap_or(5),
    }))
}

fn header_modifier(source: &HttpHeaderFilter) -> HeaderModifier {
    let header =
        |header: &HttpHeader| Header { name: header.name.as_str().into(), value: header.value.as_bytes().into() };
    HeaderModifier {
        set: source.set.iter().map(header).collect(),
        add: source.add.iter().map(header).collect(),
        remove: source.remove.iter().map(|name| name.to_ascii_lowercase().into()).collect(),
    }
}

fn has(filter: &HttpRouteFilter, kind: &str) -> bool {
    match kind {
        "CORS" => filter.cors.is_some(),
        "RequestHeaderModifier" => filter.request_header_modifier.is_some(),
        "RequestMirror" => filter.request_mirror.is_some(),
        "RequestRedirect" => filter.request_redirect.is_some(),
        "ResponseHeaderModifier" => filter.response_header_modifier.is_some(),
        _ => filter.url_rewrite.is_some(),
    }
}

/// Types of filters, each with the field that belongs to it.
const PARTS: [(&str, &str); 6] = [
    ("CORS", "cors"),
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("RequestRedirect", "requestRedirect"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("URLRewrite", "urlRewrite"),
];
