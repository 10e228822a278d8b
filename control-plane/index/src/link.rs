//! Lookups: the only place that joins objects of two kinds.
//!
//! | lookup | joins |
//! |---|---|
//! | `target` | Service by address, its routes and their backends; or pod by address |
//! | `endpoints` | Service port, its slices, the pods that they name |
//! | `port` | pod, its namespace, the Services in front of it and their routes |
//! | `missed_pods` | pods and their namespaces |
//! | `route_statuses` | routes, their parents and backends |

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use minimesh_api::injection::{Inject, wanted};
use minimesh_api::model::{
    BackendKey, BackendRef, Endpoint, EndpointState, Endpoints, Filter, HttpRoute, PassthroughReason, PlaintextReason,
    PortPolicy, Protocol, ServiceTarget, Target, Transport, Workload, WorkloadRef,
};

use crate::entry::{Parent, PodEntry, RouteEntry, ServiceEntry, ServicePortEntry, SliceEndpointEntry, SlicePod};
use crate::index::Index;
use crate::name::Name;
use crate::policy;
use crate::resource::{Kind, ObjectKey, ParentRef};

/// What the control plane knows about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInfo {
    /// Namespace, owner and name.
    pub workload: WorkloadRef,
    /// The ServiceAccount that it runs as.
    pub service_account: Arc<str>,
    /// The SPIFFE ID that its proxy is given a certificate for.
    pub identity: Arc<str>,
    /// As the API server numbers it; `None` in folder mode.
    pub uid: Option<Arc<str>>,
    /// Addresses; the node's where `host_network` is set.
    pub ips: Vec<IpAddr>,
    /// It shares its node's network.
    pub host_network: bool,
    /// The sidecar is in its spec.
    pub meshed: bool,
    /// Marked for deletion.
    pub draining: bool,
    /// Folder mode: SHA-256 of its bootstrap token.
    pub token_sha256: Option<[u8; 32]>,
}

impl Index {
    /// What stands behind an address that a client of that namespace dialled (consumer routes depend on it).
    pub fn target(&self, client_namespace: &str, address: SocketAddr) -> Target {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let claims = self.services_at(ip);
        let owner = claims.iter().find_map(|(name, service)| Some((*name, *service, service.port(port)?)));
        if let Some((name, service, port)) = owner {
            return Target::Service(self.service_target(client_namespace, name, service, port));
        }
        if claims.iter().any(|(_, service)| service.cluster.contains(&ip)) {
            return Target::Passthrough(PassthroughReason::UndefinedPort);
        }
        // An external address may be a node's, where other things listen than the Service.
        if let Some(endpoint) = self.pod_endpoint(SocketAddr::new(ip, port)) {
            return Target::Endpoint(endpoint);
        }
        let inside = self.settings.cluster_networks.iter().any(|network| network.contains(&ip));
        Target::Passthrough(match (claims.is_empty(), inside) {
            (false, _) => PassthroughReason::UndefinedPort,
            (true, true) => PassthroughReason::UnknownAddress,
            (true, false) => PassthroughReason::OutsideCluster,
        })
    }

    /// Endpoints of a Service port, wherever the client is; `None`: no such Service, or it lacks the port.
    pub fn endpoints(&self, backend: &BackendKey) -> Option<Endpoints> {
        self.endpoints_from(backend, None)
    }

    /// The same for a client on that node, where it is known.
    pub fn endpoints_from(&self, backend: &BackendKey, node: Option<&str>) -> Option<Endpoints> {
        let name = Name { namespace: backend.namespace.clone(), name: backend.name.clone() };
        let service = self.services.get(&name)?;
        let port = service.port(backend.port)?;
        let mut found = Vec::new();
        for slice in self.service_slices.of(&name).filter_map(|slice| self.slices.get(slice)) {
            let Some(target_port) = slice.port(&port.name) else { continue };
            for source in &slice.endpoints {
                if let Some(endpoint) = self.slice_endpoint(source, target_port, service.publish_not_ready) {
                    found.push((endpoint, source));
                }
            }
        }
        if let Some(node) = node {
            self.place(node).retain(service, &mut found);
        }
        let mut endpoints = BTreeMap::new();
        found.into_iter().for_each(|(endpoint, _)| insert(&mut endpoints, endpoint));
        Some(Endpoints(endpoints.into_values().collect()))
    }

