//! The validated model: what the parts of the mesh think in.
//!
//! Immutable, `Send + Sync`, compared as whole values. A value that exists is valid: the only ways in are the constructors
//! here and `wire`, which refuses what the protocol does not allow.

mod endpoint;
mod identities;
mod policy;
mod report;
mod route;
mod target;

pub use endpoint::{Endpoint, EndpointState, Endpoints, EndpointsDelta, PlaintextReason, Transport, WorkloadRef};
pub use identities::{AuthorityCertificate, HeldCertificate, Identities, RotationPhase};
pub use policy::{DefaultPolicy, HttpProbe, PortPolicy, TrustBundle, Workload};
pub use report::{Direction, EdgeKey, EdgeProtocol, EdgeReport, ReportedEdge, Security};
pub use route::{
    BackendRef, Cors, Filter, Header, HeaderMatch, HeaderModifier, HttpMatch, HttpRoute, HttpRule, Mirror, ObjectRef,
    PathMatch, PathModifier, QueryMatch, Redirect, Retry, Rewrite, RuleOrder, Scheme, Session, SessionKind,
    StringMatch, Timeouts, WeightedBackend,
};
pub use target::{BackendKey, PassthroughReason, Protocol, ResourceKey, ServiceTarget, Target};
