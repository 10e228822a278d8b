//! The table: candidates in order of precedence, the first that matches wins.

use minimesh_api::model::{BackendRef, HttpRoute, ObjectRef};

use crate::compile;
use crate::error::CompileError;
use crate::explain::{Step, Verdict};
use crate::matching::Conditions;
use crate::request::RequestView;
use crate::rule::{Rule, Unsupported};

/// All routes attached to one target. Immutable and `Send + Sync`.
#[derive(Clone, Debug)]
pub struct RouteTable {
    pub(crate) rules: Vec<Rule>,
    /// In order of precedence; those of rules that match nothing are kept apart from the others, for `trace`.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) backends: Vec<BackendRef>,
    /// The first rule that matches nothing because it has a match that is not understood.
    pub(crate) unmatched: Option<usize>,
}

/// One match of one rule.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) rule: usize,
    pub(crate) alternative: usize,
    /// `None`: its rule matches nothing.
    pub(crate) conditions: Option<Conditions>,
}

/// What a table says about a request.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'t> {
    /// No routes are attached: the target's own endpoints.
    DefaultBackend,
    /// 404 `no_route`.
    NoMatch,
    /// This rule.
    Rule {
        /// Which.
        rule: &'t Rule,
        /// How many bytes of the path its match found as a prefix, for [`crate::PathEdit::apply`].
        prefix: usize,
    },
    /// 500 `unsupported_by_proxy`: a match or filter of this route is not understood.
    Unsupported(&'t ObjectRef),
}

impl RouteTable {
    /// Compiles `routes`, given in order of precedence (oldest first, then namespace and name).
    ///
    /// Rules of routes whose order is [`RuleOrder::Written`] are asked first, as written; then all rules of all other
    /// routes compete as one (Gateway API precedence, see [`RuleOrder::Specificity`]), ties going to the earlier route and
    /// then to the earlier rule.
    ///
    /// [`RuleOrder::Written`]: minimesh_api::model::RuleOrder::Written
    /// [`RuleOrder::Specificity`]: minimesh_api::model::RuleOrder::Specificity
    pub fn compile(routes: &[HttpRoute]) -> Result<RouteTable, CompileError> {
        compile::table(routes)
    }

    /// Whether no rules are attached at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Every distinct backend; [`crate::Backend::index`] points here.
    pub fn backends(&self) -> &[BackendRef] {
        &self.backends
    }

    /// All rules, in the order given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule that a request takes. Allocates nothing.
    pub fn select(&self, request: &RequestView<'_>) -> Selection<'_> {
        let matches = |candidate: &&Candidate| {
            candidate.conditions.as_ref().is_some_and(|conditions| conditions.mismatch(request).is_none())
        };
        if let Some(candidate) = self.candidates.iter().find(matches) {
            let rule = &self.rules[candidate.rule];
            return match rule.unsupported {
                None => {
                    let prefix = candidate.conditions.as_ref().map_or(0, Conditions::prefix);
                    Selection::Rule { rule, prefix }
                }
                Some(_) => Selection::Unsupported(&rule.object),
            };
        }
        match self.unmatched {
            Some(rule) => Selection::Unsupported(&self.rules[rule].object),
            None if self.is_empty() => Selection::DefaultBackend,
            None => Selection::NoMatch,
        }
    }

    /// What was tried, in order, and why each was taken or not. Agrees with [`RouteTable::select`].
    pub fn trace(&self, request: &RequestView<'_>) -> Vec<Step<'_>> {
        let mut selected = false;
        let step = |candidate| {
            let Candidate { rule, alternative, conditions }: &Candidate = candidate;
            let verdict = match conditions.as_ref().map(|conditions| conditions.mismatch(request)) {
                None => Verdict::UnsupportedMatch,
                Some(Some(mismatch)) => mismatch,
                Some(None) if std::mem::replace(&mut selected, true) => Verdict::Shadowed,
                Some(None) => Verdict::Selected,
            };
            Step { rule: &self.rules[*rule], alternative: *alternative, verdict }
        };
        self.candidates.iter().map(step).collect()
    }
}

impl Unsupported {
    pub(crate) fn matches_nothing(self) -> bool {
        self == Unsupported::Match
    }
}