    /// A pod; `None`: unknown.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodInfo> {
        self.pods.get(&Name::new(namespace, name)).map(info)
    }

    /// The pod that owns an address: never one on its node's network, never a finished one.
    pub fn pod_by_ip(&self, address: IpAddr) -> Option<PodInfo> {
        self.owner_of(address.to_canonical()).map(info)
    }

    /// Namespaces whose pods are meshed, or will be when they are made.
    pub fn meshed_namespaces(&self) -> BTreeSet<Arc<str>> {
        let labelled = self.namespaces.iter().filter(|(_, namespace)| namespace.inject == Inject::Enabled);
        let labelled = labelled.map(|(name, _)| name);
        let pods = self.pods.iter().filter(|(_, pod)| pod.meshed && !pod.finished).map(|(name, _)| &name.namespace);
        labelled.chain(pods).cloned().collect()
    }

    /// Pods that run without the sidecar that their label, or their namespace's, asks for: made before it did, or while nobody injected.
    pub fn missed_pods(&self) -> BTreeSet<ObjectKey> {
        let missed = self.pods.iter().filter(|(name, pod)| {
            let around = self.namespaces.get(&name.namespace).map(|namespace| namespace.inject).unwrap_or_default();
            let wanted = wanted(&name.namespace, &self.settings.mesh_namespace, around, pod.inject);
            wanted.is_ok() && !(pod.meshed || pod.finished || pod.draining || pod.host_network)
        });
        missed.map(|(name, _)| ObjectKey::new(Kind::Pod, &name.namespace, &name.name)).collect()
    }

    /// Inbound policy of a pod's port; `None`: unknown pod.
    pub fn port(&self, pod_namespace: &str, pod_name: &str, port: u16) -> Option<PortPolicy> {
        let name = Name::new(pod_namespace, pod_name);
        let pod = self.pods.get(&name)?;
        let namespace = self.namespaces.get(pod_namespace);
        let opaque = pod.opaque.as_ref().or(namespace.and_then(|namespace| namespace.opaque.as_ref()));
        Some(PortPolicy {
            protocol: match opaque.is_some_and(|ports| ports.contains(port)) {
                true => Protocol::Opaque,
                false => self.served_protocol(&name, port),
            },
            policy: policy::of_port(
                port,
                &pod.policies,
                namespace.map(|namespace| &namespace.policies),
                self.settings.default_policy,
            ),
        })
    }

    /// What the Services in front of a pod's port declare it to be. `Http1` stands for HTTP of either version: nothing else
    /// has business there. Where one of them says that it is something else, nothing is declared.
    fn served_protocol(&self, pod: &Name, port: u16) -> Protocol {
        let slices = self.pod_slices.of(pod).filter_map(|slice| self.slices.get(slice));
        let mut protocol = Protocol::Detect;
        for slice in slices {
            let Some(name) = &slice.service else { continue };
            let Some(service) = self.services.get(name) else { continue };
            for served in service.ports.iter().filter(|served| slice.port(&served.name) == Some(port)) {
                // Consumers' routes are left aside: what one namespace says binds no pod of another.
                let mut routes = self.attached(name, served).filter(|route| route.key.namespace == name.namespace);
                match self.declared_protocol(name, service, served) {
                    _ if !service.headless && routes.next().is_some() => protocol = Protocol::Http1,
                    Protocol::Http1 | Protocol::Http2 => protocol = Protocol::Http1,
                    Protocol::Opaque | Protocol::Tls => return Protocol::Detect,
                    Protocol::Detect => {}
                }
            }
        }
        protocol
    }

    /// What a pod's proxy is told about itself; `None`: unknown pod.
    pub fn workload(&self, pod_namespace: &str, pod_name: &str) -> Option<Workload> {
        let pod = self.pods.get(&Name::new(pod_namespace, pod_name))?;
        Some(Workload {
            workload: pod.workload.clone(),
            draining: pod.draining,
            cluster_networks: self.settings.cluster_networks.clone(),
            node_ips: self.node_ips(pod),
            probes: pod.probes.clone(),
            grpc_probes: pod.grpc_probes.clone(),
        })
    }

    /// Where the kubelet of a pod's node may ask from.
    fn node_ips(&self, pod: &PodEntry) -> Vec<IpAddr> {
        let node = pod.node.as_ref().and_then(|node| self.nodes.get(node));
        let mut ips = pod.node_ips.clone();
        for ip in node.iter().flat_map(|node| &node.addresses) {
            if !ips.contains(ip) {
                ips.push(*ip);
            }
        }
        ips
    }

    /// Services that claim an address: owners of cluster addresses before those who merely name it as external, then the
    /// oldest, so that nobody takes over an address by writing it into a younger Service.
    fn services_at(&self, ip: IpAddr) -> Vec<(&Name, &ServiceEntry)> {
        let names = self.service_addresses.of(&ip);
        let mut claims: Vec<_> = names.filter_map(|name| Some((name, self.services.get(name)?))).collect();
        claims.sort_by_key(|(name, service)| {
            (!service.cluster.contains(&ip), service.created.is_none(), service.created, *name)
        });
        claims
    }

    fn service_target(
        &self,
        client_namespace: &str,
        name: &Name,
        service: &ServiceEntry,
        port: &ServicePortEntry,
    ) -> ServiceTarget {
        let key = BackendKey { namespace: name.namespace.clone(), name: name.name.clone(), port: port.number };
        let http_routes = self.routes_of(client_namespace, name, service, port);
        let protocol = match self.declared_protocol(name, service, port) {
            // The route wins: what it is attached to is HTTP, of a version yet to be seen.
            Protocol::Opaque | Protocol::Tls if !http_routes.is_empty() => Protocol::Detect,
            protocol => protocol,
        };
        ServiceTarget { service: key, protocol, http_routes, client_affinity: service.affinity }
    }

    fn declared_protocol(&self, name: &Name, service: &ServiceEntry, port: &ServicePortEntry) -> Protocol {
        let namespace = || self.namespaces.get(&name.namespace).and_then(|namespace| namespace.opaque.as_ref());
        let is_opaque = || service.opaque.as_ref().or_else(namespace).is_some_and(|ports| ports.contains(port.number));
        port.declared.unwrap_or_else(|| if is_opaque() { Protocol::Opaque } else { Protocol::Detect })
    }

    /// The client namespace's own routes replace the producer's; they are not merged (GEP-1294).
    fn routes_of(
        &self,
        client_namespace: &str,
        name: &Name,
        service: &ServiceEntry,
        port: &ServicePortEntry,
    ) -> Vec<HttpRoute> {
        let routes = self.candidates(client_namespace, name, service, port);
        let in_force = |route: &&RouteEntry| routes.first().is_some_and(|first| first.key.kind == route.key.kind);
        routes.iter().copied().filter(in_force).map(|route| self.resolved(route)).collect()
    }

    /// Routes that a client meets at a Service port, by precedence. HTTPRoutes and GRPCRoutes never stand together: all are of
    /// the first one's kind, the others are refused (Gateway API: GRPCRoute's field `hostnames`; a Service has but one host).
    pub(crate) fn candidates(
        &self,
        client_namespace: &str,
        name: &Name,
        service: &ServiceEntry,
        port: &ServicePortEntry,
    ) -> Vec<&RouteEntry> {
        if service.headless {
            return Vec::new();
        }
        let (producers, others): (Vec<&RouteEntry>, Vec<&RouteEntry>) =
            self.attached(name, port).partition(|route| route.route.object.namespace == name.namespace);
        let is_clients = |route: &&RouteEntry| *route.route.object.namespace == *client_namespace;
        let consumers: Vec<&RouteEntry> = others.into_iter().filter(is_clients).collect();
        let mut routes = if consumers.is_empty() { producers } else { consumers };
        routes.sort_by_key(|route| route.precedence());
        routes
    }

    /// Routes of whatever namespace whose parents name that port.
    fn attached<'i, 'n>(
        &'i self,
        name: &'n Name,
        port: &'n ServicePortEntry,
    ) -> impl Iterator<Item = &'i RouteEntry> + use<'i, 'n> {
        self.parent_routes.of(name).filter_map(|route| self.routes.get(route)).filter(move |route| {
            let mut parents = route.parents.iter().filter(|parent| parent.service == *name);
            route.is_attached() && parents.any(|parent| selects(parent, port))
        })
    }

    /// The route with backends that do not exist, or may not be referred to, marked as such.
    fn resolved(&self, entry: &RouteEntry) -> HttpRoute {
        let mut route = entry.route.clone();
        let resolve = |reference: &mut BackendRef| {
            if let BackendRef::Service(key) = reference
                && let Some((reason, message)) = self.backend_fault(entry, key)
            {
                *reference = BackendRef::Unresolved { reason: format!("{reason}: {message}").into() };
            }
        };
        let mirrors = |filters: &mut Vec<Filter>| {
            for filter in filters {
                if let Filter::Mirror(mirror) = filter {
                    resolve(&mut mirror.backend);
                }
            }
        };
        for rule in &mut route.rules {
            mirrors(&mut rule.filters);
            for weighted in &mut rule.backends {
                resolve(&mut weighted.backend);
                mirrors(&mut weighted.filters);
            }
        }
        route
    }

    /// Why a Service port is no backend of a route: Gateway API's reason, and a sentence. Of a Service that may not be referred
    /// to, nothing more is said.
    pub(crate) fn backend_fault(&self, route: &RouteEntry, key: &BackendKey) -> Option<(&'static str, String)> {
        let name = Name { namespace: key.namespace.clone(), name: key.name.clone() };
        if !self.may_refer_to(route, &name) {
            let message = format!("no ReferenceGrant in {} lets {} refer to Service {name}", name.namespace, route.key);
            return Some(("RefNotPermitted", message));
        }
        let message = match self.services.get(&name) {
            None => format!("Service {name} does not exist"),
            Some(service) if service.external_name => format!("Service {name} is an alias, without endpoints"),
            Some(service) if service.port(key.port).is_none() => format!("Service {name} has no TCP port {}", key.port),
            Some(_) => return None,
        };
        Some(("BackendNotFound", message))
    }

    /// Without a ReferenceGrant a route may refer to its own namespace, and to that of a Service which its clients dial
    /// anyway: a consumer route that could not send traffic back to its parent would be of no use (GEP-1294, and the
    /// conformance test MeshConsumerRoute, which has no grant).
    fn may_refer_to(&self, route: &RouteEntry, service: &Name) -> bool {
        let first = Name { namespace: service.namespace.clone(), name: "".into() };
        let grants = || self.grants.range(first..).take_while(|(grant, _)| grant.namespace == service.namespace);
        service.namespace == route.key.namespace
            || route.parents.iter().any(|parent| parent.service.namespace == service.namespace)
            || grants().any(|(_, grant)| grant.permits(&route.key, &service.name))
    }

    /// The endpoint at a pod's own address.
    fn pod_endpoint(&self, address: SocketAddr) -> Option<Endpoint> {
        let endpoint = |transport, pod: Option<&PodEntry>| Endpoint {
            address,
            transport,
            state: match pod.is_some_and(|pod| pod.draining) {
                true => EndpointState::ServingTerminating,
                false => EndpointState::Serving,
            },
            workload: pod.map(|pod| pod.workload.clone()),
            zone: None,
        };
        if let Some(pod) = self.owner_of(address.ip()) {
            return Some(endpoint(pod.transport(address.port()), Some(pod)));
        }
        // A node's address: any of the pods on its network, or the node itself.
        let pods = || self.pods_at(address.ip()).filter(|pod| pod.host_network);
        pods().next()?;
        let listener = pods().find(|pod| pod.declares(address.port()));
        Some(endpoint(Transport::Plaintext(PlaintextReason::HostNetwork), listener))
    }

    /// Addresses are used again: the pod that is not on its way out has it, then the youngest.
    pub(crate) fn owner_of(&self, ip: IpAddr) -> Option<&PodEntry> {
        let owners = self.pods_at(ip).filter(|pod| !pod.host_network);
        owners.max_by_key(|pod| (!pod.draining, pod.created, &pod.workload))
    }

    fn pods_at(&self, ip: IpAddr) -> impl Iterator<Item = &PodEntry> {
        self.pod_addresses.of(&ip).filter_map(|name| self.pods.get(name)).filter(|pod| !pod.finished)
    }

    /// `None`: takes no traffic, or says that it is a pod which is not (yet, or no longer) known to have that address. Such
    /// an address must not be dialled in plaintext, since the pod may be meshed.
    fn slice_endpoint(&self, source: &SliceEndpointEntry, port: u16, publish_not_ready: bool) -> Option<Endpoint> {
        let pod = match &source.pod {
            SlicePod::Nobody => None,
            SlicePod::Named(name) => {
                let pod = self.pods.get(name)?;
                Some(pod).filter(|pod| !pod.finished && pod.ips.contains(&source.address)).map(Some)?
            }
        };
        let not_meshed = Transport::Plaintext(PlaintextReason::NotMeshed);
        Some(Endpoint {
            address: SocketAddr::new(source.address, port),
            transport: pod.map_or(not_meshed, |pod| pod.transport(port)),
            state: source.state(publish_not_ready, pod.is_some_and(|pod| pod.draining))?,
            workload: pod.map(|pod| pod.workload.clone()),
            zone: source.zone.clone(),
        })
    }
}

