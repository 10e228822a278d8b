//! Cross-origin requests: who may ask from where (Gateway API HTTPCORSFilter, the Fetch standard's CORS protocol).

use minimesh_api::model::{self, Scheme};

use crate::error::{CompileError, Place};
use crate::filters::token;
use crate::request::RequestView;

/// A header to write: its name in lower case, and its value.
pub type Field = (&'static str, Vec<u8>);

/// A CORS filter, ready to judge requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
    methods: List,
    headers: List,
    expose: Option<Box<str>>,
    max_age: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origins {
    Any,
    Some(Vec<Origin>),
}

/// An origin that is allowed; compared without case, as scheme and host are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Exact(Box<str>),
    /// With its leading dot.
    Under(Box<str>),
}

/// What may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum List {
    Any,
    /// Joined; empty: nothing is said.
    Named(Box<str>),
}

/// What the filter itself decides about responses: the server's own word does not count beside it.
pub(crate) const OWNED: [&str; 3] =
    ["access-control-allow-credentials", "access-control-allow-origin", "access-control-expose-headers"];

impl Cors {
    pub(crate) fn compile(source: &model::Cors, place: &Place<'_>) -> Result<Cors, CompileError> {
        let origins = match source.origins.iter().any(|origin| &**origin == "*") {
            true => Origins::Any,
            false => {
                let origin = |(index, text): (usize, &std::sync::Arc<str>)| {
                    let wrong = || place.item("allowOrigins", index).error(format!("{text:?} is no origin"));
                    Origin::parse(text.as_bytes()).ok_or_else(wrong)
                };
                Origins::Some(source.origins.iter().enumerate().map(origin).collect::<Result<_, _>>()?)
            }
        };
        let expose = match list(&source.expose, &place.field("exposeHeaders"))? {
            // there is no way to name them all, and `*` has no meaning for a request with credentials
            List::Any if source.credentials => None,
            List::Any => Some("*".into()),
            List::Named(names) => Some(names).filter(|names| !names.is_empty()),
        };
        Ok(Cors {
            origins,
            credentials: source.credentials,
            methods: list(&source.methods, &place.field("allowMethods"))?,
            headers: list(&source.headers, &place.field("allowHeaders"))?,
            expose,
            max_age: source.max_age,
        })
    }

    /// Whether this is a preflight, which the proxy answers.
    pub fn is_preflight(&self, request: &RequestView<'_>) -> bool {
        request.method == "OPTIONS"
            && first(request, "origin").is_some()
            && first(request, "access-control-request-method").is_some()
    }

    /// The header fields of the answer to a preflight. Without `access-control-allow-origin`, and so refused by the client,
    /// where the origin may not ask.
    pub fn preflight(&self, request: &RequestView<'_>) -> Vec<Field> {
        let mut fields = self.shared(request);
        fields.push(("vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers".to_vec()));
        if fields.len() == 1 {
            return fields;
        }
        let asked = |list: &List, name| match list {
            List::Any => all(request, name),
            List::Named(names) => Some(names.as_bytes().to_vec()).filter(|names| !names.is_empty()),
        };
        let methods = asked(&self.methods, "access-control-request-method");
        fields.extend(methods.map(|methods| ("access-control-allow-methods", methods)));
        let headers = asked(&self.headers, "access-control-request-headers");
        fields.extend(headers.map(|headers| ("access-control-allow-headers", headers)));
        fields.push(("access-control-max-age", self.max_age.to_string().into_bytes()));
        fields
    }

    /// The header fields that the response to an actual request gets; empty for a request that is not cross-origin.
    pub fn actual(&self, request: &RequestView<'_>) -> Vec<Field> {
        let mut fields = self.shared(request);
        if self.origins != Origins::Any || self.credentials {
            // whatever the answer was: a cache must not give it to another origin
            fields.push(("vary", b"Origin".to_vec()));
        }
        fields
    }

    /// What preflights and actual responses have in common; empty: the origin may not ask.
    fn shared(&self, request: &RequestView<'_>) -> Vec<Field> {
        let Some(origin) = first(request, "origin") else { return Vec::new() };
        let allowed = match &self.origins {
            Origins::Any if !self.credentials => b"*".to_vec(),
            Origins::Any => origin,
            Origins::Some(list) => {
                let Some(parsed) = Origin::parse(&origin) else { return Vec::new() };
                if !list.iter().any(|allowed| allowed.matches(&parsed)) {
                    return Vec::new();
                }
                origin
            }
        };
        let mut fields = vec![("access-control-allow-origin", allowed)];
        if self.credentials {
            fields.push(("access-control-allow-credentials", b"true".to_vec()));
        }
        if let Some(expose) = &self.expose {
            fields.push(("access-control-expose-headers", expose.as_bytes().to_vec()));
        }
        fields
    }
}

impl Origin {
    /// `SCHEME://HOST[:PORT]`.
    fn parse(text: &[u8]) -> Option<Origin> {
        let lower = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
        let (scheme, rest) = lower.split_once("://")?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        // an IPv6 literal has colons of its own
        let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
            None => (rest, if scheme == Scheme::Http { 80 } else { 443 }),
        };
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        let host = match host.strip_prefix('*') {
            Some("") => Host::Any,
            Some(suffix) if suffix.starts_with('.') && suffix.bytes().all(valid) => Host::Under(suffix.into()),
            None if !host.is_empty() && host.bytes().all(valid) => Host::Exact(host.into()),
            _ => return None,
        };
        Some(Origin { scheme, host, port })
    }

    /// Whether `origin`, as a client sent it, is meant.
    fn matches(&self, origin: &Origin) -> bool {
        let Host::Exact(host) = &origin.host else { return false };
        let same = match &self.host {
            Host::Any => true,
            Host::Exact(own) => own == host,
            // one label at least stands where the star does
            Host::Under(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        };
        same && self.scheme == origin.scheme && self.port == origin.port
    }
}

