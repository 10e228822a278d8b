//! Where a client is, and which endpoints of a Service are for it: `internalTrafficPolicy` and topology hints.
//!
//! As kube-proxy decides it. Called by `link` with the endpoints that would take traffic; must never leave a client without
//! any where hints alone would do so.

use std::net::IpAddr;
use std::sync::Arc;

use minimesh_api::model::{Endpoint, EndpointState};

use crate::entry::{ServiceEntry, SliceEndpointEntry};
use crate::index::Index;

/// Where a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place<'i> {
    node: &'i str,
    zone: Option<&'i str>,
}

impl Index {
    /// The node of whoever has that address: the pod's, else the one whose pods' network it is in.
    pub fn node_of(&self, address: IpAddr) -> Option<Arc<str>> {
        let address = address.to_canonical();
        let pod = self.owner_of(address).and_then(|pod| pod.node.clone());
        let network = || {
            let mut nodes = self.nodes.iter();
            let (name, _) = nodes.find(|(_, node)| node.pods.iter().any(|network| network.contains(&address)))?;
            Some(name.clone())
        };
        pod.or_else(network)
    }

    pub(crate) fn place<'i>(&'i self, node: &'i str) -> Place<'i> {
        Place { node, zone: self.nodes.get(node).and_then(|entry| entry.zone.as_deref()) }
    }
}

impl Place<'_> {
    /// Keeps what is for a client here. Terminating endpoints are for everybody: they are used where nothing else is left.
    pub(crate) fn retain(&self, service: &ServiceEntry, endpoints: &mut Vec<(Endpoint, &SliceEndpointEntry)>) {
        if service.local {
            return endpoints.retain(|(_, source)| source.node.as_deref() == Some(self.node));
        }
        let on_node = |source: &SliceEndpointEntry| has(&source.for_nodes, self.node);
        let in_zone = |source: &SliceEndpointEntry| self.zone.is_some_and(|zone| has(&source.for_zones, zone));
        if hinted(endpoints, |source| &source.for_nodes, on_node) {
            endpoints.retain(|(endpoint, source)| !is_serving(endpoint) || on_node(source));
        } else if hinted(endpoints, |source| &source.for_zones, in_zone) {
            endpoints.retain(|(endpoint, source)| !is_serving(endpoint) || in_zone(source));
        }
    }
}

/// Hints count only where every serving endpoint has one and at least one of them is ours: half of them say nothing.
fn hinted(
    endpoints: &[(Endpoint, &SliceEndpointEntry)],
    hints: impl Fn(&SliceEndpointEntry) -> &[Arc<str>],
    ours: impl Fn(&SliceEndpointEntry) -> bool,
) -> bool {
    let mut serving = endpoints.iter().filter(|(endpoint, _)| is_serving(endpoint)).map(|(_, source)| *source);
    serving.clone().all(|source| !hints(source).is_empty()) && serving.any(ours)
}

fn is_serving(endpoint: &Endpoint) -> bool {
    endpoint.state == EndpointState::Serving
}

fn has(hints: &[Arc<str>], name: &str) -> bool {
    hints.iter().any(|hint| **hint == *name)
}
