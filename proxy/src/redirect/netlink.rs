//! nf_tables over netlink: a table is one transaction. No nft binary, no C library.
//!
//! Message layout: linux/netfilter/nf_tables.h and nfnetlink.h. All numbers of attributes are big-endian, netlink's own
//! headers are in the host's order.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::plan::{Chain, Family, Hook, Match, Rule, Table, Verdict};
use super::text::RuleText;

/// Why the interception could not be programmed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel lacks a part of nf_tables.
    #[error(
        "{step}: the kernel has no {module} ({source}); load it on the node (modprobe {module}), or use a kernel with \
         CONFIG_NF_TABLES, CONFIG_NFT_NAT and CONFIG_NFT_REDIR"
    )]
    NoModule {
        /// What was being programmed.
        step: String,
        /// What to load.
        module: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not allowed.
    #[error(
        "{step}: not permitted; `minimesh redirect` needs CAP_NET_ADMIN in the network namespace that it programs (in a \
         pod: securityContext.capabilities.add: [NET_ADMIN], and runAsUser: 0)"
    )]
    NotPermitted {
        /// What was being programmed.
        step: String,
    },
    /// Anything else the kernel said.
    #[error("{step}: {source}")]
    Refused {
        /// What was being programmed.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One transaction: the kernel applies all of it or nothing.
pub(super) struct Batch {
    family: u8,
    buffer: Vec<u8>,
    /// What each message does, for errors; its index is the message's sequence number.
    steps: Vec<String>,
}

impl Batch {
    /// Creates the table or replaces it: added (so that it is there), deleted, added anew.
    pub(super) fn replace(table: &Table) -> Batch {
        let mut batch = Batch::remove(table);
        batch.table(NEW_TABLE, CREATE, "add", table);
        for chain in &table.chains {
            batch.chain(chain, table.family);
        }
        batch
    }

    /// Deletes the table, whether or not it is there.
    pub(super) fn remove(table: &Table) -> Batch {
        let family = match table.family {
            Family::Ip => NFPROTO_IPV4,
            Family::Ip6 => NFPROTO_IPV6,
        };
        let mut batch = Batch { family, buffer: Vec::new(), steps: Vec::new() };
        batch.message(BATCH_BEGIN, 0, Attributes::new(), "begin a transaction".to_owned());
        batch.table(NEW_TABLE, CREATE, "add", table);
        batch.table(DELETE_TABLE, 0, "delete", table);
        batch
    }

    /// Sends the transaction and waits for the kernel's word on every part of it.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        self.message(BATCH_END, 0, Attributes::new(), "commit".to_owned());
        let open = |source: Errno| Error::of("open a netlink socket".to_owned(), source);
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)
                .map_err(open)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0)).map_err(open)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(open)?;
        send(socket.as_raw_fd(), &self.buffer, MsgFlags::empty()).map_err(open)?;
        // The two ends of a batch are not acknowledged.
        let mut waiting = self.steps.len() - 2;
        let mut buffer = vec![0; 16 * 1024];
        while waiting > 0 {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
                .map_err(|error| Error::of("wait for the kernel's answer".to_owned(), error))?;
            for (sequence, error) in answers(&buffer[..length]) {
                if error != Errno::from_raw(0) {
                    let step = self.steps.get(sequence as usize).map_or("program", String::as_str);
                    return Err(Error::of(step.to_owned(), error));
                }
                waiting = waiting.saturating_sub(1);
            }
        }
        Ok(())
    }

    fn table(&mut self, kind: u16, flags: u16, verb: &str, table: &Table) {
        self.message(kind, flags, Attributes::new().string(1, TABLE), format!("{verb} {}", table.name()));
    }

    fn chain(&mut self, chain: &Chain, family: Family) {
        let (name, hook) = match chain.hook {
            Hook::Prerouting => ("prerouting", 0),
            Hook::Output => ("output", 3),
        };
        let hook = Attributes::new().number(1, hook).number(2, PRIORITY_DSTNAT as u32);
        let body = Attributes::new().string(1, TABLE).string(3, name).nested(4, hook).number(5, ACCEPT);
        self.message(NEW_CHAIN, CREATE, body.string(7, "nat"), format!("add chain {name}"));
        for rule in &chain.rules {
            let body = Attributes::new().string(1, TABLE).string(2, name).nested(4, expressions(rule));
            self.message(NEW_RULE, CREATE | APPEND, body, format!("add rule to {name}: {}", RuleText(rule, family)));
        }
    }

    fn message(&mut self, kind: u16, flags: u16, body: Attributes, step: String) {
        let control = kind == BATCH_BEGIN || kind == BATCH_END;
        let flags = REQUEST | flags | if control { 0 } else { ACKNOWLEDGE };
        let length = HEADER + body.0.len();
        self.buffer.extend((length as u32).to_ne_bytes());
        self.buffer.extend(kind.to_ne_bytes());
        self.buffer.extend(flags.to_ne_bytes());
        self.buffer.extend((self.steps.len() as u32).to_ne_bytes());
        self.buffer.extend([0; 4]); // port id: the kernel's
        // nfgenmsg: family, version 0, resource id (the batch's subsystem, big-endian)
        self.buffer.extend(if control { [0, 0, 0, NF_TABLES] } else { [self.family, 0, 0, 0] });
        self.buffer.extend(body.0);
        self.steps.push(step);
    }
}

impl Error {
    fn of(step: String, error: Errno) -> Error {
        let source = io::Error::from(error);
        let module = if step.contains("redirect to") {
            "nft_redir"
        } else if step.contains("chain") {
            "nft_chain_nat"
        } else {
            "nf_tables"
        };
        match error {
            Errno::EPERM | Errno::EACCES => Error::NotPermitted { step },
            // Without the subsystem: EPROTONOSUPPORT from socket, EOPNOTSUPP or EINVAL for the batch, ENOENT for a part.
            Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::ENOENT | Errno::EAFNOSUPPORT => {
                Error::NoModule { step, module, source }
            }
            Errno::EINVAL if step.starts_with("begin") => Error::NoModule { step, module, source },
            _ => Error::Refused { step, source },
        }
    }
}

