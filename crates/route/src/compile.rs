//! From validated routes to a table: everything that can be done once is done here.

use std::time::Duration;

use minimesh_api::model::{
    HttpMatch, HttpRoute, HttpRule, ObjectRef, PathMatch, RuleOrder, StringMatch, Timeouts, WeightedBackend,
};
use regex::bytes::{Regex, RegexBuilder};

use crate::backends::{Registry, Weights};
use crate::error::{CompileError, Place};
use crate::filters::{self, Filters};
use crate::matching::{Conditions, Path, Text};
use crate::rule::{Backend, Rule, Unsupported};
use crate::table::{Candidate, RouteTable};

/// Compiled size of one regular expression. An idle sidecar has 6 MiB in all.
const REGEX_LIMIT: usize = 256 * 1024;

pub(crate) fn table(routes: &[HttpRoute]) -> Result<RouteTable, CompileError> {
    let mut compiler = Compiler::default();
    for (index, route) in routes.iter().enumerate() {
        compiler.route(route, &Place::root("http_routes", index))?;
    }
    // stable: ties keep the order given, of routes, then rules, then matches
    compiler.specific.sort_by_key(|candidate| candidate.conditions.as_ref().map(Conditions::rank));
    let mut candidates = compiler.written;
    candidates.append(&mut compiler.specific);
    let matches_nothing = |rule: &Rule| rule.unsupported.is_some_and(Unsupported::matches_nothing);
    let unmatched = compiler.rules.iter().position(matches_nothing);
    Ok(RouteTable { rules: compiler.rules, candidates, backends: compiler.backends.list, unmatched })
}

#[derive(Default)]
struct Compiler {
    rules: Vec<Rule>,
    written: Vec<Candidate>,
    specific: Vec<Candidate>,
    backends: Registry,
}

impl Compiler {
    fn route(&mut self, route: &HttpRoute, place: &Place<'_>) -> Result<(), CompileError> {
        for (index, source) in route.rules.iter().enumerate() {
            let place = place.item("rules", index);
            let rule = self.rule(&route.object, index, source, &place)?;
            let ignored = rule.unsupported.is_some_and(Unsupported::matches_nothing);
            let number = self.rules.len();
            self.rules.push(rule);
            for (alternative, one) in source.matches.iter().enumerate() {
                let compiled = conditions(one, &place.item("matches", alternative))?;
                let conditions = compiled.filter(|_| !ignored);
                let candidate = Candidate { rule: number, alternative, conditions };
                match route.order {
                    RuleOrder::Specificity => self.specific.push(candidate),
                    RuleOrder::Written => self.written.push(candidate),
                }
            }
        }
        Ok(())
    }

    fn rule(
        &mut self,
        object: &ObjectRef,
        index: usize,
        source: &HttpRule,
        place: &Place<'_>,
    ) -> Result<Rule, CompileError> {
        let mut filters = Filters::default();
        let mut understood = filters.extend(&source.filters, &mut self.backends, place)?;
        let mut backends = Vec::with_capacity(source.backends.len());
        for (position, weighted) in source.backends.iter().enumerate() {
            let (backend, known) = self.backend(weighted, &filters, &place.item("backends", position))?;
            understood &= known;
            backends.push(backend);
        }
        let shares = backends.iter().map(|backend| &backend.filters);
        if std::iter::once(&filters).chain(shares).any(Filters::needs_prefix) {
            only_prefixes(&source.matches, place)?;
        }
        let unsupported = if source.matches.contains(&HttpMatch::Unsupported) {
            Some(Unsupported::Match)
        } else {
            (!understood).then_some(Unsupported::Filter)
        };
        Ok(Rule {
            object: object.clone(),
            index,
            name: source.name.clone(),
            timeouts: limits(source.timeouts),
            retry: source.retry.clone(),
            session: source.session.clone(),
            filters,
            weights: Weights::new(backends.iter().map(|backend| backend.weight)),
            backends,
            unsupported,
        })
    }

