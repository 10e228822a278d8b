//! Reports: golden metrics per edge, from the proxies and to those who ask.

use std::time::Duration;

use super::{Invalid, field};
use crate::grpc::{self, edge};
use crate::histogram::{BUCKETS, Histogram};
use crate::model::{Direction, EdgeKey, EdgeProtocol, EdgeReport, ReportedEdge, Security};

/// One report of one proxy process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// As in `Hello`.
    pub instance: [u8; 16],
    /// Since the process started.
    pub uptime: Duration,
    /// Cumulative since the process started.
    pub edges: Vec<EdgeReport>,
    /// `edges` has every edge of this process, not only those that changed. A replica that does not know the process takes
    /// only a complete report, and asks for one (`ReportResponse.resend_all`).
    pub complete: bool,
}

impl TryFrom<grpc::ReportRequest> for Report {
    type Error = Invalid;

    fn try_from(value: grpc::ReportRequest) -> Result<Report, Invalid> {
        Ok(Report {
            instance: instance(&value.instance)?,
            uptime: field::duration(field::required(value.uptime, "uptime")?, "uptime")?,
            edges: field::list(value.edges, "edges", field::EDGES)?,
            complete: value.complete,
        })
    }
}

impl From<&Report> for grpc::ReportRequest {
    fn from(value: &Report) -> grpc::ReportRequest {
        grpc::ReportRequest {
            instance: value.instance.to_vec().into(),
            uptime: Some(field::wire_duration(value.uptime)),
            edges: value.edges.iter().map(Into::into).collect(),
            complete: value.complete,
        }
    }
}

/// 16 random bytes that name a process.
pub(super) fn instance(value: &[u8]) -> Result<[u8; 16], Invalid> {
    <[u8; 16]>::try_from(value).map_err(|_| Invalid::new("instance", "not 16 bytes"))
}

impl TryFrom<grpc::Edge> for EdgeReport {
    type Error = Invalid;

    fn try_from(value: grpc::Edge) -> Result<EdgeReport, Invalid> {
        let key = EdgeKey {
            direction: direction(value.direction)?,
            protocol: edge_protocol(value.protocol)?,
            service: field::convert_optional(value.service, "service")?,
            peer: field::convert_optional(value.peer, "peer")?,
            port: u16::try_from(value.port).map_err(|_| Invalid::new("port", "above 65535"))?,
            security: security(field::required(value.security, "security")?)?,
        };
        Ok(EdgeReport {
            key,
            requests: value.requests,
            successes: value.successes,
            failures: value.failures,
            tcp_opened: value.tcp_opened,
            tcp_closed: value.tcp_closed,
            bytes_read: value.bytes_read,
            bytes_written: value.bytes_written,
            latency: field::convert(value.latency, "latency")?,
            added: field::convert(value.added, "added")?,
        })
    }
}

impl From<&EdgeReport> for grpc::Edge {
    fn from(value: &EdgeReport) -> grpc::Edge {
        let direction = match value.key.direction {
            Direction::Inbound => grpc::Direction::Inbound,
            Direction::Outbound => grpc::Direction::Outbound,
        };
        let protocol = match value.key.protocol {
            EdgeProtocol::Http => grpc::EdgeProtocol::Http,
            EdgeProtocol::Tcp => grpc::EdgeProtocol::Tcp,
        };
        let security = match &value.key.security {
            Security::None(reason) => edge::Security::NoTlsReason(reason.as_ref().to_owned()),
            Security::Verified(identity) => edge::Security::VerifiedIdentity(identity.as_ref().to_owned()),
        };
        grpc::Edge {
            direction: direction.into(),
            protocol: protocol.into(),
            service: value.key.service.as_ref().map(Into::into),
            peer: value.key.peer.as_ref().map(Into::into),
            port: u32::from(value.key.port),
            security: Some(security),
            requests: value.requests,
            successes: value.successes,
            failures: value.failures,
            tcp_opened: value.tcp_opened,
            tcp_closed: value.tcp_closed,
            bytes_read: value.bytes_read,
            bytes_written: value.bytes_written,
            latency: Some((&value.latency).into()),
            added: Some((&value.added).into()),
        }
    }
}

impl TryFrom<grpc::Histogram> for Histogram {
    type Error = Invalid;

