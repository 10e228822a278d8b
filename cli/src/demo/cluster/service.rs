//! What follows from Services and pods: cluster addresses, EndpointSlices, and names.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use minimesh_index::resource::{
    AddressType, ClusterIp, EndpointConditions, EndpointSlice, Metadata, Pod, Service, SliceEndpoint, SlicePort,
    TargetRef,
};

/// Cluster addresses that were given out. A Service keeps its own for the life of the demo; where it can be had it follows
/// from the name alone, so that it is the same in the next demo.
#[derive(Debug, Default)]
pub(super) struct ClusterIps {
    given: BTreeMap<(String, String), Ipv4Addr>,
}

impl ClusterIps {
    /// Gives every Service its address, except to headless ones.
    pub(super) fn assign(&mut self, mut services: Vec<Service>) -> Vec<Service> {
        let named: BTreeSet<IpAddr> = services.iter().flat_map(Service::cluster_addresses).collect();
        for service in &mut services {
            if service.is_headless() || !service.cluster_addresses().is_empty() {
                continue;
            }
            let key = (service.metadata.namespace.clone(), service.metadata.name.clone());
            let ip = match self.given.get(&key).filter(|ip| !named.contains(&IpAddr::V4(**ip))) {
                Some(ip) => *ip,
                None => self.choose(&key, &named),
            };
            self.given.insert(key, ip);
            service.spec.cluster_ip = Some(ClusterIp::Address(IpAddr::V4(ip)));
            service.spec.cluster_ips = vec![ClusterIp::Address(IpAddr::V4(ip))];
        }
        services
    }

    fn choose(&self, (namespace, name): &(String, String), named: &BTreeSet<IpAddr>) -> Ipv4Addr {
        let start = super::fnv(format!("{namespace}/{name}").as_bytes());
        let candidates = (0..HOSTS).map(|probe| 1 + (start.wrapping_add(probe) % HOSTS) as u32);
        let mut addresses = candidates.map(|host| Ipv4Addr::from_bits(SERVICES.to_bits() + host));
        let is_free =
            |ip: &Ipv4Addr| !named.contains(&IpAddr::V4(*ip)) && !self.given.values().any(|given| given == ip);
        addresses.find(is_free).expect("a folder of manifests has fewer than 65 000 Services")
    }
}

/// The endpoints of a Service that selects pods. More than one slice where a named port means different numbers.
pub(super) fn slices(service: &Service, pods: &[Pod]) -> Vec<EndpointSlice> {
    if service.spec.selector.is_empty() {
        return Vec::new();
    }
    let mut by_ports: Vec<(Vec<SlicePort>, Vec<SliceEndpoint>)> = Vec::new();
    for pod in selected(service, pods) {
        let ports = resolved_ports(service, pod);
        let Some(endpoint) = endpoint(service, pod) else { continue };
        match by_ports.iter_mut().find(|(found, _)| *found == ports) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => by_ports.push((ports, vec![endpoint])),
        }
    }
    if by_ports.is_empty() {
        by_ports.push((Vec::new(), Vec::new()));
    }
    let own = &service.metadata;
    let slices = by_ports.into_iter().enumerate().map(|(number, (ports, endpoints))| {
        let mut metadata = Metadata::new(&*own.namespace, format!("{}-{number}", own.name));
        metadata.labels.insert(EndpointSlice::SERVICE_NAME_LABEL.into(), own.name.clone());
        EndpointSlice { metadata, address_type: AddressType::IPv4, endpoints, ports }
    });
    slices.collect()
}

/// `NAME.NAMESPACE` and its addresses: the Service's, or its ready pods' where it is headless.
pub(super) fn name_record(service: &Service, pods: &[Pod]) -> (String, Vec<Ipv4Addr>) {
    let name = format!("{}.{}", service.metadata.name, service.metadata.namespace);
    let addresses = if service.is_headless() {
        let usable = |pod: &&Pod| service.spec.publish_not_ready_addresses || is_ready(pod) && !pod.is_draining();
        selected(service, pods).filter(usable).flat_map(Pod::addresses).collect()
    } else {
        service.cluster_addresses()
    };
    let ipv4 = |address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    (name, addresses.into_iter().filter_map(ipv4).collect())
}

fn selected<'p>(service: &'p Service, pods: &'p [Pod]) -> impl Iterator<Item = &'p Pod> {
    let selector = &service.spec.selector;
    let matches = move |pod: &&Pod| {
        pod.metadata.namespace == service.metadata.namespace
            && !selector.is_empty()
            && selector.iter().all(|(label, value)| pod.metadata.labels.get(label) == Some(value))
    };
    pods.iter().filter(matches)
}

/// The Service's ports as that pod has them.
fn resolved_ports(service: &Service, pod: &Pod) -> Vec<SlicePort> {
    let ports = service.spec.ports.iter();
    let resolved = ports.filter_map(|port| {
        let number = port.target_port_of(pod)?;
        let (protocol, app_protocol) = (port.protocol.clone(), port.app_protocol.clone());
        Some(SlicePort { name: port.name.clone(), port: Some(number), protocol, app_protocol })
    });
    resolved.collect()
}

fn endpoint(service: &Service, pod: &Pod) -> Option<SliceEndpoint> {
    let serving = is_ready(pod) || service.spec.publish_not_ready_addresses;
    let terminating = pod.is_draining();
    Some(SliceEndpoint {
        addresses: vec![pod.status.pod_ip?.to_string()],
        conditions: EndpointConditions {
            ready: Some(serving && !terminating),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        target_ref: Some(TargetRef {
            kind: "Pod".into(),
            name: pod.metadata.name.clone(),
            namespace: Some(pod.metadata.namespace.clone()),
            uid: pod.metadata.uid.clone(),
        }),
        zone: None,
        node_name: pod.spec.node_name.clone(),
        ..SliceEndpoint::default()
    })
}

fn is_ready(pod: &Pod) -> bool {
    pod.status.conditions.iter().any(|condition| condition.condition_type == "Ready" && condition.status == "True")
}

/// K3s's service network.
const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 0);
/// Host numbers 1 to 65534 of a /16.
const HOSTS: u64 = 65_534;
