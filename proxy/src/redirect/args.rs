//! Command line of `minimesh redirect`.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

/// Programs the interception of a pod's TCP connections (nf_tables), then exits.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Args {
    /// Traffic of this user is the proxy's own and passes; the default where --exempt-mark is not given is 2102
    #[arg(long, env = "MINIMESH_EXEMPT_UID", value_name = "UID")]
    pub exempt_uid: Option<u32>,
    /// Traffic with this SO_MARK is the proxy's own and passes (where every process has one user)
    #[arg(long, env = "MINIMESH_EXEMPT_MARK", value_name = "MARK")]
    pub exempt_mark: Option<u32>,
    /// Where the proxy takes connections that come into the pod
    #[arg(long, env = "MINIMESH_INBOUND_PORT", default_value = "4143", value_name = "PORT")]
    pub inbound_port: NonZeroU16,
    /// Where the proxy takes connections that the pod makes
    #[arg(long, env = "MINIMESH_OUTBOUND_PORT", default_value = "4140", value_name = "PORT")]
    pub outbound_port: NonZeroU16,
    /// The proxy's admin port, never redirected
    #[arg(long, env = "MINIMESH_ADMIN_PORT", default_value = "4191", value_name = "PORT")]
    pub admin_port: NonZeroU16,
    /// Ports of the pod that are not intercepted, e.g. 22,9000-9010
    #[arg(long, env = "MINIMESH_SKIP_INBOUND_PORTS", default_value = "", value_name = "PORTS")]
    pub skip_inbound_ports: PortRanges,
    /// Destination ports that are not intercepted, e.g. 25,4567-4568
    #[arg(long, env = "MINIMESH_SKIP_OUTBOUND_PORTS", default_value = "", value_name = "PORTS")]
    pub skip_outbound_ports: PortRanges,
    /// Destinations that are not intercepted, e.g. 192.168.0.0/16
    #[arg(long, env = "MINIMESH_SKIP_SUBNETS", value_delimiter = ',', value_name = "CIDR,…")]
    pub skip_subnets: Vec<IpNet>,
    /// Show what would be programmed, in nft's language, and touch nothing
    #[arg(long)]
    pub print: bool,
    /// Take the interception away
    #[arg(long)]
    pub remove: bool,
}

/// A list of ports and ranges of ports, as `25,4000-4010`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortRanges(pub Vec<RangeInclusive<u16>>);

/// A list of ports that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{part:?} is no port from 1 to 65535 and no range such as 4000-4010")]
pub struct PortRangesError {
    part: String,
}

impl FromStr for PortRanges {
    type Err = PortRangesError;

    fn from_str(text: &str) -> Result<PortRanges, PortRangesError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| port_range(part).ok_or_else(|| PortRangesError { part: part.to_owned() })).collect()
    }
}

impl FromIterator<RangeInclusive<u16>> for PortRanges {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> PortRanges {
        PortRanges(ranges.into_iter().collect())
    }
}

impl fmt::Display for PortRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (low, high) if low == high => write!(f, "{comma}{low}")?,
                (low, high) => write!(f, "{comma}{low}-{high}")?,
            }
        }
        Ok(())
    }
}

fn port_range(part: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = part.split_once('-').unwrap_or((part, part));
    let (low, high): (NonZeroU16, NonZeroU16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low <= high).then(|| low.get()..=high.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_lists_read_back_as_written() {
        let ranges: PortRanges = " 25, 4000-4010 ,65535,".parse().expect("a valid list");
        assert_eq!(ranges.0, [25..=25, 4000..=4010, 65535..=65535]);
        assert_eq!(ranges.to_string(), "25,4000-4010,65535");
        assert_eq!("".parse(), Ok(PortRanges::default()));
    }

    #[test]
    fn a_bad_port_is_named() {
        for bad in ["0", "65536", "9-8", "x", "1-", "-1", "1-2-3"] {
            assert_eq!(bad.parse::<PortRanges>(), Err(PortRangesError { part: bad.to_owned() }));
        }
    }
}
