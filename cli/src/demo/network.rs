//! The demo's network, by rtnetlink: a bridge that is the node, and a veth pair from it into each pod.
//!
//! The node makes the bridge; each pod makes its own pair, over a netlink socket that it opened before it entered its own
//! network namespace. There is no route out.

use std::net::{IpAddr, Ipv4Addr};

use nix::sched::{CloneFlags, unshare};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};
use thiserror::Error;

/// The node's address: default route and DNS server of every pod.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
/// Pods and services, as K3s numbers them.
pub(crate) const CLUSTER_NETWORKS: &str = "10.42.0.0/16,10.43.0.0/16";
/// The pods' network on this one node is a /24.
const PREFIX: u8 = 24;
const BRIDGE: &str = "minimesh0";

/// What the kernel refused.
#[derive(Debug, Error)]
pub(crate) enum NetworkError {
    #[error("cannot {what}: {source}{}", hint(source))]
    Netlink { what: &'static str, source: rtnetlink::Error },
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: std::io::Error },
}

/// Makes the node's side.
pub(crate) async fn prepare_node() -> Result<(), NetworkError> {
    let handle = connect()?;
    up(&handle, 1, "bring up the node's loopback interface").await?;
    let bridge = LinkBridge::new(BRIDGE).build();
    done("make a bridge", handle.link().add(bridge).execute().await)?;
    let index = index_of(&handle, BRIDGE).await?;
    let add = handle.address().add(index, IpAddr::V4(NODE), PREFIX);
    done("give the node its address", add.execute().await)?;
    up(&handle, index, "bring up the bridge").await
}

/// Enters a network namespace of this process's own, connected to the node as `ip`.
pub(crate) async fn enter_pod(ip: Ipv4Addr) -> Result<(), NetworkError> {
    // this socket stays in the node's network namespace
    let node = connect()?;
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| NetworkError::System { what: "make a pod's network namespace", source: error.into() })?;
    let pod = connect()?;

    // named by process: the pair of a pod that was here before may linger for a moment
    let outside = format!("pod{}", std::process::id());
    let bridge = index_of(&node, BRIDGE).await?;
    // an address that follows from the pod's: a pod that is made again is found under its old neighbour entries
    let hardware = [&[0x0a, 0x2a], ip.octets().as_slice()].concat();
    let inside = LinkUnspec::new_with_name("eth0").address(hardware).setns_by_pid(std::process::id()).build();
    let veth = LinkVeth::new(&outside, "eth0").controller(bridge).up().set_info_data(peer(inside)).build();
    done("make a veth pair", node.link().add(veth).execute().await)?;

    up(&pod, 1, "bring up a pod's loopback interface").await?;
    let index = index_of(&pod, "eth0").await?;
    done("give a pod its address", pod.address().add(index, IpAddr::V4(ip), PREFIX).execute().await)?;
    up(&pod, index, "bring up a pod's interface").await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(NODE).build();
    done("set a pod's default route", pod.route().add(route).execute().await)
}

fn peer(inside: rtnetlink::packet_route::link::LinkMessage) -> rtnetlink::packet_route::link::InfoData {
    use rtnetlink::packet_route::link::{InfoData, InfoVeth};
    InfoData::Veth(InfoVeth::Peer(inside))
}

fn connect() -> Result<Handle, NetworkError> {
    let (connection, handle, _) =
        new_connection().map_err(|source| NetworkError::System { what: "open a netlink socket", source })?;
    // ends by itself when the handle is dropped
    tokio::task::spawn_local(connection);
    Ok(handle)
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, NetworkError> {
    use futures_util::TryStreamExt;
    let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
    done("find a network interface", found)?.map(|link| link.header.index).ok_or_else(|| NetworkError::System {
        what: "find a network interface",
        source: std::io::Error::new(std::io::ErrorKind::NotFound, name.to_owned()),
    })
}

async fn up(handle: &Handle, index: u32, what: &'static str) -> Result<(), NetworkError> {
    done(what, handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await)
}

fn done<T>(what: &'static str, result: Result<T, rtnetlink::Error>) -> Result<T, NetworkError> {
    result.map_err(|source| NetworkError::Netlink { what, source })
}

/// EOPNOTSUPP for a kind of link means that its kernel module is not there.
fn hint(error: &rtnetlink::Error) -> &'static str {
    let rtnetlink::Error::NetlinkError(message) = error else { return "" };
    match message.code.map(|code| nix::errno::Errno::from_raw(-code.get())) {
        Some(nix::errno::Errno::EOPNOTSUPP) => {
            "; the kernel lacks this kind of interface. Way out: sudo modprobe -a bridge veth, or another kernel (CONFIG_BRIDGE, CONFIG_VETH)"
        }
        _ => "",
    }
}
