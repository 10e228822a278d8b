//! Of an EndpointSlice: addresses with their conditions, and the ports.

use std::net::IpAddr;
use std::sync::Arc;

use minimesh_api::model::EndpointState;

use crate::name::Name;
use crate::resource::{EndpointConditions, EndpointSlice, Hint, SliceEndpoint};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SliceEntry {
    pub(crate) service: Option<Name>,
    pub(crate) endpoints: Vec<SliceEndpointEntry>,
    ports: Vec<(Arc<str>, u16)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SliceEndpointEntry {
    pub(crate) address: IpAddr,
    pub(crate) pod: SlicePod,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) node: Option<Arc<str>>,
    /// Whose clients should use it; empty: nothing is said.
    pub(crate) for_zones: Box<[Arc<str>]>,
    pub(crate) for_nodes: Box<[Arc<str>]>,
    conditions: EndpointConditions,
}

/// What a slice says about who has an address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SlicePod {
    /// A pod of the slice's own namespace.
    Named(Name),
    /// No pod, or none that could be believed.
    Nobody,
}

impl SliceEntry {
    pub(crate) fn new(slice: &EndpointSlice) -> Self {
        let namespace = slice.metadata.namespace.as_str();
        let ports = slice.ports.iter().map(|port| port.name.as_str());
        let endpoints = slice.endpoints.iter().flat_map(|endpoint| {
            endpoint.ip_addresses(slice.address_type).map(|address| SliceEndpointEntry {
                address: address.to_canonical(),
                pod: pod(endpoint, namespace),
                zone: endpoint.zone.as_deref().map(Arc::from),
                node: endpoint.node_name.as_deref().map(Arc::from),
                for_zones: names(&endpoint.hints.for_zones),
                for_nodes: names(&endpoint.hints.for_nodes),
                conditions: endpoint.conditions,
            })
        });
        Self {
            service: slice.service_name().map(|service| Name::new(namespace, service)),
            endpoints: endpoints.collect(),
            ports: ports.filter_map(|name| Some((name.into(), slice.tcp_port(name)?))).collect(),
        }
    }

    /// The pods' port for the Service port of that name.
    pub(crate) fn port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|(own, _)| **own == *name).map(|(_, number)| *number)
    }

    /// Pods that it names, with repetition.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Name> {
        self.endpoints.iter().filter_map(|endpoint| match &endpoint.pod {
            SlicePod::Named(name) => Some(name),
            SlicePod::Nobody => None,
        })
    }
}

impl SliceEndpointEntry {
    /// `None`: takes no traffic. A pod marked for deletion is terminating before its slice says so.
    pub(crate) fn state(&self, publish_not_ready: bool, draining: bool) -> Option<EndpointState> {
        let ready = self.conditions.ready.unwrap_or(true);
        let serving = self.conditions.serving.unwrap_or(ready);
        let terminating = draining || self.conditions.terminating.unwrap_or(false);
        match terminating {
            true => serving.then_some(EndpointState::ServingTerminating),
            false => (ready || publish_not_ready).then_some(EndpointState::Serving),
        }
    }
}

fn names(hints: &[Hint]) -> Box<[Arc<str>]> {
    hints.iter().map(|hint| hint.name.as_str().into()).collect()
}

fn pod(endpoint: &SliceEndpoint, namespace: &str) -> SlicePod {
    match &endpoint.target_ref {
        Some(target) if target.kind == "Pod" && target.namespace.as_deref().is_none_or(|other| other == namespace) => {
            SlicePod::Named(Name::new(namespace, &target.name))
        }
        _ => SlicePod::Nobody,
    }
}
