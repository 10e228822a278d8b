//! The Kubernetes objects that the mesh honours, cut down to the fields that it reads: one kind per file.
//!
//! Read from manifests or watched from the API server, and written by the demo's kubelet; therefore each type reads and
//! writes the real field names. Unknown fields are ignored as the API server prunes them. Nothing here looks at a second
//! object: joins live in `link`.

mod absent;
mod deployment;
mod endpoint_slice;
mod grpc_route;
mod http_route;
mod int_or_string;
mod metadata;
mod namespace;
mod node;
mod object;
mod pod;
mod reference_grant;
mod route_filter;
mod service;
mod service_account;
mod session;
mod timestamp;

pub use deployment::{Deployment, DeploymentSpec, LabelSelector, PodTemplate, TemplateMetadata};
pub use endpoint_slice::{
    AddressType, EndpointConditions, EndpointHints, EndpointSlice, Hint, SliceEndpoint, SlicePort, TargetRef,
};
pub use grpc_route::{GrpcMethodMatch, GrpcRoute, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec};
pub use http_route::{
    HttpPathMatch, HttpRoute, HttpRouteBackend, HttpRouteMatch, HttpRouteRetry, HttpRouteRule, HttpRouteSpec,
    HttpRouteTimeouts, HttpValueMatch, ParentRef,
};
pub use int_or_string::IntOrString;
pub use metadata::{Metadata, OwnerReference};
pub use namespace::Namespace;
pub use node::{Cidr, Node, NodeAddress, NodeSpec, NodeStatus};
pub use object::{Event, Kind, Object, ObjectKey};
pub use pod::{
    Container, ContainerPort, EnvVar, EnvVarSource, FieldRef, GrpcAction, HostIp, HttpGetAction, Pod, PodCondition,
    PodIp, PodSpec, PodStatus, Probe, TcpSocketAction,
};
pub use reference_grant::{ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo};
pub use route_filter::{
    Fraction, HttpCorsFilter, HttpHeader, HttpHeaderFilter, HttpMirrorFilter, HttpPathModifier, HttpRedirectFilter,
    HttpRewriteFilter, HttpRouteFilter,
};
pub use service::{
    ClientIpConfig, ClusterIp, LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec,
    ServiceStatus, SessionAffinityConfig,
};
pub use service_account::ServiceAccount;
pub use session::{CookieConfig, HeaderConfig, SessionPersistence};
pub use timestamp::Timestamp;
