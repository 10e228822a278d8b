//! Messages between linkerd2-proxy and its control plane, by hand: of each, the fields that are set or read here and no other.
//!
//! Numbers and types are those of its API (`linkerd2-proxy-api`, packages `io.linkerd.proxy.*`). Of alternatives (`oneof`)
//! the one that is used stands as an optional field, which is the same in bytes.

use std::collections::BTreeMap;

/// `identity.CertifyResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Certified {
    /// DER.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) leaf: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub(super) valid_until: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Duration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// `net.IPAddress`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IpAddress {
    #[prost(fixed32, optional, tag = "1")]
    pub(super) v4: Option<u32>,
}

/// `net.IPNetwork`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IpNetwork {
    #[prost(message, optional, tag = "1")]
    pub(super) address: Option<IpAddress>,
    #[prost(uint32, tag = "2")]
    pub(super) prefix: u32,
}

/// `net.TcpAddress`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TcpAddress {
    #[prost(message, optional, tag = "1")]
    pub(super) address: Option<IpAddress>,
    #[prost(uint32, tag = "2")]
    pub(super) port: u32,
}

/// `meta.Metadata`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    /// `default`: what is there without anybody's resource.
    #[prost(string, optional, tag = "1")]
    pub(super) built_in: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(super) resource: Option<Resource>,
}

/// `meta.Resource`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Resource {
    #[prost(string, tag = "1")]
    pub(super) group: String,
    #[prost(string, tag = "2")]
    pub(super) kind: String,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) namespace: String,
    #[prost(uint32, tag = "6")]
    pub(super) port: u32,
}

/// `destination.GetDestination`: what both methods of `Destination` are asked with.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetDestination {
    /// Name or address, and port.
    #[prost(string, tag = "2")]
    pub(super) path: String,
}

/// `destination.Update`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Update {
    #[prost(message, optional, tag = "1")]
    pub(super) add: Option<WeightedAddresses>,
}

/// `destination.WeightedAddrSet`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WeightedAddresses {
    #[prost(message, repeated, tag = "1")]
    pub(super) addresses: Vec<WeightedAddress>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(super) labels: BTreeMap<String, String>,
}

/// `destination.WeightedAddr`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WeightedAddress {
    #[prost(message, optional, tag = "1")]
    pub(super) address: Option<TcpAddress>,
    #[prost(uint32, tag = "3")]
    pub(super) weight: u32,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(message, optional, tag = "5")]
    pub(super) identity: Option<TlsIdentity>,
    #[prost(message, optional, tag = "6")]
    pub(super) hint: Option<ProtocolHint>,
}

/// `destination.TlsIdentity`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TlsIdentity {
    #[prost(message, optional, tag = "1")]
    pub(super) dns_like: Option<DnsLikeIdentity>,
    #[prost(message, optional, tag = "4")]
    pub(super) server_name: Option<DnsLikeIdentity>,
}

/// `destination.TlsIdentity.DnsLikeIdentity`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DnsLikeIdentity {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// `destination.ProtocolHint`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ProtocolHint {
    /// The proxy there takes HTTP/1 as HTTP/2.
    #[prost(message, optional, tag = "1")]
    pub(super) h2: Option<()>,
    #[prost(message, optional, tag = "3")]
    pub(super) opaque: Option<()>,
    #[prost(message, optional, tag = "2")]
    pub(super) opaque_transport: Option<OpaqueTransport>,
}

/// `destination.ProtocolHint.OpaqueTransport`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OpaqueTransport {
    #[prost(uint32, tag = "1")]
    pub(super) inbound_port: u32,
}

/// `destination.DestinationProfile`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Profile {
    #[prost(bool, tag = "4")]
    pub(super) opaque: bool,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(message, optional, tag = "7")]
    pub(super) parent: Option<Metadata>,
}

/// `inbound.PortSpec`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PortSpec {
    #[prost(uint32, tag = "2")]
    pub(super) port: u32,
}

/// `inbound.Server`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Server {
    #[prost(message, optional, tag = "1")]
    pub(super) protocol: Option<InboundProtocol>,
    #[prost(message, repeated, tag = "3")]
    pub(super) authorizations: Vec<Authorization>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(super) labels: BTreeMap<String, String>,
}

/// `inbound.ProxyProtocol`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InboundProtocol {
    #[prost(message, optional, tag = "1")]
    pub(super) detect: Option<InboundDetect>,
    #[prost(message, optional, tag = "2")]
    pub(super) opaque: Option<()>,
}

/// `inbound.ProxyProtocol.Detect`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InboundDetect {
    #[prost(message, optional, tag = "1")]
    pub(super) timeout: Option<Duration>,
    #[prost(message, repeated, tag = "3")]
    pub(super) routes: Vec<InboundRoute>,
}

/// `inbound.HttpRoute`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InboundRoute {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
    #[prost(message, repeated, tag = "4")]
    pub(super) rules: Vec<InboundRule>,
}

/// `inbound.HttpRoute.Rule`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InboundRule {
    #[prost(message, repeated, tag = "1")]
    pub(super) matches: Vec<RouteMatch>,
}

/// `inbound.Authz`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Authorization {
    #[prost(message, repeated, tag = "1")]
    pub(super) networks: Vec<Network>,
    #[prost(message, optional, tag = "2")]
    pub(super) authentication: Option<Authentication>,
    #[prost(message, optional, tag = "4")]
    pub(super) metadata: Option<Metadata>,
}

