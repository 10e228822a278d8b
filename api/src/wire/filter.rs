//! Filters beyond header modifiers. A value that this version does not understand makes the whole filter
//! `Filter::Unsupported`, which fails its rule; a value that no version may send is [`Invalid`].

use super::{Invalid, field};
use crate::grpc::{self, mirror, path_modifier, redirect, weighted_backend};
use crate::model::{BackendRef, Cors, Filter, Mirror, PathModifier, Redirect, Rewrite, Scheme};

/// Statuses of a redirect (Gateway API HTTPRequestRedirectFilter).
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];

pub(super) fn read_redirect(value: grpc::Redirect) -> Result<Filter, Invalid> {
    let scheme = match redirect::Scheme::try_from(value.scheme) {
        Ok(redirect::Scheme::Unspecified) => None,
        Ok(redirect::Scheme::Http) => Some(Scheme::Http),
        Ok(redirect::Scheme::Https) => Some(Scheme::Https),
        Err(_) => return Ok(Filter::Unsupported),
    };
    let path = match value.path.map(read_path).transpose()? {
        Some(None) => return Ok(Filter::Unsupported),
        path => path.flatten(),
    };
    let status = u16::try_from(value.status).ok().filter(|_| REDIRECTS.contains(&value.status));
    let Some(status) = status else { return Ok(Filter::Unsupported) };
    let port = match value.port {
        0 => None,
        port => Some(field::port(port, "port")?),
    };
    Ok(Filter::Redirect(Redirect { scheme, hostname: hostname(value.hostname)?, path, port, status }))
}

pub(super) fn read_rewrite(value: grpc::Rewrite) -> Result<Filter, Invalid> {
    let path = match value.path.map(read_path).transpose()? {
        Some(None) => return Ok(Filter::Unsupported),
        path => path.flatten(),
    };
    Ok(Filter::Rewrite(Rewrite { hostname: hostname(value.hostname)?, path }))
}

pub(super) fn read_mirror(value: grpc::Mirror) -> Result<Filter, Invalid> {
    let backend = match value.backend {
        Some(mirror::Backend::Service(key)) => {
            key.try_into().map(BackendRef::Service).map_err(|invalid: Invalid| invalid.under("service"))?
        }
        Some(mirror::Backend::Unresolved(unresolved)) => {
            BackendRef::Unresolved { reason: field::hint(unresolved.reason) }
        }
        None => return Ok(Filter::Unsupported),
    };
    if value.denominator == 0 || value.numerator > value.denominator {
        return Err(Invalid::new("numerator", "above the denominator, or that is 0"));
    }
    Ok(Filter::Mirror(Mirror { backend, numerator: value.numerator, denominator: value.denominator }))
}

pub(super) fn read_cors(value: grpc::Cors) -> Result<Filter, Invalid> {
    let words = |values: Vec<String>, name: &str| {
        field::bounded(values.len(), name, field::RULE_ITEMS)?;
        let word = |(index, value)| field::word(value, &format!("{name}[{index}]"));
        values.into_iter().enumerate().map(word).collect::<Result<Vec<_>, _>>()
    };
    Ok(Filter::Cors(Cors {
        origins: words(value.origins, "origins")?,
        credentials: value.credentials,
        methods: words(value.methods, "methods")?,
        headers: words(value.headers, "headers")?,
        expose: words(value.expose, "expose")?,
        max_age: value.max_age_seconds,
    }))
}

impl From<&Redirect> for grpc::Redirect {
    fn from(value: &Redirect) -> grpc::Redirect {
        let scheme = match value.scheme {
            None => redirect::Scheme::Unspecified,
            Some(Scheme::Http) => redirect::Scheme::Http,
            Some(Scheme::Https) => redirect::Scheme::Https,
        };
        grpc::Redirect {
            scheme: scheme.into(),
            hostname: value.hostname.as_deref().unwrap_or_default().to_owned(),
            path: value.path.as_ref().map(Into::into),
            port: value.port.map_or(0, u32::from),
            status: u32::from(value.status),
        }
    }
}

impl From<&Rewrite> for grpc::Rewrite {
    fn from(value: &Rewrite) -> grpc::Rewrite {
        grpc::Rewrite {
            hostname: value.hostname.as_deref().unwrap_or_default().to_owned(),
            path: value.path.as_ref().map(Into::into),
        }
    }
}

impl From<&PathModifier> for grpc::PathModifier {
    fn from(value: &PathModifier) -> grpc::PathModifier {
        use path_modifier::Kind;
        let kind = match value {
            PathModifier::Full(path) => Kind::Full(path.as_ref().to_owned()),
            PathModifier::Prefix(path) => Kind::Prefix(path.as_ref().to_owned()),
        };
        grpc::PathModifier { kind: Some(kind) }
    }
}

impl From<&Mirror> for grpc::Mirror {
    fn from(value: &Mirror) -> grpc::Mirror {
        let backend = match super::route::backend(&value.backend) {
            weighted_backend::Backend::Service(key) => mirror::Backend::Service(key),
            weighted_backend::Backend::Unresolved(unresolved) => mirror::Backend::Unresolved(unresolved),
        };
        grpc::Mirror { backend: Some(backend), numerator: value.numerator, denominator: value.denominator }
    }
}

impl From<&Cors> for grpc::Cors {
    fn from(value: &Cors) -> grpc::Cors {
        let words =
            |words: &[std::sync::Arc<str>]| words.iter().map(|word| word.as_ref().to_owned()).collect::<Vec<_>>();
        grpc::Cors {
            origins: words(&value.origins),
            credentials: value.credentials,
            methods: words(&value.methods),
            headers: words(&value.headers),
            expose: words(&value.expose),
            max_age_seconds: value.max_age,
        }
    }
}

/// `None`: a kind that this version does not understand.
fn read_path(value: grpc::PathModifier) -> Result<Option<PathModifier>, Invalid> {
    use path_modifier::Kind;
    let path = |path: String| field::text(path, "path", field::VALUE_BYTES);
    let rooted = |path: &str| path.starts_with('/').then_some(()).ok_or(Invalid::new("path", "does not begin with /"));
    Ok(match value.kind {
        Some(Kind::Full(full)) => {
            rooted(&full)?;
            Some(PathModifier::Full(path(full)?))
        }
        Some(Kind::Prefix(prefix)) if prefix.is_empty() => Some(PathModifier::Prefix("".into())),
        Some(Kind::Prefix(prefix)) => {
            rooted(&prefix)?;
            Some(PathModifier::Prefix(path(prefix)?))
        }
        None => None,
    })
}

/// Empty: none.
fn hostname(value: String) -> Result<Option<std::sync::Arc<str>>, Invalid> {
    Ok(Some(field::word(value, "hostname")?).filter(|hostname| !hostname.is_empty()))
}
