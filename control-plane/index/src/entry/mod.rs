//! What the index keeps of each object: parsed, named, and as small as the lookups allow. One kind per file; nothing here
//! looks at a second object.

mod filters;
mod grant;
mod grpc;
mod namespace;
mod node;
mod pod;
mod route;
mod rules;
mod service;
mod session;
mod slice;

pub(crate) use grant::GrantEntry;
pub(crate) use namespace::NamespaceEntry;
pub(crate) use node::NodeEntry;
pub(crate) use pod::PodEntry;
pub(crate) use route::{Acceptance, Parent, RefFault, RouteEntry};
pub(crate) use service::{ServiceEntry, ServicePortEntry};
pub(crate) use slice::{SliceEndpointEntry, SliceEntry, SlicePod};
