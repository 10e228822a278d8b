//! Names of resources and of Service ports.

use super::{Invalid, field};
use crate::grpc::{self, resource_key};
use crate::model::{BackendKey, ResourceKey};

impl TryFrom<grpc::ResourceKey> for ResourceKey {
    type Error = Invalid;

    fn try_from(value: grpc::ResourceKey) -> Result<ResourceKey, Invalid> {
        use resource_key::Kind;
        match field::required(value.kind, "kind")? {
            Kind::Target(address) => {
                address.try_into().map(ResourceKey::Target).map_err(|invalid: Invalid| invalid.under("target"))
            }
            Kind::Endpoints(key) => {
                key.try_into().map(ResourceKey::Endpoints).map_err(|invalid: Invalid| invalid.under("endpoints"))
            }
            Kind::Port(port) => field::port(port, "port").map(ResourceKey::Port),
            Kind::Workload(resource_key::Own {}) => Ok(ResourceKey::Workload),
            Kind::Trust(resource_key::Own {}) => Ok(ResourceKey::Trust),
        }
    }
}

impl From<&ResourceKey> for grpc::ResourceKey {
    fn from(value: &ResourceKey) -> grpc::ResourceKey {
        use resource_key::Kind;
        let kind = match value {
            ResourceKey::Endpoints(key) => Kind::Endpoints(key.into()),
            ResourceKey::Port(port) => Kind::Port(u32::from(*port)),
            ResourceKey::Target(address) => Kind::Target((*address).into()),
            ResourceKey::Trust => Kind::Trust(resource_key::Own {}),
            ResourceKey::Workload => Kind::Workload(resource_key::Own {}),
        };
        grpc::ResourceKey { kind: Some(kind) }
    }
}

impl TryFrom<grpc::BackendKey> for BackendKey {
    type Error = Invalid;

    fn try_from(value: grpc::BackendKey) -> Result<BackendKey, Invalid> {
        Ok(BackendKey {
            namespace: field::name(value.namespace, "namespace")?,
            name: field::name(value.name, "name")?,
            port: field::port(value.port, "port")?,
        })
    }
}

impl From<&BackendKey> for grpc::BackendKey {
    fn from(value: &BackendKey) -> grpc::BackendKey {
        grpc::BackendKey {
            namespace: value.namespace.as_ref().to_owned(),
            name: value.name.as_ref().to_owned(),
            port: u32::from(value.port),
        }
    }
}