/// The sequence number and error of every answer in a datagram.
fn answers(mut datagram: &[u8]) -> Vec<(u32, Errno)> {
    let word = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
        u32::from_ne_bytes(four.unwrap_or_default())
    };
    let mut found = Vec::new();
    while datagram.len() >= HEADER {
        let length = (word(datagram, 0) as usize).clamp(16, datagram.len());
        if u16::from_ne_bytes([datagram[4], datagram[5]]) == ERROR {
            let code = i32::from_ne_bytes(word(datagram, 16).to_ne_bytes());
            found.push((word(datagram, 8), Errno::from_raw(code.wrapping_neg())));
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// A rule's expressions: load a value into register 1, compare it, and so on; then count, then decide.
fn expressions(rule: &Rule) -> Attributes {
    let expressions = rule.matches.iter().fold(Expressions(Attributes::new()), |expressions, one| match one {
        Match::Destination(net) => expressions.destination(net),
        Match::DestinationPort(range) => expressions.destination_port(*range.start(), *range.end()),
        Match::FromLoopback => expressions.meta(META_IIFNAME).equal(&LOOPBACK_NAME),
        Match::Mark(mark) => expressions.meta(META_MARK).equal(&mark.to_ne_bytes()),
        Match::Tcp => expressions.meta(META_L4PROTO).equal(&[IPPROTO_TCP]),
        Match::ToLoopback => expressions.meta(META_OIFNAME).equal(&LOOPBACK_NAME),
        Match::Uid(uid) => expressions.meta(META_SKUID).equal(&uid.to_ne_bytes()),
    });
    let counted = expressions.add("counter", Attributes::new());
    match rule.verdict {
        Verdict::Redirect(port) => {
            counted.add("immediate", register().nested(2, value(&port.to_be_bytes()))).add("redir", register())
        }
        Verdict::Return => {
            let verdict = Attributes::new().nested(2, Attributes::new().number(1, RETURN as u32));
            counted.add("immediate", Attributes::new().number(1, VERDICT_REGISTER).nested(2, verdict))
        }
    }
    .0
}

struct Expressions(Attributes);

impl Expressions {
    fn add(self, name: &str, data: Attributes) -> Expressions {
        Expressions(self.0.nested(1, Attributes::new().string(1, name).nested(2, data)))
    }

    fn meta(self, key: u32) -> Expressions {
        self.add("meta", register().number(2, key))
    }

    fn equal(self, bytes: &[u8]) -> Expressions {
        self.add("cmp", register().number(2, EQUAL).nested(3, value(bytes)))
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Expressions {
        self.add("payload", register().number(2, base).number(3, offset).number(4, length))
    }

    fn destination_port(self, low: u16, high: u16) -> Expressions {
        let loaded = self.payload(TRANSPORT_HEADER, 2, 2);
        if low == high {
            return loaded.equal(&low.to_be_bytes());
        }
        let [low, high] = [low, high].map(|port| value(&port.to_be_bytes()));
        loaded.add("range", register().number(2, EQUAL).nested(3, low).nested(4, high))
    }

    fn destination(self, net: &IpNet) -> Expressions {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let offset = if net.addr().is_ipv4() { 16 } else { 24 };
        let (mask, address) = (octets(net.netmask()), octets(net.network()));
        let length = mask.len() as u32;
        let bitwise = register().number(2, REGISTER).number(3, length);
        let bitwise = bitwise.nested(4, value(&mask)).nested(5, value(&vec![0; mask.len()]));
        self.payload(NETWORK_HEADER, offset, length).add("bitwise", bitwise).equal(&address)
    }
}

/// What an expression begins with: the one register that rules use.
fn register() -> Attributes {
    Attributes::new().number(1, REGISTER)
}

fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().raw(1, bytes)
}

/// Netlink attributes: length, type, value, padded to four bytes.
struct Attributes(Vec<u8>);

impl Attributes {
    fn new() -> Attributes {
        Attributes(Vec::new())
    }

    fn raw(mut self, kind: u16, value: &[u8]) -> Attributes {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn string(self, kind: u16, value: &str) -> Attributes {
        self.raw(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn number(self, kind: u16, value: u32) -> Attributes {
        self.raw(kind, &value.to_be_bytes())
    }

    fn nested(self, kind: u16, inner: Attributes) -> Attributes {
        self.raw(kind | NESTED, &inner.0)
    }
}

const TABLE: &str = "minimesh";
const NF_TABLES: u8 = 10;
const NEW_TABLE: u16 = (NF_TABLES as u16) << 8;
const DELETE_TABLE: u16 = NEW_TABLE | 2;
const NEW_CHAIN: u16 = NEW_TABLE | 3;
const NEW_RULE: u16 = NEW_TABLE | 6;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 1 << 15;
/// nlmsghdr and nfgenmsg.
const HEADER: usize = 20;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const PRIORITY_DSTNAT: i32 = -100;
const ACCEPT: u32 = 1;
const RETURN: i32 = -5;
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
/// NFT_CMP_EQ, and NFT_RANGE_EQ.
const EQUAL: u32 = 0;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_SKUID: u32 = 10;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const IPPROTO_TCP: u8 = 6;
/// An interface name is compared in all its 16 bytes.
const LOOPBACK_NAME: [u8; 16] = *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The kernel answers at once; loading a module takes a moment.
const ANSWER_SECONDS: i64 = 10;