    fn backend(
        &mut self,
        weighted: &WeightedBackend,
        rule: &Filters,
        place: &Place<'_>,
    ) -> Result<(Backend, bool), CompileError> {
        let mut filters = rule.clone();
        let understood = filters.extend(&weighted.filters, &mut self.backends, place)?;
        let reference = weighted.backend.clone();
        let index = self.backends.index(&reference);
        Ok((Backend { reference, filters, weight: weighted.weight, index }, understood))
    }
}

/// Gateway API HTTPPathModifier: only what found a prefix can say what is replaced.
fn only_prefixes(matches: &[HttpMatch], place: &Place<'_>) -> Result<(), CompileError> {
    let is_prefix =
        |one: &HttpMatch| matches!(one, HttpMatch::All { path: PathMatch::Prefix(_), .. } | HttpMatch::Unsupported);
    match matches.iter().position(|one| !is_prefix(one)) {
        None => Ok(()),
        Some(index) => {
            let place = place.item("matches", index);
            Err(place.field("path").error("is no prefix, which a filter of the rule (replacePrefixMatch) replaces"))
        }
    }
}

/// `None`: not understood.
fn conditions(source: &HttpMatch, place: &Place<'_>) -> Result<Option<Conditions>, CompileError> {
    let HttpMatch::All { path, headers, query, method } = source else { return Ok(None) };
    let mut compiled = Conditions {
        method: method.as_deref().map(Into::into),
        path: path_condition(path, &place.field("path"))?,
        headers: Vec::with_capacity(headers.len()),
        query: Vec::with_capacity(query.len()),
    };
    for (index, header) in headers.iter().enumerate() {
        let place = place.item("headers", index);
        let name = filters::token(&header.name, &place.field("name"))?;
        add_first(&mut compiled.headers, name, text(&header.value, &place.field("value"))?);
    }
    for (index, parameter) in query.iter().enumerate() {
        let place = place.item("query", index);
        if parameter.name.is_empty() {
            return Err(place.field("name").error("is empty"));
        }
        add_first(&mut compiled.query, (&*parameter.name).into(), text(&parameter.value, &place.field("value"))?);
    }
    Ok(Some(compiled))
}

fn path_condition(source: &PathMatch, place: &Place<'_>) -> Result<Path, CompileError> {
    let rooted = |path: &str| {
        path.starts_with('/').then_some(()).ok_or_else(|| place.error(format!("{path:?} does not begin with a slash")))
    };
    match source {
        PathMatch::Exact(path) => rooted(path).map(|()| Path::Exact((&**path).into())),
        PathMatch::GrpcMethod { service, method } => {
            let name = |name: &Option<std::sync::Arc<str>>| name.as_deref().map(Into::into);
            Ok(Path::GrpcMethod { service: name(service), method: name(method) })
        }
        PathMatch::Prefix(path) => rooted(path).map(|()| Path::Prefix(path.strip_suffix('/').unwrap_or(path).into())),
        PathMatch::Regex(pattern) => Ok(Path::Regex(anchored(pattern, place)?, pattern.chars().count())),
    }
}

fn text(source: &StringMatch, place: &Place<'_>) -> Result<Text, CompileError> {
    match source {
        StringMatch::Exact(value) => Ok(Text::Exact((&**value).into())),
        StringMatch::Regex(pattern) => Ok(Text::Regex(anchored(pattern, place)?)),
    }
}

/// Compiled alone first, so that no pattern is valid only because of what surrounds it (`a)(?:b`).
fn anchored(pattern: &str, place: &Place<'_>) -> Result<Regex, CompileError> {
    let build = |pattern: &str| {
        let reason = |error: regex::Error| place.error(format!("is no regular expression that can be used: {error}"));
        RegexBuilder::new(pattern).size_limit(REGEX_LIMIT).dfa_size_limit(REGEX_LIMIT).build().map_err(reason)
    };
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

/// Of several conditions on one name the first counts (Gateway API HTTPHeaderMatch and HTTPQueryParamMatch).
fn add_first(list: &mut Vec<(Box<str>, Text)>, name: Box<str>, text: Text) {
    if !list.iter().any(|(other, _)| *other == name) {
        list.push((name, text));
    }
}

fn limits(source: Timeouts) -> Timeouts {
    let some = |limit: Option<Duration>| limit.filter(|limit| !limit.is_zero());
    Timeouts { request: some(source.request), backend_request: some(source.backend_request) }
}
