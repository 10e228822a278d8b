//! The store: entries by name, and the secondary indexes that say who refers to whom. Lookups are in `link`.
//!
//! Every secondary index is a function of the entries alone; that is what makes the order of events irrelevant.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use minimesh_api::model::DefaultPolicy;

use crate::changes::Changes;
use crate::entry::{GrantEntry, NamespaceEntry, NodeEntry, PodEntry, RouteEntry, ServiceEntry, SliceEntry};
use crate::name::{Name, Relation};
use crate::resource::{Event, Kind, Object, ObjectKey};

/// What is the same for the whole life of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the mesh's own parts are, which are never meshed.
    pub mesh_namespace: String,
    /// As in `spiffe://TRUST-DOMAIN/…`.
    pub trust_domain: String,
    /// Addresses of pods and Services.
    pub cluster_networks: Vec<IpNet>,
    /// Secret of the mesh that client sessions are signed with; 16 to 64 bytes.
    pub session_key: Arc<[u8]>,
    /// Who may connect where neither pod nor namespace says it.
    pub default_policy: DefaultPolicy,
}

/// The index.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    pub(crate) settings: Settings,
    synced: bool,
    pub(crate) grants: BTreeMap<Name, GrantEntry>,
    pub(crate) namespaces: BTreeMap<Arc<str>, NamespaceEntry>,
    pub(crate) nodes: BTreeMap<Arc<str>, NodeEntry>,
    pub(crate) pods: BTreeMap<Name, PodEntry>,
    pub(crate) routes: BTreeMap<ObjectKey, RouteEntry>,
    pub(crate) services: BTreeMap<Name, ServiceEntry>,
    pub(crate) slices: BTreeMap<Name, SliceEntry>,
    /// Services by address.
    pub(crate) service_addresses: Relation<IpAddr>,
    /// Pods by address.
    pub(crate) pod_addresses: Relation<IpAddr>,
    /// Pods by node.
    pub(crate) node_pods: Relation<Arc<str>>,
    /// Slices by Service.
    pub(crate) service_slices: Relation<Name>,
    /// Slices by the pods that they name.
    pub(crate) pod_slices: Relation<Name>,
    /// Routes by parent Service.
    pub(crate) parent_routes: Relation<Name, ObjectKey>,
    /// Routes by the Services that their rules name.
    pub(crate) backend_routes: Relation<Name, ObjectKey>,
}

