//! The contract between control plane and proxies.
//!
//! ```text
//! resource          message (proto/minimesh/v1/mesh.proto)   validated type (model)
//! target            Target                                   model::Target
//! endpoints         Endpoints                                model::Endpoints
//! port              Port                                     model::PortPolicy
//! workload          Workload                                 model::Workload
//! trust             TrustBundle                              model::TrustBundle
//! report            Edge                                     model::EdgeReport
//! ```
//!
//! `wire` turns one into the other and is the only place that names protobuf types, apart from the thin client and server
//! stubs re-exported in [`grpc`]. `annotations` and `injection` are the other contract: what people write on their objects. Nothing
//! here does input or output.

pub mod annotations;
pub mod histogram;
pub mod injection;
pub mod model;
pub mod wire;

/// Generated protobuf types and gRPC stubs of `minimesh.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, rust_2018_idioms)]
pub mod grpc {
    tonic::include_proto!("minimesh.v1");
}
