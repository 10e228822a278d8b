//! Pure route tables: which rule a request takes, to which backend, with which edits.
//!
//! Owns the meaning of matches, precedence, weights and filters. Called by the proxy (per request), by the control
//! plane (to judge a route before it writes a status) and by `minimesh explain`. Never does input or output, never asks for the
//! time or for randomness, and never rewrites what it compares.
//!
//! ```text
//! RouteTable::compile   once per snapshot: regexes, lower-cased names, cumulated weights, rendered header lines
//! RouteTable::select    per request: the first candidate, in order of precedence, that does not mismatch
//! Rule::pick_backend    per request: one multiplication and one binary search
//! RouteTable::trace     for people: why each candidate did or did not match
//! ```
//!
//! # What is compared, and what is not normalised
//!
//! The path is compared byte for byte as it was received, without the query. Nothing is normalised: `%61` is not `a`, `//`
//! is not `/`, `/a/../b` is not `/b`, case counts. A proxy that rewrites what it compares, while the application reads
//! something else, opens holes; and one that forwards what it rewrote changes the application's data. So a route is a way
//! to send traffic somewhere, never a lock: `/public/../admin` takes the rule for `/public`, and whatever the application
//! makes of it is decided there.
//!
//! * A prefix is compared by path element: `/a` and `/a/` both match `/a`, `/a/` and `/a/b`, not `/ab`. The prefix `/`
//!   matches everything, `*` of `OPTIONS *` and the authority of CONNECT included.
//! * Header values of one name that came in several lines are joined by a comma (RFC 9110 section 5.3).
//! * Query parameters are the one thing that is decoded, and only for the comparison: pairs are split at `&`, name and value
//!   at the first `=`; `+` is a space, `%XX` its byte, and a `%` that begins no such triple stands for itself. The first
//!   parameter of a name counts.
//! * A regular expression must match the whole path or value.

mod backends;
mod compile;
mod cors;
mod error;
mod explain;
mod filters;
mod matching;
mod query;
mod request;
mod rewrite;
mod rule;
mod scratch;
mod table;

pub use cors::{Cors, Field};
pub use error::CompileError;
pub use explain::{Step, Verdict};
pub use filters::{Filters, HeaderEdits, HeaderLine, Mirror};
pub use request::{Headers, RequestView};
pub use rewrite::{PathEdit, Redirect, Rewrite};
pub use rule::{Backend, Rule};
pub use table::{RouteTable, Selection};
