//! GRPCRoute's matches: what a method match comes to as a path.

use minimesh_api::model::{HttpMatch, PathMatch};

use super::rules::{self, Reader};
use crate::resource::{GrpcMethodMatch, GrpcRouteMatch};

/// What gRPC itself allows in a path (`/service/method`) where nothing is said.
const ANY: &str = "[^/]+";

impl Reader<'_> {
    /// Matches of a rule; none written: every request.
    pub(super) fn grpc_matches(&mut self, field: &str, matches: &[GrpcRouteMatch]) -> Vec<HttpMatch> {
        let everything = [GrpcRouteMatch::default()];
        let matches = if matches.is_empty() { &everything[..] } else { matches };
        let one = |(index, one): (usize, &GrpcRouteMatch)| {
            let field = format!("{field}.matches[{index}]");
            let headers: Option<Vec<_>> = one.headers.iter().map(rules::header_match).collect();
            match (method(one.method.as_ref()), headers) {
                (Some(_), Some(_)) if self.is_unread(&field) => HttpMatch::Unsupported,
                (Some(path), Some(headers)) => HttpMatch::All { path, headers, query: Vec::new(), method: None },
                _ => {
                    self.unsupported
                        .push(format!("{field} has a type of match that is not supported; the rule answers 500"));
                    HttpMatch::Unsupported
                }
            }
        };
        matches.iter().enumerate().map(one).collect()
    }
}

/// `None`: not supported.
fn method(source: Option<&GrpcMethodMatch>) -> Option<PathMatch> {
    let Some(GrpcMethodMatch { match_type, service, method }) = source else {
        return Some(PathMatch::GrpcMethod { service: None, method: None });
    };
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (match_type.as_deref(), said(service), said(method)) {
        // Nothing is asked of either: every method.
        (_, None, None) => Some(PathMatch::GrpcMethod { service: None, method: None }),
        (None | Some("Exact"), service, method) => {
            Some(PathMatch::GrpcMethod { service: service.map(Into::into), method: method.map(Into::into) })
        }
        (Some("RegularExpression"), service, method) => {
            let [service, method] = [service, method].map(|part| part.unwrap_or(ANY.into()));
            Some(PathMatch::Regex(format!("/(?:{service})/(?:{method})").into()))
        }
        (Some(_), ..) => None,
    }
}
