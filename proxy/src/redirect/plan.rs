//! What interception looks like: tables, chains, rules. Pure.
//!
//! ```text
//! output      the proxy's own traffic and loopback pass; skipped subnets and ports pass; TCP goes to the outbound port
//! prerouting  loopback passes; our own ports and skipped ports pass; TCP goes to the inbound port
//! ```

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::args::{Args, PortRanges};

/// Everything that is programmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) tables: [Table; 2],
}

/// One table of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) family: Family,
    pub(super) chains: [Chain; 2],
}

/// Tables are per family, not `inet`: NAT in `inet` tables needs a kernel from 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ip,
    Ip6,
}

/// A NAT chain on a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) hook: Hook,
    pub(super) rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Output,
    Prerouting,
}

/// Every match must hold; each rule counts what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Destination(IpNet),
    /// Only after `Tcp`.
    DestinationPort(RangeInclusive<u16>),
    FromLoopback,
    Mark(u32),
    Tcp,
    ToLoopback,
    Uid(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Redirect(u16),
    Return,
}

impl Table {
    /// As nft names it.
    pub(super) fn name(&self) -> &'static str {
        match self.family {
            Family::Ip => "table ip minimesh",
            Family::Ip6 => "table ip6 minimesh",
        }
    }
}

impl From<&Args> for Plan {
    fn from(args: &Args) -> Plan {
        let table = |family| Table { family, chains: [output(args, family), prerouting(args)] };
        Plan { tables: [Family::Ip, Family::Ip6].map(table) }
    }
}

fn output(args: &Args, family: Family) -> Chain {
    let uid = args.exempt_uid.or(args.exempt_mark.is_none().then_some(DEFAULT_UID));
    let exempt = uid.map(Match::Uid).into_iter().chain(args.exempt_mark.map(Match::Mark));
    let mut rules: Vec<Rule> = exempt.map(|own| pass(vec![own])).collect();
    rules.push(pass(vec![Match::ToLoopback]));
    let subnets = args.skip_subnets.iter().filter(|net| matches!(net, IpNet::V4(_)) == (family == Family::Ip));
    rules.extend(subnets.map(|net| pass(vec![Match::Destination(net.trunc())])));
    rules.extend(skipped(&args.skip_outbound_ports));
    rules.push(redirect(args.outbound_port.get()));
    Chain { hook: Hook::Output, rules }
}

fn prerouting(args: &Args) -> Chain {
    let own = [args.outbound_port, args.inbound_port, args.admin_port];
    let own = PortRanges(own.iter().map(|port| port.get()..=port.get()).collect());
    let mut rules = vec![pass(vec![Match::FromLoopback])];
    rules.extend(skipped(&own));
    rules.extend(skipped(&args.skip_inbound_ports));
    rules.push(redirect(args.inbound_port.get()));
    Chain { hook: Hook::Prerouting, rules }
}

fn skipped(ports: &PortRanges) -> impl Iterator<Item = Rule> {
    ports.0.iter().map(|range| pass(vec![Match::Tcp, Match::DestinationPort(range.clone())]))
}

fn pass(matches: Vec<Match>) -> Rule {
    Rule { matches, verdict: Verdict::Return }
}

fn redirect(port: u16) -> Rule {
    Rule { matches: vec![Match::Tcp], verdict: Verdict::Redirect(port) }
}

/// The user that the sidecar runs as.
const DEFAULT_UID: u32 = 2102;
