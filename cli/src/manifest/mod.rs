//! Manifests that pass through: `minimesh inject` and `uninject`.
//!
//! ```text
//! stream.rs    a stream of documents, YAML or JSON, in and out
//! edit.rs      a changed value, as a change of the text that it was read from: comments and layout stay
//! workload.rs  an object with a pod template, what is done to it, and what is said of it
//! ```
//!
//! Pure, but for reading what was named. Must never write to a cluster.

mod edit;
pub(crate) mod stream;
pub(crate) mod workload;
