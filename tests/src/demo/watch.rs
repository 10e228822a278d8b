//! `netns-runner watch`: enters the demo's namespaces and looks at every packet on every interface of every pod, until its
//! standard input ends; then says what it saw.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::ARPHRD_LOOPBACK;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{LinkAddr, recvfrom, setsockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::apps::{READY, packets};

/// What to look at, and for what.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Texts to look for in packets.
    pub markers: Vec<String>,
    /// Names, and a process in each one's network namespace.
    pub pods: BTreeMap<String, u32>,
    /// The node's kubelet asks in plaintext.
    pub node: Ipv4Addr,
}

/// What one pod's interfaces carried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Its veth.
    pub veth: Interface,
    /// Between its application and its sidecar.
    pub loopback: Interface,
    /// Packets that the kernel counts for the veth meanwhile.
    pub counted: u64,
}

/// What one interface carried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Interface {
    /// Packets.
    pub packets: u64,
    /// Packets that contain a marker, by marker.
    pub markers: BTreeMap<String, u64>,
    /// TCP segments that begin with a TLS record, by the connection's lower port.
    pub tls: BTreeMap<u16, u64>,
    /// Connections, but for the node's, whose first byte was seen and was not TLS.
    pub plaintext: BTreeSet<String>,
}

/// Enters the namespaces of the plan, which is its argument.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let plan: Plan = serde_json::from_str(arguments.first().ok_or("no plan")?)?;
    let open = |process: u32, kind: &str| File::open(format!("/proc/{process}/ns/{kind}"));
    let first = *plan.pods.values().next().ok_or("no pods")?;
    let namespaces: Result<Vec<(String, File)>, _> =
        plan.pods.iter().map(|(name, process)| Ok::<_, Failure>((name.clone(), open(*process, "net")?))).collect();
    let namespaces = namespaces?;
    if fs::read_link("/proc/self/ns/user")? != fs::read_link(format!("/proc/{first}/ns/user"))? {
        setns(open(first, "user")?, CloneFlags::CLONE_NEWUSER)?;
    }
    let (plan, ending) = (Arc::new(plan), Arc::new(AtomicBool::new(false)));
    let mut threads = Vec::new();
    for (name, namespace) in namespaces {
        // what a thread is started in, it stays in
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let (socket, plan, ending) = (packets()?, Arc::clone(&plan), Arc::clone(&ending));
        let counted = counted()?;
        let thread = std::thread::spawn(move || {
            let mut seen = look(&socket, &plan, &ending)?;
            seen.counted = self::counted().map_err(|_| Errno::EIO)? - counted;
            Ok::<Seen, Errno>(seen)
        });
        threads.push((name, thread));
    }
    println!("{READY}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    ending.store(true, Ordering::SeqCst);
    let mut result = BTreeMap::new();
    for (name, thread) in threads {
        result.insert(name, thread.join().map_err(|_| "a thread died")??);
    }
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

/// Looks until the end, and then at what is left.
fn look(socket: &OwnedFd, plan: &Plan, ending: &AtomicBool) -> nix::Result<Seen> {
    setsockopt(socket, ReceiveTimeout, &TimeVal::milliseconds(LOOK.as_millis() as i64))?;
    let (mut seen, mut begun, mut last) = (Seen::default(), HashSet::new(), false);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        if !last && ending.load(Ordering::SeqCst) {
            last = true;
            fcntl(socket.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let (length, from) = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN) if last => return Ok(seen),
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(error) => return Err(error),
        };
        let loopback = from.is_some_and(|from| from.hatype() == ARPHRD_LOOPBACK);
        let interface = if loopback { &mut seen.loopback } else { &mut seen.veth };
        interface.take(&buffer[..length], plan, &mut begun);
    }
}

