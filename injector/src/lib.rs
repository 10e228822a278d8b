//! Gives pods their sidecar.
//!
//! ```text
//! core, pure: JSON in, JSON out. `minimesh inject` uses it too
//!   inject.rs      a pod, with its sidecar; or why not
//!   containers.rs  what is added
//!   environment.rs annotations as environment variables
//!   resources.rs   requests and limits of what is added
//!   application.rs what is changed of the application: its tcpSocket probes, its end
//!   patch.rs       the difference of two documents as a JSON patch
//!   review.rs      AdmissionReview in, AdmissionReview out
//! around it
//!   namespace.rs   what the API server says of a pod's namespace
//!   authority.rs   the webhook's own certificate
//!   serve.rs       HTTPS
//!   seats.rs       which connection goes when there are too many
//!   app.rs         the life of the process
//! ```
//!
//! Reads the cluster and changes nothing in it but its own Secret and its own webhook configuration's `caBundle`. What it is
//! sent is judged and never believed: a broken Pod is refused in words and harms nobody else.

mod app;
mod application;
mod args;
mod authority;
mod containers;
mod environment;
mod inject;
mod metrics;
mod namespace;
mod patch;
mod resources;
mod review;
mod seats;
mod serve;
mod settings;

pub use app::{Error, run};
pub use args::Args;
pub use containers::{REDIRECT, SIDECAR, USER};
pub use inject::{Outcome, Quota, Refusal, Skip, Surroundings, inject, is_injected};
pub use minimesh_api::injection::{Inject, LABEL, NotWanted, wanted};
pub use namespace::ReadError;
pub use namespace::read as read_namespace;
pub use patch::difference;
pub use settings::Settings;