    fn try_from(value: grpc::Histogram) -> Result<Histogram, Invalid> {
        if value.indexes.len() != value.counts.len() {
            return Err(Invalid::new("counts", "not as many as indexes"));
        }
        if !value.indexes.is_sorted_by(|a, b| a < b) {
            return Err(Invalid::new("indexes", "do not ascend"));
        }
        if value.indexes.last().is_some_and(|last| *last as usize >= BUCKETS) {
            return Err(Invalid::new("indexes", "beyond the layout"));
        }
        Ok(Histogram::from_counts(value.indexes.into_iter().zip(value.counts), value.sum))
    }
}

impl From<&Histogram> for grpc::Histogram {
    fn from(value: &Histogram) -> grpc::Histogram {
        let (indexes, counts) = value.counts().iter().copied().unzip();
        grpc::Histogram { indexes, counts, sum: value.sum() }
    }
}

impl TryFrom<grpc::ReportedEdge> for ReportedEdge {
    type Error = Invalid;

    fn try_from(value: grpc::ReportedEdge) -> Result<ReportedEdge, Invalid> {
        Ok(ReportedEdge {
            reporter: field::convert(value.reporter, "reporter")?,
            reporter_identity: field::identity(value.reporter_identity, "reporter_identity")?,
            edge: field::convert(value.edge, "edge")?,
            over: field::duration(field::required(value.over, "over")?, "over")?,
            total_requests: value.total_requests,
            total_failures: value.total_failures,
            age: field::duration(field::required(value.age, "age")?, "age")?,
        })
    }
}

impl From<&ReportedEdge> for grpc::ReportedEdge {
    fn from(value: &ReportedEdge) -> grpc::ReportedEdge {
        grpc::ReportedEdge {
            reporter: Some((&value.reporter).into()),
            reporter_identity: value.reporter_identity.as_ref().to_owned(),
            edge: Some((&value.edge).into()),
            over: Some(field::wire_duration(value.over)),
            total_requests: value.total_requests,
            total_failures: value.total_failures,
            age: Some(field::wire_duration(value.age)),
        }
    }
}

/// How far back an operator wants to see.
impl TryFrom<grpc::EdgesRequest> for Duration {
    type Error = Invalid;

    fn try_from(value: grpc::EdgesRequest) -> Result<Duration, Invalid> {
        field::duration(field::required(value.window, "window")?, "window")
    }
}

impl From<Duration> for grpc::EdgesRequest {
    fn from(window: Duration) -> grpc::EdgesRequest {
        grpc::EdgesRequest { window: Some(field::wire_duration(window)) }
    }
}

impl TryFrom<grpc::EdgesResponse> for Vec<ReportedEdge> {
    type Error = Invalid;

    /// Not bounded by a report's bound: the caller's own gRPC message limit is what bounds it.
    fn try_from(value: grpc::EdgesResponse) -> Result<Vec<ReportedEdge>, Invalid> {
        field::list(value.edges, "edges", usize::MAX)
    }
}

impl From<&[ReportedEdge]> for grpc::EdgesResponse {
    fn from(value: &[ReportedEdge]) -> grpc::EdgesResponse {
        grpc::EdgesResponse { edges: value.iter().map(Into::into).collect() }
    }
}

fn direction(value: i32) -> Result<Direction, Invalid> {
    match grpc::Direction::try_from(value) {
        Ok(grpc::Direction::Inbound) => Ok(Direction::Inbound),
        Ok(grpc::Direction::Outbound) => Ok(Direction::Outbound),
        Ok(grpc::Direction::Unspecified) | Err(_) => Err(Invalid::new("direction", "unknown direction")),
    }
}

fn edge_protocol(value: i32) -> Result<EdgeProtocol, Invalid> {
    match grpc::EdgeProtocol::try_from(value) {
        Ok(grpc::EdgeProtocol::Http) => Ok(EdgeProtocol::Http),
        Ok(grpc::EdgeProtocol::Tcp) => Ok(EdgeProtocol::Tcp),
        Ok(grpc::EdgeProtocol::Unspecified) | Err(_) => Err(Invalid::new("protocol", "unknown protocol")),
    }
}

fn security(value: edge::Security) -> Result<Security, Invalid> {
    match value {
        edge::Security::VerifiedIdentity(id) => Ok(Security::Verified(field::identity(id, "verified_identity")?)),
        edge::Security::NoTlsReason(reason) if !reason.is_empty() => {
            Ok(Security::None(field::word(reason, "no_tls_reason")?))
        }
        edge::Security::NoTlsReason(_) => Err(Invalid::new("no_tls_reason", "empty")),
    }
}