/// Whether a parentRef means that port.
pub(crate) fn selects(parent: &Parent, port: &ServicePortEntry) -> bool {
    let ParentRef { port: number, section_name, .. } = &parent.written;
    number.is_none_or(|number| number == port.number)
        && section_name.as_deref().is_none_or(|section| section == &*port.name)
}

/// An address may stand in two slices while it moves from one to the other. Identity is never lost by that, nor readiness.
fn insert(endpoints: &mut BTreeMap<SocketAddr, Endpoint>, endpoint: Endpoint) {
    let rank = |endpoint: &Endpoint| {
        (matches!(endpoint.transport, Transport::MutualTls { .. }), endpoint.state == EndpointState::Serving)
    };
    match endpoints.entry(endpoint.address) {
        Entry::Vacant(vacant) => drop(vacant.insert(endpoint)),
        Entry::Occupied(mut occupied) if rank(&endpoint) > rank(occupied.get()) => drop(occupied.insert(endpoint)),
        Entry::Occupied(_) => {}
    }
}

fn info(pod: &PodEntry) -> PodInfo {
    PodInfo {
        workload: pod.workload.clone(),
        service_account: pod.service_account.clone(),
        identity: pod.identity.clone(),
        uid: pod.uid.clone(),
        ips: pod.ips.clone(),
        host_network: pod.host_network,
        meshed: pod.meshed,
        draining: pod.draining,
        token_sha256: pod.token_sha256,
    }
}
