//! A node's network: a bridge, and per pod a namespace with one end of a veth pair. Namespaces have no name; they live as long
//! as the file that `init` holds open.

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use futures_util::TryStreamExt;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};

use crate::Failure;
use crate::protocol::{Families, address6};

/// The node, and the pods' way out.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
const PREFIX: u8 = 16;
const PREFIX6: u8 = 64;
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
    families: Families,
    /// The node's end of its veth pair.
    port: String,
}

impl Network {
    /// Takes the namespace that this process is in as the node's.
    pub(super) async fn new() -> Result<Network, Failure> {
        let handle = connect()?;
        handle.link().add(LinkBridge::new(BRIDGE).build()).execute().await?;
        let bridge = index(&handle, BRIDGE).await?;
        configure(&handle, "lo", &[]).await?;
        let both = [IpAddr::V4(GATEWAY), IpAddr::V6(address6(GATEWAY))];
        configure(&handle, BRIDGE, if has_ipv6() { &both } else { &both[..1] }).await?;
        refuse(&handle, SERVICES).await?;
        Ok(Network { node: own_namespace()?, handle, bridge, pods: HashMap::new() })
    }

    pub(super) async fn add_pod(&mut self, name: String, address: Ipv4Addr, families: Families) -> Result<(), Failure> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let pod = own_namespace()?;
        let inside = connect()?;
        if families == Families::V4Alone && has_ipv6() {
            std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
            std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        setns(&self.node, CloneFlags::CLONE_NEWNET)?;

        let port = format!("pod{}", self.pods.len());
        let veth = LinkVeth::new(&port, "eth0").build();
        self.handle.link().add(veth).execute().await?;
        let peer = LinkUnspec::new_with_name("eth0").setns_by_fd(pod.as_raw_fd()).build();
        self.handle.link().set(peer).execute().await?;
        let attached = LinkUnspec::new_with_name(&port).controller(self.bridge).up().build();
        self.handle.link().set(attached).execute().await?;

        configure(&inside, "lo", &[]).await?;
        let v4 = families.v4().then_some(IpAddr::V4(address));
        let v6 = families.v6().then_some(IpAddr::V6(address6(address)));
        configure(&inside, "eth0", &v4.into_iter().chain(v6).collect::<Vec<_>>()).await?;
        if families.v4() {
            inside.route().add(RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY).build()).execute().await?;
        }
        if families.v6() {
            let default = RouteMessageBuilder::<Ipv6Addr>::new().gateway(address6(GATEWAY)).build();
            inside.route().add(default).execute().await?;
        }
        self.pods.insert(name, Inside { namespace: pod, handle: inside, address, families, port });
        Ok(())
    }

    pub(super) async fn add_address(&self, pod: &str, address: IpAddr) -> Result<(), Failure> {
        let owner = self.pods.get(pod).ok_or_else(|| format!("no pod {pod}"))?;
        let own = if address.is_ipv4() { Families::v4 } else { Families::v6 };
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        add_address(&owner.handle, index(&owner.handle, "eth0").await?, address, prefix).await?;
        let others = self.pods.values().filter(|other| other.address != owner.address && own(other.families));
        for other in others {
            let route = match address {
                IpAddr::V4(address) => {
                    let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, prefix);
                    route.gateway(owner.address).build()
                }
                IpAddr::V6(address) => {
                    let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, prefix);
                    route.gateway(address6(owner.address)).build()
                }
            };
            other.handle.route().add(route).execute().await?;
        }
        Ok(())
    }

    /// Puts a pod on the bridge, or takes it off: it keeps its carrier, its addresses and its routes.
    pub(super) async fn attach(&self, pod: &str, attached: bool) -> Result<(), Failure> {
        let pod = self.pods.get(pod).ok_or_else(|| format!("no pod {pod}"))?;
        let port = LinkUnspec::new_with_name(&pod.port);
        let port = if attached { port.controller(self.bridge) } else { port.nocontroller() };
        Ok(self.handle.link().set(port.build()).execute().await?)
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

/// Whether this kernel knows IPv6.
fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

/// Gives an interface its addresses and switches it on.
async fn configure(handle: &Handle, name: &str, addresses: &[IpAddr]) -> Result<(), Failure> {
    let index = index(handle, name).await?;
    for &address in addresses {
        add_address(handle, index, address, if address.is_ipv4() { PREFIX } else { PREFIX6 }).await?;
    }
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    Ok(())
}

async fn add_address(handle: &Handle, index: u32, address: IpAddr, prefix: u8) -> Result<(), Failure> {
    let mut add = handle.address().add(index, address, prefix);
    if address.is_ipv6() {
        // nobody else has it: no second of waiting to find that out
        add.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    Ok(add.execute().await?)
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
