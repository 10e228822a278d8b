//! Targets: what stands behind a dialled address.

use super::{Invalid, field};
use crate::grpc::{self, passthrough, target};
use crate::model::{PassthroughReason, Protocol, ServiceTarget, Target};

impl TryFrom<grpc::Target> for Target {
    type Error = Invalid;

    fn try_from(value: grpc::Target) -> Result<Target, Invalid> {
        use target::Kind;
        match field::required(value.kind, "kind")? {
            Kind::Service(service) => {
                service.try_into().map(Target::Service).map_err(|invalid: Invalid| invalid.under("service"))
            }
            Kind::Endpoint(endpoint) => {
                endpoint.try_into().map(Target::Endpoint).map_err(|invalid: Invalid| invalid.under("endpoint"))
            }
            Kind::Passthrough(passthrough) => {
                passthrough_reason(passthrough.reason).map(Target::Passthrough).map_err(|e| e.under("passthrough"))
            }
        }
    }
}

impl From<&Target> for grpc::Target {
    fn from(value: &Target) -> grpc::Target {
        use target::Kind;
        let kind = match value {
            Target::Endpoint(endpoint) => Kind::Endpoint(endpoint.into()),
            Target::Passthrough(reason) => Kind::Passthrough((*reason).into()),
            Target::Service(service) => Kind::Service(service.into()),
        };
        grpc::Target { kind: Some(kind) }
    }
}

impl TryFrom<grpc::ServiceTarget> for ServiceTarget {
    type Error = Invalid;

    fn try_from(value: grpc::ServiceTarget) -> Result<ServiceTarget, Invalid> {
        Ok(ServiceTarget {
            service: field::convert(value.service, "service")?,
            protocol: protocol(value.protocol, "protocol")?,
            http_routes: field::list(value.http_routes, "http_routes", field::ROUTE_ITEMS)?,
            // a hint: what cannot be read is not said
            client_affinity: value.client_affinity.and_then(|time| field::duration(time, "").ok()),
        })
    }
}

impl From<&ServiceTarget> for grpc::ServiceTarget {
    fn from(value: &ServiceTarget) -> grpc::ServiceTarget {
        grpc::ServiceTarget {
            service: Some((&value.service).into()),
            protocol: grpc::Protocol::from(value.protocol).into(),
            http_routes: value.http_routes.iter().map(Into::into).collect(),
            client_affinity: value.client_affinity.map(field::wire_duration),
        }
    }
}

/// A declared protocol; one that this version does not know cannot be carried.
pub(super) fn protocol(value: i32, field: &str) -> Result<Protocol, Invalid> {
    match grpc::Protocol::try_from(value) {
        Ok(grpc::Protocol::Detect) => Ok(Protocol::Detect),
        Ok(grpc::Protocol::Http1) => Ok(Protocol::Http1),
        Ok(grpc::Protocol::Http2) => Ok(Protocol::Http2),
        Ok(grpc::Protocol::Opaque) => Ok(Protocol::Opaque),
        Ok(grpc::Protocol::Tls) => Ok(Protocol::Tls),
        Ok(grpc::Protocol::Unspecified) | Err(_) => Err(Invalid::new(field, "unknown protocol")),
    }
}

impl From<Protocol> for grpc::Protocol {
    fn from(value: Protocol) -> grpc::Protocol {
        match value {
            Protocol::Detect => grpc::Protocol::Detect,
            Protocol::Http1 => grpc::Protocol::Http1,
            Protocol::Http2 => grpc::Protocol::Http2,
            Protocol::Opaque => grpc::Protocol::Opaque,
            Protocol::Tls => grpc::Protocol::Tls,
        }
    }
}

fn passthrough_reason(value: i32) -> Result<PassthroughReason, Invalid> {
    use passthrough::Reason;
    match Reason::try_from(value) {
        Ok(Reason::OutsideCluster) => Ok(PassthroughReason::OutsideCluster),
        Ok(Reason::UndefinedPort) => Ok(PassthroughReason::UndefinedPort),
        Ok(Reason::UnknownAddress) => Ok(PassthroughReason::UnknownAddress),
        Ok(Reason::Unspecified) | Err(_) => Err(Invalid::new("reason", "unknown reason")),
    }
}

impl From<PassthroughReason> for grpc::Passthrough {
    fn from(value: PassthroughReason) -> grpc::Passthrough {
        use passthrough::Reason;
        let reason = match value {
            PassthroughReason::OutsideCluster => Reason::OutsideCluster,
            PassthroughReason::UndefinedPort => Reason::UndefinedPort,
            PassthroughReason::UnknownAddress => Reason::UnknownAddress,
        };
        grpc::Passthrough { reason: reason.into() }
    }
}
