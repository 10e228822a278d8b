//! The pure index: events about Kubernetes objects go in, what each proxy must be told comes out.
//!
//! ```text
//! source (folder or Kubernetes) ------- Event --> Index::apply -> Changes      which answers may differ now
//! discovery                        <- lookups -- Index::{target, endpoints, port, workload, pod, …}
//!
//! resource    the objects, as Kubernetes writes them
//! entry       what is kept of each, parsed: one kind per file
//! index       the entries by name, and who refers to whom
//! link        lookups: the only place that joins kinds; place: which endpoints are for whom
//! ```
//!
//! No clock, no network, no tokio: the answer to a lookup depends on the objects that are there and on nothing else, neither
//! on the order in which they came nor on what was there before. Deployments and ServiceAccounts are taken and not kept: all
//! that matters of them stands in the pods.

mod annotations;
mod changes;
mod duration;
mod entry;
mod index;
mod link;
mod name;
mod place;
mod policy;
mod recording;
pub mod resource;
mod status;
#[cfg(test)]
mod tests;

pub use annotations::{Fault, faults};
pub use changes::Changes;
pub use index::{Index, Settings};
pub use link::PodInfo;
pub use name::Name;
pub use policy::{policy, refusals};
pub use recording::recording;
pub use resource::{Event, Kind, Object, ObjectKey};
pub use status::{Condition, ParentStatus, RouteStatus, Truth};
