//! The pure index: events about Kubernetes objects go in, what each proxy must be told comes out.
//!
//! ```text
//! source (folder, later Kubernetes) -- Event --> Index::apply -> Changes      which answers may differ now
//! discovery                        <- lookups -- Index::{target, endpoints, port, workload, pod, …}
//! ```
//!
//! No clock, no network, no tokio: the answer to a lookup depends on the objects that are there and on nothing else, neither
//! on the order in which they came nor on what was there before.

mod annotations;
mod changes;
mod index;
mod link;
pub mod resource;
mod status;

pub use changes::Changes;
pub use index::{Index, Settings};
pub use link::PodInfo;
pub use resource::{Event, Kind, Object, ObjectKey};
pub use status::{Condition, ParentStatus, RouteStatus};
