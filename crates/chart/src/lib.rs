//! Renders a Helm chart as Helm would, so that `minimesh install` needs no Helm and there is one source of the manifests.
//!
//! ```text
//! chart.rs      files of a chart; a release of it; Helm's order of objects
//! values.rs     defaults, files and --set, merged as Helm merges them
//! lex.rs        text and actions -> tokens
//! parse.rs      tokens -> templates
//! execute.rs    templates and data -> text
//! functions.rs  the functions that templates may call
//! yaml.rs       values -> block YAML
//! ```
//!
//! It knows the part of Go's text/template, and of Sprig's and Helm's functions, that our chart uses, and says by name what it does
//! not know: never a silent difference. tests/chart.rs of the tests crate compares with the real Helm. Pure.

mod chart;
mod execute;
mod functions;
mod lex;
mod parse;
mod values;
pub mod yaml;

pub use chart::{Chart, Manifest, Release};
pub use values::{merge, parse_yaml, set, unknown};

/// Why a chart is not rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// In a template.
    #[error("{file}:{line}: {reason}")]
    Template {
        /// Path in the chart.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A value is not what it should be.
    #[error("{0}")]
    Value(String),
    /// A file is no YAML.
    #[error("{file}: {reason}")]
    Yaml {
        /// Path.
        file: String,
        /// What is wrong.
        reason: String,
    },
}
