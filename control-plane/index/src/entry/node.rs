//! Of a Node: where its kubelet asks from, which pods' addresses are on it, its zone.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::resource::Node;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeEntry {
    /// Its own, and the first of each of its pods' networks: there stands the bridge that a kubelet's probes come from.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) pods: Vec<IpNet>,
    pub(crate) zone: Option<Arc<str>>,
}

impl NodeEntry {
    pub(crate) fn new(node: &Node) -> Self {
        let pods = node.pod_networks();
        let bridges = pods.iter().filter_map(first_of);
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in node.ip_addresses().chain(bridges).map(|address| address.to_canonical()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Self { addresses, pods, zone: node.zone().map(Arc::from) }
    }
}

/// The address after the network's own, which IPv6 counts among its hosts.
fn first_of(network: &IpNet) -> Option<IpAddr> {
    network.hosts().find(|address| *address != network.network())
}
