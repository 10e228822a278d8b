//! What a subscriber asks, with everything on which the answer depends: subscribers with equal questions share the answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use minimesh_api::model::{BackendKey, ResourceKey, TrustBundle};
use minimesh_api::wire::{EndpointsPart, Features, State};
use minimesh_identity::SpiffeId;
use minimesh_index::{Changes, Index, PodInfo};

/// A proxy: its address and the identity in its certificate. Its pod is the one that has both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subscriber {
    /// Where its connection comes from.
    pub(crate) ip: IpAddr,
    /// From its certificate.
    pub(crate) id: SpiffeId,
}

impl Subscriber {
    /// The subscriber's pod; `None` while it is unknown. A pod that has the address but another service account is not it.
    pub(crate) fn pod(&self, index: &Index) -> Option<PodInfo> {
        let is_it = |pod: &PodInfo| {
            *pod.workload.namespace == *self.id.namespace() && *pod.service_account == *self.id.service_account()
        };
        index.pod_by_ip(self.ip).filter(is_it)
    }
}

/// Where a client is, for Services whose endpoints are not for everybody alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// At that address.
    Address(IpAddr),
    /// On that node; `None`: it is not known which, and every endpoint is for it.
    Node(Option<Arc<str>>),
}

/// A question to the index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// Endpoints of a Service port, for clients at a place: the same for all of them, and mostly the same for everybody.
    Endpoints(BackendKey, Place),
    /// Policy of one port of the subscriber's pod.
    Port(Subscriber, u16),
    /// What stands behind an address, for clients of a namespace (Gateway API's consumer routes) that understand this much.
    Target(Arc<str>, SocketAddr, Features),
    /// The trust bundle.
    Trust,
    /// The subscriber's pod.
    Workload(Subscriber),
}

impl Question {
    /// The question behind a subscription. Whatever the subscriber names, ports and workload are those of its own pod.
    pub(crate) fn new(key: &ResourceKey, subscriber: &Subscriber, features: Features) -> Question {
        match key {
            ResourceKey::Endpoints(backend) => Question::Endpoints(backend.clone(), Place::Address(subscriber.ip)),
            ResourceKey::Port(port) => Question::Port(subscriber.clone(), *port),
            ResourceKey::Target(address) => Question::Target(subscriber.id.namespace().into(), *address, features),
            ResourceKey::Trust => Question::Trust,
            ResourceKey::Workload => Question::Workload(subscriber.clone()),
        }
    }

    /// With the client's place as the index knows it: who asks from the same place shares the answer.
    pub(crate) fn settled(self, index: &Index) -> Question {
        match self {
            Question::Endpoints(backend, Place::Address(ip)) => {
                Question::Endpoints(backend, Place::Node(index.node_of(ip)))
            }
            other => other,
        }
    }

    /// The resource's name on the wire.
    pub(crate) fn key(&self) -> ResourceKey {
        match self {
            Question::Endpoints(backend, _) => ResourceKey::Endpoints(backend.clone()),
            Question::Port(_, port) => ResourceKey::Port(*port),
            Question::Target(_, address, _) => ResourceKey::Target(*address),
            Question::Trust => ResourceKey::Trust,
            Question::Workload(_) => ResourceKey::Workload,
        }
    }

    /// The answer now; `None`: the subscriber's pod is not known (yet, or any more), and what was said last stays.
    pub(crate) fn answer(&self, index: &Index, trust: &TrustBundle) -> Option<State> {
        match self {
            Question::Endpoints(backend, place) => {
                let node = match place {
                    Place::Address(ip) => index.node_of(*ip),
                    Place::Node(node) => node.clone(),
                };
                // A Service that is gone has no endpoints: said explicitly, because the index is complete.
                let endpoints = index.endpoints_from(backend, node.as_deref()).unwrap_or_default().0;
                Some(State::Endpoints(EndpointsPart::Full { endpoints, more: false }))
            }
            Question::Port(subscriber, port) => {
                let pod = subscriber.pod(index)?.workload;
                index.port(&pod.namespace, &pod.pod, *port).map(State::Port)
            }
            Question::Target(namespace, address, features) => {
                let mut target = index.target(namespace, *address);
                features.restrict(&mut target);
                Some(State::Target(target))
            }
            Question::Trust => Some(State::Trust(trust.clone())),
            Question::Workload(subscriber) => {
                let pod = subscriber.pod(index)?.workload;
                index.workload(&pod.namespace, &pod.pod).map(State::Workload)
            }
        }
    }

    /// Whether the answer may have changed.
    pub(crate) fn affected(&self, changes: &Changes) -> bool {
        match self {
            Question::Endpoints(_, place) => {
                let here = matches!(place, Place::Node(Some(node)) if changes.nodes.contains(node));
                here || changes.affects(&self.key(), "", "")
            }
            // Which pod has the subscriber's address may itself have changed.
            Question::Port(..) => changes.everything || !changes.pods.is_empty() || !changes.ports.is_empty(),
            Question::Workload(_) => changes.everything || !changes.pods.is_empty(),
            _ => changes.affects(&self.key(), "", ""),
        }
    }
}
