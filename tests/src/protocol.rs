//! What a test says to the node that it started: one JSON line each way.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Something to be done inside.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Give a pod one more address, and every other pod the way to it: what a node does for a Service without a mesh. Answered
    /// by [`Reply::Done`].
    AddAddress {
        /// The pod's name.
        pod: String,
        /// The address.
        address: IpAddr,
    },
    /// Make a pod's network namespace, on the bridge, with an address. Answered by [`Reply::Done`].
    AddPod {
        /// Name.
        name: String,
        /// Its address in 10.42.0.0/16.
        address: Ipv4Addr,
        /// Whether it has that one, and one of IPv6.
        families: Families,
    },
    /// Take a pod off the node's bridge, or put it back: what it sends goes nowhere, and nothing reaches it. Answered by
    /// [`Reply::Done`].
    Attach {
        /// The pod's name.
        pod: String,
        /// Back on.
        attached: bool,
    },
    /// Send a signal. Answered by [`Reply::Done`], also if the process is gone.
    Signal {
        /// To this process.
        pid: i32,
        /// The signal's number.
        signal: i32,
    },
    /// Start a program. Answered by [`Reply::Started`].
    Spawn(Spawn),
    /// How is this process? Answered by [`Reply::Status`].
    Status {
        /// Process.
        pid: i32,
    },
}

/// The addresses of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Families {
    /// Both.
    Dual,
    /// IPv4; IPv6 is there, without an address.
    V4,
    /// IPv4, and IPv6 switched off.
    V4Alone,
    /// IPv6.
    V6,
}

impl Families {
    /// Whether a pod has an address of IPv4.
    pub fn v4(self) -> bool {
        self != Families::V6
    }

    /// Whether a pod has an address of IPv6.
    pub fn v6(self) -> bool {
        matches!(self, Families::Dual | Families::V6)
    }
}

/// The address in fd00:42::/64 of the pod that has, or would have, `address`.
pub fn address6(address: Ipv4Addr) -> Ipv6Addr {
    let [.., high, low] = address.octets();
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, u16::from_be_bytes([high, low]))
}

/// A program to start.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spawn {
    /// In this pod; none: on the node.
    pub pod: Option<String>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the environment.
    pub environment: BTreeMap<String, String>,
    /// Standard output goes here.
    pub stdout: PathBuf,
    /// Standard error goes here.
    pub stderr: PathBuf,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// It did not work.
    Failed(String),
    /// The process number, as processes inside know it.
    Started(i32),
    /// How a process is.
    Status(Status),
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It ended by itself, with this status.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// It runs.
    Running,
}
