//! What a rule says about repetition and sessions, from Kubernetes' terms into the model's.

use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::{Retry, Session, SessionKind};

use crate::duration;
use crate::resource::{CookieConfig, HttpRouteRetry, SessionPersistence};

/// `Err`: the field and why it makes the route invalid.
pub(super) fn retry(field: &str, source: Option<&HttpRouteRetry>) -> Result<Option<Retry>, String> {
    let Some(source) = source else { return Ok(None) };
    if let Some(index) = source.codes.iter().position(|code| !(400..=599).contains(code)) {
        return Err(format!("{field}.retry.codes[{index}]: is not from 400 to 599"));
    }
    let backoff = limit(&format!("{field}.retry.backoff"), source.backoff.as_deref())?;
    // "an explicit zero value MUST disable retries" (Gateway API 1.7): said to the proxy, which else repeats by itself (ADR 10)
    Ok(Some(Retry { codes: source.codes.clone(), attempts: source.attempts.unwrap_or(1), backoff }))
}

/// `unnamed`: the name of a cookie that is given none. `Err`: the field and why it makes the route invalid.
pub(super) fn session(
    field: &str,
    source: Option<&SessionPersistence>,
    unnamed: &str,
    key: &Arc<[u8]>,
) -> Result<Option<Session>, String> {
    let Some(source) = source else { return Ok(None) };
    let field = format!("{field}.sessionPersistence");
    let limit = |name: &str, text: &Option<String>| {
        Ok::<_, String>(limit(&format!("{field}.{name}"), text.as_deref())?.filter(|limit| !limit.is_zero()))
    };
    let absolute_timeout = limit("absoluteTimeout", &source.absolute_timeout)?;
    let idle_timeout = limit("idleTimeout", &source.idle_timeout)?;
    let (kind, name) = match source.session_type.as_deref() {
        None | Some("Cookie") => cookie(&field, source, absolute_timeout)?,
        Some("Header") => (SessionKind::Header, source.header.as_ref().map(|header| header.name.as_str())),
        Some(other) => return Err(format!("{field}.type: {other} is not supported; Cookie and Header are")),
    };
    let name = name.or(source.session_name.as_deref());
    let name = match (&kind, name) {
        (_, Some(name)) => name,
        (SessionKind::Cookie { .. }, None) => unnamed,
        (SessionKind::Header, None) => return Err(format!("{field}: a session in a header needs its name")),
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let reserved = name.len() > 256 || name.to_ascii_lowercase().starts_with("minimesh-");
    if name.is_empty() || reserved || !name.bytes().all(valid) {
        return Err(format!("{field}: {name:?} is no name for a session"));
    }
    Ok(Some(Session { name: name.into(), kind, absolute_timeout, idle_timeout, key: Arc::clone(key) }))
}

fn cookie<'a>(
    field: &str,
    source: &'a SessionPersistence,
    absolute_timeout: Option<Duration>,
) -> Result<(SessionKind, Option<&'a str>), String> {
    let none = CookieConfig::default();
    let (config, name) = match (&source.cookie, &source.cookie_config) {
        (Some(cookie), None) => (cookie, "cookie"),
        (None, Some(cookie)) => (cookie, "cookieConfig"),
        (None, None) => (&none, "cookie"),
        (Some(_), Some(_)) => return Err(format!("{field}.cookieConfig: cannot stand beside cookie")),
    };
    let permanent = match config.lifetime_type.as_deref() {
        None | Some("Session") => false,
        Some("Permanent") if absolute_timeout.is_some() => true,
        Some("Permanent") => return Err(format!("{field}.absoluteTimeout: is required for a permanent cookie")),
        Some(other) => return Err(format!("{field}.{name}.lifetimeType: {other} is not supported")),
    };
    let path = config.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b';') {
        return Err(format!("{field}.{name}.path: {path:?} is no path of a cookie"));
    }
    let kind = SessionKind::Cookie { path: path.into(), permanent };
    Ok((
        kind,
        match (&source.cookie, &source.cookie_config) {
            (Some(cookie), _) | (None, Some(cookie)) => cookie.name.as_deref(),
            (None, None) => None,
        },
    ))
}

fn limit(field: &str, text: Option<&str>) -> Result<Option<Duration>, String> {
    let read = |text: &str| duration::parse(text).map_err(|fault| format!("{field}: {text:?} {fault}"));
    text.map(read).transpose()
}
