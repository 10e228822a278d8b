//! Says why: what `minimesh explain` prints about routes.

use std::fmt;

use crate::rule::Rule;

/// One alternative of one rule, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct Step<'t> {
    /// The rule.
    pub rule: &'t Rule,
    /// Which of its matches.
    pub alternative: usize,
    /// What came of it.
    pub verdict: Verdict<'t>,
}

/// Why an alternative was taken or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'t> {
    /// This header is missing or has another value.
    Header(&'t str),
    /// The method differs.
    Method,
    /// The path differs.
    Path,
    /// This query parameter is missing or has another value.
    Query(&'t str),
    /// It is the first that matches.
    Selected,
    /// It would match, but one before it did.
    Shadowed,
    /// The rule has a match that this version does not understand, so the rule matches nothing.
    UnsupportedMatch,
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Header(name) => write!(f, "header {name} is missing or differs"),
            Verdict::Method => f.write_str("the method differs"),
            Verdict::Path => f.write_str("the path differs"),
            Verdict::Query(name) => write!(f, "query parameter {name} is missing or differs"),
            Verdict::Selected => f.write_str("selected"),
            Verdict::Shadowed => f.write_str("matches, but a more specific or earlier one did too"),
            Verdict::UnsupportedMatch => f.write_str("has a match that this version does not understand"),
        }
    }
}