impl Interface {
    fn take(&mut self, packet: &[u8], plan: &Plan, begun: &mut HashSet<(SocketAddr, SocketAddr)>) {
        self.packets += 1;
        for marker in &plan.markers {
            if packet.windows(marker.len()).any(|window| window == marker.as_bytes()) {
                *self.markers.entry(marker.clone()).or_default() += 1;
            }
        }
        let Some(Segment { from, to, opens, payload }) = Segment::parse(packet) else { return };
        let tls = matches!(payload, [0x14..=0x17, 3, ..]);
        if tls {
            *self.tls.entry(from.port().min(to.port())).or_default() += 1;
        }
        let node = IpAddr::V4(plan.node);
        if opens {
            begun.insert((from, to));
        } else if !payload.is_empty() && begun.remove(&(from, to)) && !tls && from.ip() != node && to.ip() != node {
            let text = String::from_utf8_lossy(&payload[..payload.len().min(40)]);
            self.plaintext.insert(format!("{from} -> {to}: {text:?}"));
        }
    }
}

/// A TCP segment.
struct Segment<'p> {
    from: SocketAddr,
    to: SocketAddr,
    /// The first of its direction.
    opens: bool,
    payload: &'p [u8],
}

impl Segment<'_> {
    /// Of an Ethernet frame.
    fn parse(frame: &[u8]) -> Option<Segment<'_>> {
        let (header, packet) = frame.split_at_checked(14)?;
        let (from, to, segment): (IpAddr, IpAddr, &[u8]) = match header[12..] {
            [0x08, 0x00] => {
                let length = usize::from(packet.first()? & 0xf) * 4;
                let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
                // a segment that the kernel has not cut yet may be longer than the field can say
                let end = if total == 0 { packet.len() } else { total };
                let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
                (address(12)?.into(), address(16)?.into(), tcp(packet[9], packet.get(length..end)?)?)
            }
            [0x86, 0xdd] => {
                let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
                (address(8)?.into(), address(24)?.into(), tcp(packet[6], packet.get(40..)?)?)
            }
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]));
        let payload = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
        let (from, to) = (SocketAddr::new(from, port(0)?), SocketAddr::new(to, port(2)?));
        Some(Segment { from, to, opens: segment[13] & SYN != 0, payload })
    }
}

fn tcp(protocol: u8, segment: &[u8]) -> Option<&[u8]> {
    (protocol == 6).then_some(segment)
}

/// Packets, in and out, that the kernel has counted for the veth of this thread's network namespace.
fn counted() -> Result<u64, Failure> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let veth = table.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    // the node has none of its own
    let Some(veth) = veth else { return Ok(0) };
    let numbers: Vec<u64> = veth.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Ok(numbers.get(1).ok_or("no count of packets in")? + numbers.get(9).ok_or("no count of packets out")?)
}

const SYN: u8 = 2;
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[12] = 8;
        let total = (40 + payload.len()) as u8;
        frame.extend_from_slice(&[0x45, 0, 0, total, 0, 0, 0, 0, 64, 6, 0, 0, 10, 42, 0, 2, 10, 42, 0, 3]);
        frame.extend_from_slice(&[0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(payload);
        // Ethernet pads short frames
        frame.extend_from_slice(&[0; 6]);
        frame
    }

    fn interface(first: &[u8]) -> Interface {
        let plan = Plan { markers: vec!["secret".into()], pods: BTreeMap::new(), node: Ipv4Addr::new(10, 42, 0, 1) };
        let (mut interface, mut begun) = (Interface::default(), HashSet::new());
        for (flags, payload) in [(SYN, &b""[..]), (0x10, b""), (0x18, first), (0x18, b"secret")] {
            interface.take(&frame(flags, payload), &plan, &mut begun);
        }
        interface
    }

    #[test]
    fn a_connection_that_does_not_begin_with_tls_is_named() {
        let seen = interface(b"GET / HTTP/1.1");
        assert_eq!(
            seen.plaintext.into_iter().collect::<Vec<_>>(),
            ["10.42.0.2:40000 -> 10.42.0.3:80: \"GET / HTTP/1.1\""]
        );
        assert_eq!(seen.tls, BTreeMap::new());
    }

    #[test]
    fn records_are_counted_by_the_servers_port_and_markers_are_found_anywhere() {
        let seen = interface(&[0x16, 3, 1, 0, 200]);
        assert_eq!(seen.plaintext, BTreeSet::new());
        assert_eq!(seen.tls, BTreeMap::from([(80, 1)]));
        assert_eq!((seen.packets, seen.markers), (4, BTreeMap::from([("secret".to_owned(), 1)])));
    }
}