impl Index {
    /// An empty index, not synced.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            synced: false,
            grants: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            routes: BTreeMap::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            service_addresses: Relation::default(),
            pod_addresses: Relation::default(),
            node_pods: Relation::default(),
            service_slices: Relation::default(),
            pod_slices: Relation::default(),
            parent_routes: Relation::default(),
            backend_routes: Relation::default(),
        }
    }

    /// Whether a complete list has been seen. Before that no answer may leave the control plane.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Takes an event in and says which answers may differ.
    pub fn apply(&mut self, event: Event) -> Changes {
        match event {
            Event::Apply(object) => self.apply_object(object),
            Event::Delete(key) => self.delete(&key),
            Event::Replace(objects) => {
                *self = Index { synced: true, ..Index::new(self.settings.clone()) };
                for object in objects {
                    self.apply_object(object);
                }
                Changes { everything: true, ..Changes::default() }
            }
        }
    }

    fn apply_object(&mut self, object: Object) -> Changes {
        let name = Name::of(object.metadata());
        match object {
            Object::Deployment(_) | Object::ServiceAccount(_) => Changes::default(),
            Object::EndpointSlice(slice) => self.put_slice(&name, Some(SliceEntry::new(&slice))),
            Object::GrpcRoute(route) => {
                let entry = RouteEntry::grpc(&route, &self.settings.session_key);
                self.put_route(&entry.key.clone(), Some(entry))
            }
            Object::HttpRoute(route) => {
                let entry = RouteEntry::http(&route, &self.settings.session_key);
                self.put_route(&entry.key.clone(), Some(entry))
            }
            Object::Namespace(namespace) => self.put_namespace(&name.name, Some(NamespaceEntry::new(&namespace))),
            Object::Node(node) => self.put_node(&name.name, Some(NodeEntry::new(&node))),
            Object::Pod(pod) => self.put_pod(&name, Some(PodEntry::new(&pod, &self.settings.trust_domain))),
            Object::ReferenceGrant(grant) => self.put_grant(&name, Some(GrantEntry::new(&grant))),
            Object::Service(service) => self.put_service(&name, Some(ServiceEntry::new(&service))),
        }
    }

    fn delete(&mut self, key: &ObjectKey) -> Changes {
        let name = Name { namespace: key.namespace.clone(), name: key.name.clone() };
        match key.kind {
            Kind::Deployment | Kind::ServiceAccount => Changes::default(),
            Kind::EndpointSlice => self.put_slice(&name, None),
            Kind::GrpcRoute | Kind::HttpRoute => self.put_route(key, None),
            Kind::Namespace => self.put_namespace(&name.name, None),
            Kind::Node => self.put_node(&name.name, None),
            Kind::Pod => self.put_pod(&name, None),
            Kind::ReferenceGrant => self.put_grant(&name, None),
            Kind::Service => self.put_service(&name, None),
        }
    }

    // Each `put` takes the old entry out of the secondary indexes, puts the new one in, and unites what each touches.

    fn put_grant(&mut self, name: &Name, entry: Option<GrantEntry>) -> Changes {
        // One that is about something else is the same as none.
        let entry = entry.filter(|entry| *entry != GrantEntry::default());
        if self.grants.get(name) == entry.as_ref() {
            return Changes::default();
        }
        put(&mut self.grants, name, entry);
        let refers = |route: &&RouteEntry| {
            *route.key.namespace != *name.namespace
                && route.backend_services().any(|service| service.namespace == name.namespace)
        };
        let routes: Vec<&RouteEntry> = self.routes.values().filter(refers).collect();
        let addresses = routes.iter().flat_map(|route| self.parents_addresses(route)).collect();
        Changes { addresses, routes: !routes.is_empty(), ..Changes::default() }
    }

    fn put_namespace(&mut self, name: &Arc<str>, entry: Option<NamespaceEntry>) -> Changes {
        // A namespace that says nothing is the same as one that nobody has told us about.
        let entry = entry.filter(|entry| *entry != NamespaceEntry::default());
        if self.namespaces.get(name) == entry.as_ref() {
            return Changes::default();
        }
        put(&mut self.namespaces, name, entry);
        let inside = |other: &&Name| other.namespace == *name;
        let services = self.services.iter().filter(|(service, _)| service.namespace == *name);
        Changes {
            addresses: services.flat_map(|(_, service)| service.addresses()).collect(),
            pods: self.pods.keys().filter(inside).cloned().collect(),
            ..Changes::default()
        }
    }

    fn put_node(&mut self, name: &Arc<str>, entry: Option<NodeEntry>) -> Changes {
        if self.nodes.get(name) == entry.as_ref() {
            return Changes::default();
        }
        put(&mut self.nodes, name, entry);
        let pods = self.node_pods.of(name).cloned().collect();
        Changes { pods, nodes: [name.clone()].into(), ..Changes::default() }
    }

    fn put_pod(&mut self, name: &Name, entry: Option<PodEntry>) -> Changes {
        if self.pods.get(name) == entry.as_ref() {
            return Changes::default();
        }
        let old = put(&mut self.pods, name, entry);
        let new = self.pods.get(name);
        for ip in old.iter().flat_map(|pod| &pod.ips) {
            self.pod_addresses.remove(ip, name);
        }
        for ip in new.iter().flat_map(|pod| &pod.ips) {
            self.pod_addresses.add(*ip, name);
        }
        for node in old.iter().filter_map(|pod| pod.node.as_ref()) {
            self.node_pods.remove(node, name);
        }
        for node in new.iter().filter_map(|pod| pod.node.as_ref()) {
            self.node_pods.add(node.clone(), name);
        }
        let addresses = old.iter().chain(new).flat_map(|pod| &pod.ips).copied().collect();
        let slices = self.pod_slices.of(name).filter_map(|slice| self.slices.get(slice));
        Changes {
            addresses,
            services: slices.filter_map(|slice| slice.service.clone()).collect(),
            pods: [name.clone()].into(),
            ..Changes::default()
        }
    }

    fn put_route(&mut self, name: &ObjectKey, entry: Option<RouteEntry>) -> Changes {
        if self.routes.get(name) == entry.as_ref() {
            return Changes::default();
        }
        let old = put(&mut self.routes, name, entry);
        let new = self.routes.get(name);
        if let Some(route) = &old {
            route.parents.iter().for_each(|parent| self.parent_routes.remove(&parent.service, name));
            route.backend_services().for_each(|service| self.backend_routes.remove(&service, name));
        }
        if let Some(route) = new {
            route.parents.iter().for_each(|parent| self.parent_routes.add(parent.service.clone(), name));
            route.backend_services().for_each(|service| self.backend_routes.add(service, name));
        }
        let both = || old.iter().chain(new);
        let parents = both().flat_map(|route| &route.parents).map(|parent| &parent.service);
        Changes {
            addresses: both().flat_map(|route| self.parents_addresses(route)).collect(),
            ports: parents.flat_map(|service| self.pods_of(service)).collect(),
            routes: true,
            ..Changes::default()
        }
    }

    fn put_service(&mut self, name: &Name, entry: Option<ServiceEntry>) -> Changes {
        if self.services.get(name) == entry.as_ref() {
            return Changes::default();
        }
        let old = put(&mut self.services, name, entry);
        let new = self.services.get(name);
        for address in old.iter().flat_map(|service| service.addresses()) {
            self.service_addresses.remove(&address, name);
        }
        for address in new.iter().flat_map(|service| service.addresses()) {
            self.service_addresses.add(address, name);
        }
        let ports = self.pods_of(name).collect();
        let mut changes = Changes { services: [name.clone()].into(), ports, ..Changes::default() };
        changes.addresses.extend(old.iter().chain(new).flat_map(|service| service.addresses()));
        for route in self.backend_routes.of(name).filter_map(|route| self.routes.get(route)) {
            changes.addresses.extend(self.parents_addresses(route));
            changes.routes = true;
        }
        changes.routes |= self.parent_routes.of(name).next().is_some();
        changes
    }

    fn put_slice(&mut self, name: &Name, entry: Option<SliceEntry>) -> Changes {
        if self.slices.get(name) == entry.as_ref() {
            return Changes::default();
        }
        let old = put(&mut self.slices, name, entry);
        let new = self.slices.get(name);
        if let Some(slice) = &old {
            slice.service.iter().for_each(|service| self.service_slices.remove(service, name));
            slice.pods().for_each(|pod| self.pod_slices.remove(pod, name));
        }
        if let Some(slice) = new {
            slice.service.iter().for_each(|service| self.service_slices.add(service.clone(), name));
            slice.pods().for_each(|pod| self.pod_slices.add(pod.clone(), name));
        }
        let both = || old.iter().chain(new);
        Changes {
            services: both().filter_map(|slice| slice.service.clone()).collect(),
            ports: both().flat_map(SliceEntry::pods).cloned().collect(),
            ..Changes::default()
        }
    }

    /// Pods that a Service's slices name.
    fn pods_of(&self, service: &Name) -> impl Iterator<Item = Name> + use<'_> {
        let slices = self.service_slices.of(service).filter_map(|slice| self.slices.get(slice));
        slices.flat_map(SliceEntry::pods).cloned()
    }

    fn parents_addresses<'a>(&'a self, route: &'a RouteEntry) -> impl Iterator<Item = IpAddr> + 'a {
        let parents = route.parents.iter().filter_map(|parent| self.services.get(&parent.service));
        parents.flat_map(ServiceEntry::addresses)
    }
}

/// Sets or removes; answers what was there.
fn put<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key.clone(), value),
        None => map.remove(key),
    }
}
