//! What becomes of a request's URL: paths and authorities rewritten, locations of redirects. On plain bytes, because HTTP/1 and
//! HTTP/2 keep them in different places.

use minimesh_api::model::{self, PathModifier, Scheme};

use crate::error::{CompileError, Place};
use crate::request::RequestView;

/// Changes of a request's URL on its way: Gateway API URLRewrite, and a header filter that sets Host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Becomes Host, or `:authority`.
    pub authority: Option<Box<str>>,
    /// Becomes the path; the query stays.
    pub path: Option<PathEdit>,
}

/// How a path changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathEdit {
    /// Becomes this.
    Full(Box<str>),
    /// Its matched prefix becomes this, which has no slash at its end.
    Prefix(Box<str>),
}

/// The proxy answers with another location. `None`: as the request has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    scheme: Option<Scheme>,
    hostname: Option<Box<str>>,
    path: Option<PathEdit>,
    port: Option<u16>,
}

impl Rewrite {
    /// Nothing changes.
    pub const NONE: Rewrite = Rewrite { authority: None, path: None };

    /// Whether nothing changes.
    pub fn is_none(&self) -> bool {
        self.authority.is_none() && self.path.is_none()
    }

    /// The new path in two pieces; see [`PathEdit::apply`].
    pub fn path<'a>(&'a self, path: &'a [u8], prefix: usize) -> [&'a [u8]; 2] {
        self.path.as_ref().map_or([path, b""], |edit| edit.apply(path, prefix))
    }

    pub(crate) fn apply(&mut self, source: &model::Rewrite, place: &Place<'_>) -> Result<(), CompileError> {
        if let Some(hostname) = &source.hostname {
            self.authority = Some(authority(hostname, &place.field("hostname"))?);
        }
        if let Some(path) = &source.path {
            self.path = Some(PathEdit::compile(path, &place.field("path"))?);
        }
        Ok(())
    }
}

impl PathEdit {
    /// The new path in two pieces. `prefix`: how many bytes of `path` the rule's match found, from
    /// [`crate::Selection::Rule`]. What is no path (`*`, the authority of CONNECT) stays as it is.
    pub fn apply<'a>(&'a self, path: &'a [u8], prefix: usize) -> [&'a [u8]; 2] {
        if !path.starts_with(b"/") {
            return [path, b""];
        }
        match self {
            PathEdit::Full(full) => [full.as_bytes(), b""],
            PathEdit::Prefix(replacement) => match path.get(prefix..).unwrap_or_default() {
                b"" if replacement.is_empty() => [b"/", b""],
                rest => [replacement.as_bytes(), rest],
            },
        }
    }

    pub(crate) fn is_prefix(&self) -> bool {
        matches!(self, PathEdit::Prefix(_))
    }

    fn compile(source: &PathModifier, place: &Place<'_>) -> Result<PathEdit, CompileError> {
        match source {
            PathModifier::Full(path) => {
                let path = if path.is_empty() { "/" } else { path };
                check_path(path, place).map(|()| PathEdit::Full(path.into()))
            }
            PathModifier::Prefix(path) if path.is_empty() => Ok(PathEdit::Prefix("".into())),
            PathModifier::Prefix(path) => {
                check_path(path, place)?;
                // one slash: "/foo/bar" with /foo replaced by /xyz/ is /xyz/bar
                Ok(PathEdit::Prefix(path.strip_suffix('/').unwrap_or(path).into()))
            }
        }
    }
}

impl Redirect {
    pub(crate) fn compile(source: &model::Redirect, place: &Place<'_>) -> Result<Redirect, CompileError> {
        let hostname = source.hostname.as_deref().map(|hostname| authority(hostname, &place.field("hostname")));
        let path = source.path.as_ref().map(|path| PathEdit::compile(path, &place.field("path")));
        if ![301, 302, 303, 307, 308].contains(&source.status) {
            return Err(place.field("statusCode").error("is not 301, 302, 303, 307 or 308"));
        }
        Ok(Redirect {
            status: source.status,
            scheme: source.scheme,
            hostname: hostname.transpose()?,
            path: path.transpose()?,
            port: source.port,
        })
    }

    pub(crate) fn has_prefix(&self) -> bool {
        self.path.as_ref().is_some_and(PathEdit::is_prefix)
    }