/// `inbound.Network`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Network {
    #[prost(message, optional, tag = "1")]
    pub(super) network: Option<IpNetwork>,
}

/// `inbound.Authn`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Authentication {
    #[prost(message, optional, tag = "2")]
    pub(super) mesh_tls: Option<MeshTls>,
}

/// `inbound.Authn.PermitMeshTLS`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MeshTls {
    #[prost(message, optional, tag = "2")]
    pub(super) identities: Option<ClientIdentities>,
}

/// `inbound.Authn.PermitMeshTLS.PermitClientIdentities`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ClientIdentities {
    #[prost(message, repeated, tag = "1")]
    pub(super) identities: Vec<Identity>,
}

/// `inbound.Identity`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Identity {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// `http_route.HttpRouteMatch`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RouteMatch {
    #[prost(message, optional, tag = "1")]
    pub(super) path: Option<PathMatch>,
}

/// `http_route.PathMatch`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PathMatch {
    #[prost(string, optional, tag = "2")]
    pub(super) prefix: Option<String>,
}

/// `outbound.TrafficSpec`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TrafficSpec {
    #[prost(message, optional, tag = "2")]
    pub(super) address: Option<TcpAddress>,
}

/// `outbound.OutboundPolicy`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OutboundPolicy {
    #[prost(message, optional, tag = "1")]
    pub(super) protocol: Option<OutboundProtocol>,
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<Metadata>,
}

/// `outbound.ProxyProtocol`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OutboundProtocol {
    #[prost(message, optional, tag = "1")]
    pub(super) detect: Option<OutboundDetect>,
    #[prost(message, optional, tag = "2")]
    pub(super) opaque: Option<OpaqueRoutes>,
}

/// `outbound.ProxyProtocol.Detect`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OutboundDetect {
    #[prost(message, optional, tag = "1")]
    pub(super) timeout: Option<Duration>,
    #[prost(message, optional, tag = "2")]
    pub(super) opaque: Option<OpaqueRoutes>,
    #[prost(message, optional, tag = "3")]
    pub(super) http1: Option<HttpRoutes>,
    #[prost(message, optional, tag = "4")]
    pub(super) http2: Option<HttpRoutes>,
}

/// `outbound.ProxyProtocol.Http1` and `Http2`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpRoutes {
    #[prost(message, repeated, tag = "1")]
    pub(super) routes: Vec<HttpRoute>,
}

/// `outbound.HttpRoute`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpRoute {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
    #[prost(message, repeated, tag = "3")]
    pub(super) rules: Vec<HttpRule>,
}

/// `outbound.HttpRoute.Rule`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpRule {
    #[prost(message, repeated, tag = "1")]
    pub(super) matches: Vec<RouteMatch>,
    #[prost(message, optional, tag = "3")]
    pub(super) backends: Option<Distribution>,
}

/// `outbound.ProxyProtocol.Opaque`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OpaqueRoutes {
    #[prost(message, repeated, tag = "1")]
    pub(super) routes: Vec<OpaqueRoute>,
}

/// `outbound.OpaqueRoute`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OpaqueRoute {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
    #[prost(message, repeated, tag = "3")]
    pub(super) rules: Vec<OpaqueRule>,
}

/// `outbound.OpaqueRoute.Rule`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OpaqueRule {
    #[prost(message, optional, tag = "1")]
    pub(super) backends: Option<Distribution>,
}

/// `outbound.HttpRoute.Distribution` and `outbound.OpaqueRoute.Distribution`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Distribution {
    #[prost(message, optional, tag = "2")]
    pub(super) first_available: Option<RouteBackends>,
}

/// `Distribution.FirstAvailable`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RouteBackends {
    #[prost(message, repeated, tag = "1")]
    pub(super) backends: Vec<RouteBackend>,
}

/// `outbound.HttpRoute.RouteBackend` and `outbound.OpaqueRoute.RouteBackend`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RouteBackend {
    #[prost(message, optional, tag = "1")]
    pub(super) backend: Option<Backend>,
}

/// `outbound.Backend`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Backend {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "3")]
    pub(super) balancer: Option<Balancer>,
    #[prost(message, optional, tag = "4")]
    pub(super) queue: Option<Queue>,
}

/// `outbound.Backend.BalanceP2c`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Balancer {
    #[prost(message, optional, tag = "1")]
    pub(super) discovery: Option<Discovery>,
    #[prost(message, optional, tag = "2")]
    pub(super) peak_ewma: Option<PeakEwma>,
}

/// `outbound.Backend.EndpointDiscovery`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Discovery {
    #[prost(message, optional, tag = "1")]
    pub(super) destination: Option<DestinationPath>,
}

/// `outbound.Backend.EndpointDiscovery.DestinationGet`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DestinationPath {
    #[prost(string, tag = "1")]
    pub(super) path: String,
}

/// `outbound.Backend.BalanceP2c.PeakEwma`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PeakEwma {
    #[prost(message, optional, tag = "1")]
    pub(super) default_round_trip: Option<Duration>,
    #[prost(message, optional, tag = "2")]
    pub(super) decay: Option<Duration>,
}

/// `outbound.Queue`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Queue {
    #[prost(uint32, tag = "1")]
    pub(super) capacity: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) failfast_timeout: Option<Duration>,
}
