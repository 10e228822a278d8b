//! A node's network: a bridge, and per pod a namespace with one end of a veth pair. Namespaces have no name; they live as long
//! as the file that `init` holds open.

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use futures_util::TryStreamExt;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};

use crate::Failure;

/// The node, and the pods' way out.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
const PREFIX: u8 = 16;
/// Addresses of Services.
const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 0);
const BRIDGE: &str = "pods";
/// The kernel's table of addresses that are this host's own (RT_TABLE_LOCAL).
const LOCAL_TABLE: u32 = 255;

pub(super) struct Network {
    node: File,
    handle: Handle,
    bridge: u32,
    pods: HashMap<String, Inside>,
}

struct Inside {
    namespace: File,
    handle: Handle,
    address: Ipv4Addr,
}

impl Network {
    /// Takes the namespace that this process is in as the node's.
    pub(super) async fn new() -> Result<Network, Failure> {
        let handle = connect()?;
        handle.link().add(LinkBridge::new(BRIDGE).build()).execute().await?;
        let bridge = index(&handle, BRIDGE).await?;
        configure(&handle, "lo", None).await?;
        configure(&handle, BRIDGE, Some(GATEWAY)).await?;
        refuse(&handle, SERVICES).await?;
        Ok(Network { node: own_namespace()?, handle, bridge, pods: HashMap::new() })
    }

    pub(super) async fn add_pod(&mut self, name: String, address: Ipv4Addr) -> Result<(), Failure> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let pod = own_namespace()?;
        let inside = connect()?;
        setns(&self.node, CloneFlags::CLONE_NEWNET)?;

        let port = format!("pod{}", self.pods.len());
        let veth = LinkVeth::new(&port, "eth0").build();
        self.handle.link().add(veth).execute().await?;
        let peer = LinkUnspec::new_with_name("eth0").setns_by_fd(pod.as_raw_fd()).build();
        self.handle.link().set(peer).execute().await?;
        let attached = LinkUnspec::new_with_name(&port).controller(self.bridge).up().build();
        self.handle.link().set(attached).execute().await?;

        configure(&inside, "lo", None).await?;
        configure(&inside, "eth0", Some(address)).await?;
        let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY).build();
        inside.route().add(default).execute().await?;
        self.pods.insert(name, Inside { namespace: pod, handle: inside, address });
        Ok(())
    }

    pub(super) async fn add_address(&self, pod: &str, address: Ipv4Addr) -> Result<(), Failure> {
        let owner = self.pods.get(pod).ok_or_else(|| format!("no pod {pod}"))?;
        let index = index(&owner.handle, "eth0").await?;
        owner.handle.address().add(index, IpAddr::V4(address), 32).execute().await?;
        for other in self.pods.values().filter(|other| other.address != owner.address) {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).gateway(owner.address);
            other.handle.route().add(route.build()).execute().await?;
        }
        Ok(())
    }

    /// A file of the namespace, for a child's standard input; none: the node's.
    pub(super) fn namespace(&self, pod: Option<&str>) -> Result<File, Failure> {
        let file = match pod {
            None => &self.node,
            Some(name) => &self.pods.get(name).ok_or_else(|| format!("no pod {name}"))?.namespace,
        };
        Ok(file.try_clone()?)
    }
}

/// A netlink connection of the namespace that this process is in now; it stays there.
fn connect() -> Result<Handle, Failure> {
    let (connection, handle, _) = new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

fn own_namespace() -> Result<File, Failure> {
    Ok(File::open("/proc/thread-self/ns/net")?)
}

/// Gives an interface its address and switches it on.
async fn configure(handle: &Handle, name: &str, address: Option<Ipv4Addr>) -> Result<(), Failure> {
    let index = index(handle, name).await?;
    if let Some(address) = address {
        handle.address().add(index, IpAddr::V4(address), PREFIX).execute().await?;
    }
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    Ok(())
}

/// A connection to an address of no Service is refused at once, as kube-proxy does it, instead of going unanswered until the
/// proxy that passed it through gives up.
async fn refuse(handle: &Handle, network: Ipv4Addr) -> Result<(), Failure> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(network, PREFIX);
    let route = route.output_interface(index(handle, "lo").await?).table_id(LOCAL_TABLE).kind(RouteType::Local);
    Ok(handle.route().add(route.scope(RouteScope::Host).build()).execute().await?)
}

async fn index(handle: &Handle, name: &str) -> Result<u32, Failure> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?.ok_or_else(|| format!("no interface {name}"))?;
    Ok(link.header.index)
}
