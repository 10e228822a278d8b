//! Wire to model and back. Nothing else names protobuf types.
//!
//! Called by the proxy's control thread, the control plane and the CLI. Each protobuf message has a `TryFrom` into its
//! model type, which checks everything and answers [`Invalid`] with the path of the offending field, and a `From` out of it,
//! which cannot fail. Rules (mesh.proto's head): what this version does not understand becomes `HttpMatch::Unsupported` in a
//! match, `Filter::Unsupported` in a filter, `DefaultPolicy::Deny` in a policy, and [`Invalid`] everywhere else; only hints
//! are dropped. A conversion never panics, never does input or output, and never keeps more than the bounds in `field`.
//!
//! A *new field* in a message that exists (protobuf drops it unseen) must therefore come with a word in `Hello.features`:
//! what a proxy did not announce is not sent to it.

mod assembly;
mod certify;
mod endpoint;
mod features;
mod field;
mod filter;
mod identities;
mod invalid;
mod key;
mod policy;
mod report;
mod retry;
mod route;
mod target;
mod version;
mod watch;

pub use assembly::{Assembly, EndpointsChange};
pub use certify::{Certified, Certify};
pub use features::{FEATURES, Features};
pub use invalid::Invalid;
pub use report::Report;
pub use version::version;
pub use watch::{EndpointsPart, Hello, Request, Response, State, Update, UpdateHead};

/// Version of the protocol, in `Hello.version`.
pub const PROTOCOL_VERSION: u32 = 1;

/// Encoded size above which endpoints are split into chunks.
pub const CHUNK_BYTES: usize = 256 * 1024;
