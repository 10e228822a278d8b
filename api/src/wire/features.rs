//! What a proxy understands beyond version 1's base, and how what it does not understand is kept from it.
//!
//! A target for a proxy that lacks a feature says "not understood" where the feature is used, in the words of the base: the
//! rule is then answered 500 `unsupported_by_proxy`. Leaving the part out would change what the rule means.

use std::sync::Arc;

use crate::model::{Filter, HttpMatch, HttpRule, PathMatch, Target};

/// What this build understands beyond version 1's base.
pub const FEATURES: &[&str] = &["cors", "grpc_method", "mirror", "redirect", "retry", "rewrite", "session"];

/// A set of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Features(u16);

impl Features {
    /// Those that a hello announces; words that this build does not know mean nothing to it.
    pub fn of(words: &[Arc<str>]) -> Features {
        let index = |word: &Arc<str>| FEATURES.iter().position(|known| **known == **word);
        Features(words.iter().filter_map(index).fold(0, |set, index| set | 1 << index))
    }

    fn has(self, word: &str) -> bool {
        FEATURES.iter().position(|known| *known == word).is_some_and(|index| self.0 & (1 << index) != 0)
    }

    /// Says "not understood" wherever `target` uses what is not in the set.
    pub fn restrict(self, target: &mut Target) {
        let Target::Service(service) = target else { return };
        for rule in service.http_routes.iter_mut().flat_map(|route| &mut route.rules) {
            self.restrict_rule(rule);
        }
    }

    fn restrict_rule(self, rule: &mut HttpRule) {
        let is_grpc = |one: &HttpMatch| matches!(one, HttpMatch::All { path: PathMatch::GrpcMethod { .. }, .. });
        for one in rule.matches.iter_mut().filter(|one| is_grpc(one) && !self.has("grpc_method")) {
            *one = HttpMatch::Unsupported;
        }
        let retry = rule.retry.take_if(|_| !self.has("retry")).is_some();
        let session = rule.session.take_if(|_| !self.has("session")).is_some();
        if retry || session {
            rule.filters.push(Filter::Unsupported);
        }
        let shares = rule.backends.iter_mut().flat_map(|backend| &mut backend.filters);
        for filter in rule.filters.iter_mut().chain(shares) {
            if word(filter).is_some_and(|word| !self.has(word)) {
                *filter = Filter::Unsupported;
            }
        }
    }
}

/// The feature that a filter is; `None`: of the base.
fn word(filter: &Filter) -> Option<&'static str> {
    match filter {
        Filter::Cors(_) => Some("cors"),
        Filter::Mirror(_) => Some("mirror"),
        Filter::Redirect(_) => Some("redirect"),
        Filter::Rewrite(_) => Some("rewrite"),
        Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Unsupported => None,
    }
}
