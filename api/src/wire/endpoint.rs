//! Endpoints: what may be spoken in plaintext is never a default.

use std::sync::Arc;

use super::{Invalid, field};
use crate::grpc::{self, endpoint};
use crate::model::{Endpoint, EndpointState, PlaintextReason, Transport, WorkloadRef};

impl TryFrom<grpc::Endpoint> for Endpoint {
    type Error = Invalid;

    fn try_from(value: grpc::Endpoint) -> Result<Endpoint, Invalid> {
        let transport = match field::required(value.transport, "transport")? {
            endpoint::Transport::Identity(identity) => {
                Transport::MutualTls { identity: field::identity(identity, "identity")? }
            }
            endpoint::Transport::Plaintext(reason) => Transport::Plaintext(plaintext_reason(reason)?),
        };
        Ok(Endpoint {
            address: field::convert(value.address, "address")?,
            transport,
            state: endpoint_state(value.state)?,
            // Hints: an endpoint that nobody can name still serves.
            workload: value.workload.and_then(|workload| WorkloadRef::try_from(workload).ok()),
            zone: Some(field::hint(value.zone)).filter(|zone| !zone.is_empty()),
        })
    }
}

impl From<&Endpoint> for grpc::Endpoint {
    fn from(value: &Endpoint) -> grpc::Endpoint {
        let transport = match &value.transport {
            Transport::MutualTls { identity } => endpoint::Transport::Identity(identity.as_ref().to_owned()),
            Transport::Plaintext(reason) => endpoint::Transport::Plaintext(grpc::PlaintextReason::from(*reason).into()),
        };
        let state = match value.state {
            EndpointState::Serving => grpc::EndpointState::Serving,
            EndpointState::ServingTerminating => grpc::EndpointState::ServingTerminating,
        };
        grpc::Endpoint {
            address: Some(value.address.into()),
            transport: Some(transport),
            state: state.into(),
            workload: value.workload.as_ref().map(Into::into),
            zone: value.zone.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

impl TryFrom<grpc::WorkloadRef> for WorkloadRef {
    type Error = Invalid;

    fn try_from(value: grpc::WorkloadRef) -> Result<WorkloadRef, Invalid> {
        let word = |value: String, name: &str| -> Result<Arc<str>, Invalid> { field::word(value, name) };
        Ok(WorkloadRef {
            namespace: word(value.namespace, "namespace")?,
            kind: word(value.kind, "kind")?,
            name: word(value.name, "name")?,
            pod: word(value.pod, "pod")?,
        })
    }
}

impl From<&WorkloadRef> for grpc::WorkloadRef {
    fn from(value: &WorkloadRef) -> grpc::WorkloadRef {
        grpc::WorkloadRef {
            namespace: value.namespace.as_ref().to_owned(),
            kind: value.kind.as_ref().to_owned(),
            name: value.name.as_ref().to_owned(),
            pod: value.pod.as_ref().to_owned(),
        }
    }
}

impl From<PlaintextReason> for grpc::PlaintextReason {
    fn from(value: PlaintextReason) -> grpc::PlaintextReason {
        match value {
            PlaintextReason::HostNetwork => grpc::PlaintextReason::HostNetwork,
            PlaintextReason::NotMeshed => grpc::PlaintextReason::NotMeshed,
            PlaintextReason::PortSkipped => grpc::PlaintextReason::PortSkipped,
        }
    }
}

fn plaintext_reason(value: i32) -> Result<PlaintextReason, Invalid> {
    match grpc::PlaintextReason::try_from(value) {
        Ok(grpc::PlaintextReason::HostNetwork) => Ok(PlaintextReason::HostNetwork),
        Ok(grpc::PlaintextReason::NotMeshed) => Ok(PlaintextReason::NotMeshed),
        Ok(grpc::PlaintextReason::PortSkipped) => Ok(PlaintextReason::PortSkipped),
        Ok(grpc::PlaintextReason::Unspecified) | Err(_) => Err(Invalid::new("plaintext", "unknown reason")),
    }
}

fn endpoint_state(value: i32) -> Result<EndpointState, Invalid> {
    match grpc::EndpointState::try_from(value) {
        Ok(grpc::EndpointState::Serving) => Ok(EndpointState::Serving),
        Ok(grpc::EndpointState::ServingTerminating) => Ok(EndpointState::ServingTerminating),
        Ok(grpc::EndpointState::Unspecified) | Err(_) => Err(Invalid::new("state", "unknown state")),
    }
}