fn list(words: &[std::sync::Arc<str>], place: &Place<'_>) -> Result<List, CompileError> {
    if words.iter().any(|word| &**word == "*") {
        return Ok(List::Any);
    }
    for word in words {
        token(word, place)?;
    }
    Ok(List::Named(words.iter().map(|word| &**word).collect::<Vec<_>>().join(", ").into()))
}

fn first(request: &RequestView<'_>, name: &str) -> Option<Vec<u8>> {
    let mut found = None;
    request.headers.get_all(name, &mut |value| {
        if found.is_none() {
            found = Some(value.to_vec());
        }
    });
    found
}

/// All lines of a name, joined.
fn all(request: &RequestView<'_>, name: &str) -> Option<Vec<u8>> {
    let mut found: Option<Vec<u8>> = None;
    request.headers.get_all(name, &mut |value| match &mut found {
        None => found = Some(value.to_vec()),
        Some(joined) => {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], credentials: bool, star: bool) -> Cors {
        let words = |words: &[&str]| words.iter().map(|word| (*word).into()).collect();
        let source = model::Cors {
            origins: words(origins),
            credentials,
            methods: words(if star { &["*"] } else { &["GET", "OPTIONS"] }),
            headers: words(if star { &["*"] } else { &["x-header-1", "x-header-2"] }),
            expose: words(if star { &["*"] } else { &["x-header-3"] }),
            max_age: 3600,
        };
        Cors::compile(&source, &Place::root("cors", 0)).unwrap()
    }

    fn fields(fields: Vec<Field>) -> String {
        let line = |(name, value): (&str, Vec<u8>)| {
            format!("{}={};", name.trim_start_matches("access-control-"), String::from_utf8(value).unwrap())
        };
        fields.into_iter().map(line).collect()
    }

    fn preflight(cors: &Cors, origin: &str) -> String {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "x-a"),
            ("Access-Control-Request-Headers", "x-b"),
        ];
        let request = RequestView { method: "OPTIONS", path: b"/", query: None, headers: &headers };
        assert!(cors.is_preflight(&request));
        fields(cors.preflight(&request))
    }

    fn actual(cors: &Cors, origin: &str) -> String {
        let headers = [("origin", origin)];
        fields(cors.actual(&RequestView { method: "PUT", path: b"/", query: None, headers: &headers }))
    }

    const VARY: &str = "vary=Origin, Access-Control-Request-Method, Access-Control-Request-Headers;";

    #[test]
    fn a_listed_origin_is_told_the_lists() {
        let cors = cors(&["https://www.foo.com", "https://*.bar.com"], true, false);
        for origin in
            ["https://www.foo.com", "https://www.bar.com", "https://xpto.www.bar.com", "https://WWW.foo.com:443"]
        {
            assert_eq!(
                preflight(&cors, origin),
                format!(
                    "allow-origin={origin};allow-credentials=true;expose-headers=x-header-3;{VARY}\
                     allow-methods=GET, OPTIONS;allow-headers=x-header-1, x-header-2;max-age=3600;"
                )
            );
            assert_eq!(
                actual(&cors, origin),
                format!("allow-origin={origin};allow-credentials=true;expose-headers=x-header-3;vary=Origin;")
            );
        }
        for origin in
            ["https://foobar.com", "http://www.foo.com", "https://bar.com", "https://www.foo.com:8443", "null"]
        {
            assert_eq!(preflight(&cors, origin), VARY);
            assert_eq!(actual(&cors, origin), "vary=Origin;");
        }
    }

    #[test]
    fn stars_never_stand_beside_credentials() {
        let open = cors(&["*"], false, true);
        assert_eq!(
            preflight(&open, "https://any:12345"),
            format!("allow-origin=*;expose-headers=*;{VARY}allow-methods=PUT;allow-headers=x-a, x-b;max-age=3600;")
        );
        assert_eq!(actual(&open, "null"), "allow-origin=*;expose-headers=*;");
        let known = cors(&["*"], true, true);
        assert_eq!(
            preflight(&known, "https://any"),
            format!(
                "allow-origin=https://any;allow-credentials=true;{VARY}allow-methods=PUT;allow-headers=x-a, x-b;max-age=3600;"
            )
        );
    }

    #[test]
    fn a_request_without_origin_is_none_of_its_business() {
        let open = cors(&["*"], false, true);
        let request = RequestView { method: "OPTIONS", path: b"/", query: None, headers: &[("a", "b")] };
        assert!(!open.is_preflight(&request) && open.actual(&request).is_empty());
    }

    #[test]
    fn origins_are_checked() {
        for wrong in ["ftp://a", "a.com", "https://", "https://a*b.com", "https://a/b", "https://a:0"] {
            let source = model::Cors { origins: vec![wrong.into()], ..model::Cors::default() };
            let error = Cors::compile(&source, &Place::root("cors", 0)).unwrap_err();
            assert_eq!(error.field, "cors[0].allowOrigins[0]");
        }
    }
}