    /// The value of Location. `scheme` and `port` are those that the client dialled; `prefix` as for [`PathEdit::apply`].
    pub fn location(&self, request: &RequestView<'_>, prefix: usize, scheme: Scheme, port: u16) -> Vec<u8> {
        let mut location = Vec::new();
        match &self.hostname {
            Some(hostname) => location.extend_from_slice(hostname.as_bytes()),
            None => request.headers.get_all("host", &mut |host| {
                if location.is_empty() {
                    location.extend_from_slice(without_port(host));
                }
            }),
        }
        let no_path = || if request.path.starts_with(b"/") { request.path } else { b"/" };
        let path = match &self.path {
            Some(edit) => edit.apply(no_path(), prefix),
            None => [no_path(), b""],
        };
        if location.is_empty() {
            // HTTP/1.0 without Host: relative to where it came from. "//" would begin an authority (RFC 3986 section 4.2).
            if path.concat().starts_with(b"//") {
                location.extend_from_slice(b"/.");
            }
        } else {
            let well_known = |scheme| if scheme == Scheme::Http { 80 } else { 443 };
            // the rules of HTTPRequestRedirectFilter's field `port`
            let port = self.port.unwrap_or(self.scheme.map_or(port, well_known));
            let scheme = self.scheme.unwrap_or(scheme);
            if port != well_known(scheme) {
                location.extend_from_slice(format!(":{port}").as_bytes());
            }
            let word: &[u8] = if scheme == Scheme::Http { b"http://" } else { b"https://" };
            location.splice(..0, word.iter().copied());
        }
        path.into_iter().for_each(|piece| location.extend_from_slice(piece));
        if let Some(query) = request.query {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        location
    }
}

/// What stands before the port of `host`, `host:port` or `[v6]:port`.
fn without_port(host: &[u8]) -> &[u8] {
    let literal = host.starts_with(b"[").then(|| host.iter().position(|byte| *byte == b']')).flatten();
    match literal {
        Some(end) => &host[..=end],
        None => host.split(|byte| *byte == b':').next().unwrap_or_default(),
    }
}

/// A host with or without port, as it may stand in Host (RFC 9110 section 7.2).
pub(crate) fn authority(text: &str, place: &Place<'_>) -> Result<Box<str>, CompileError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte);
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(place.error(format!("{text:?} is no host")));
    }
    Ok(text.into())
}

fn check_path(path: &str, place: &Place<'_>) -> Result<(), CompileError> {
    if !path.starts_with('/') {
        return Err(place.error(format!("{path:?} does not begin with a slash")));
    }
    if path.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#')) {
        return Err(place.error(format!("{path:?} is no path: it has a space, '?', '#' or a byte that is not ASCII")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(source: PathModifier) -> PathEdit {
        PathEdit::compile(&source, &Place::root("path", 0)).unwrap()
    }

    #[test]
    fn prefixes_are_replaced_as_gateway_api_tabulates() {
        // the table in HTTPPathModifier's documentation: path, matched prefix, replacement, result
        for (path, matched, replacement, wanted) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            // the prefix "/" is an empty one
            ("/bar", "", "/xyz", "/xyz/bar"),
            ("/", "", "/xyz", "/xyz/"),
            ("*", "", "/xyz", "*"),
        ] {
            let edit = edit(PathModifier::Prefix(replacement.into()));
            let result = edit.apply(path.as_bytes(), matched.len()).concat();
            assert_eq!(String::from_utf8(result).unwrap(), wanted, "{path} {matched} {replacement}");
        }
        assert_eq!(edit(PathModifier::Full("/one".into())).apply(b"/full/one/two", 5).concat(), b"/one");
    }

    fn location(redirect: model::Redirect, host: &str, url: &str, port: u16) -> String {
        let redirect = Redirect::compile(&redirect, &Place::root("redirect", 0)).unwrap();
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query.as_bytes())));
        let headers: Vec<(&str, &str)> = if host.is_empty() { vec![] } else { vec![("Host", host)] };
        let request = RequestView { method: "GET", path: path.as_bytes(), query, headers: &headers };
        String::from_utf8(redirect.location(&request, "/old".len(), Scheme::Http, port)).unwrap()
    }

    #[test]
    fn locations_keep_what_is_not_said() {
        let none = || model::Redirect { scheme: None, hostname: None, path: None, port: None, status: 302 };
        let host = |host: &str| model::Redirect { hostname: Some(host.into()), ..none() };
        assert_eq!(location(host("example.org"), "echo", "/old/a?b=c", 80), "http://example.org/old/a?b=c");
        assert_eq!(location(none(), "[fd00::1]:80", "/old", 8080), "http://[fd00::1]:8080/old");
        let path = model::Redirect { path: Some(PathModifier::Prefix("/new".into())), ..none() };
        assert_eq!(location(path.clone(), "echo:80", "/old/lemon?x", 80), "http://echo/new/lemon?x");
        assert_eq!(location(path, "", "/old//evil", 80), "/new//evil");
        let stripped = model::Redirect { path: Some(PathModifier::Prefix("".into())), ..none() };
        assert_eq!(location(stripped, "", "/old//evil", 80), "/.//evil", "no authority of the client's making");
    }

    #[test]
    fn ports_follow_the_scheme_and_well_known_ones_are_left_out() {
        let to = |scheme, port| model::Redirect { scheme, hostname: None, path: None, port, status: 301 };
        for (redirect, dialled, wanted) in [
            (to(None, None), 80, "http://echo/"),
            (to(None, None), 8080, "http://echo:8080/"),
            (to(Some(Scheme::Https), None), 8080, "https://echo/"),
            (to(Some(Scheme::Http), None), 8080, "http://echo/"),
            (to(Some(Scheme::Https), Some(443)), 80, "https://echo/"),
            (to(Some(Scheme::Https), Some(8443)), 80, "https://echo:8443/"),
            (to(Some(Scheme::Https), Some(80)), 80, "https://echo:80/"),
            (to(None, Some(80)), 8080, "http://echo/"),
            (to(None, Some(8083)), 80, "http://echo:8083/"),
        ] {
            assert_eq!(location(redirect, "echo:9999", "/", dialled), wanted);
        }
    }

    #[test]
    fn what_cannot_stand_in_a_url_is_refused() {
        for path in ["new", "/a b", "/a?b", "/ä"] {
            let place = Place::root("rules", 0);
            assert_eq!(PathEdit::compile(&PathModifier::Full(path.into()), &place).unwrap_err().field, "rules[0]");
        }
        assert!(authority("a/b", &Place::root("rules", 0)).is_err());
    }
}
