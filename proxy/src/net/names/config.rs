//! `/etc/resolv.conf` (resolv.conf(5)) and `/etc/hosts` (hosts(5)). Pure. What cannot be read is left out, as the system's own resolver
//! does: a line too many must not keep a pod from its control plane.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What `/etc/resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// In the order to be asked.
    pub(super) servers: Vec<SocketAddr>,
    /// Domains, without dots at their ends.
    pub(super) search: Vec<String>,
    /// A name with so many dots is asked as it is first.
    pub(super) dots: usize,
    /// For one server and name.
    pub(super) timeout: Duration,
    /// How often each server is asked.
    pub(super) attempts: usize,
}

impl Config {
    pub(super) fn parse(text: &str) -> Config {
        let mut config = Config { servers: Vec::new(), search: Vec::new(), dots: 1, timeout: TIMEOUT, attempts: 2 };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") if config.servers.len() < MOST_SERVERS => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    config.servers.extend(server.map(|server| SocketAddr::new(server, PORT)));
                }
                // the last line of either kind counts
                Some("search" | "domain") => {
                    let domains = words.map(|word| word.trim_matches('.').to_owned());
                    config.search = domains.filter(|domain| !domain.is_empty()).collect();
                }
                Some("options") => words.for_each(|word| config.option(word)),
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        config
    }

    /// Others are not for us: both families are asked at once, and one server after the other.
    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<usize>() else { return };
        // the bounds are the system's own (resolv.h)
        match name {
            "attempts" => self.attempts = value.clamp(1, 5),
            "ndots" => self.dots = value.min(15),
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30) as u64),
            _ => {}
        }
    }

    /// Absolute names to ask for, in order.
    pub(super) fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{host}.{domain}"));
        let bare = std::iter::once(host.to_owned());
        match host.matches('.').count() >= self.dots {
            true => bare.chain(searched).collect(),
            false => searched.chain(bare).collect(),
        }
    }
}

/// Addresses that `/etc/hosts` gives a name.
pub(super) fn listed(hosts: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    };
    let mut found: Vec<IpAddr> = Vec::new();
    for address in hosts.lines().filter_map(line) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

const PORT: u16 = 53;
/// The system's resolver reads no more.
const MOST_SERVERS: usize = 3;
/// Where the file says nothing. The system's is 5 s; a whole connection to a control plane may take 10.
const TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn config(servers: &[&str], search: &[&str], dots: usize, timeout: u64, attempts: usize) -> Config {
        Config {
            servers: servers.iter().map(|server| SocketAddr::new(server.parse().expect("an address"), 53)).collect(),
            search: search.iter().map(|&domain| domain.to_owned()).collect(),
            dots,
            timeout: Duration::from_secs(timeout),
            attempts,
        }
    }

    #[test]
    fn files_are_read_as_the_systems_own_resolver_reads_them() {
        let pods =
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.43.0.10\noptions ndots:5\n";
        let searched = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
        let local = config(&["127.0.0.1"], &[], 1, 2, 2);
        for (text, expected) in [
            (pods, config(&["10.43.0.10"], &searched, 5, 2, 2)),
            ("", local.clone()),
            (
                "# nameserver 10.0.0.1\n;nameserver 10.0.0.2\n  \n\u{fffd}\nnameserver\nnameserver dns.example\n",
                local.clone(),
            ),
            (
                "nameserver 10.0.0.1 # the first\r\nnameserver fd00::a\r\nnameserver 10.0.0.3\r\nnameserver 10.0.0.4\r\n",
                config(&["10.0.0.1", "fd00::a", "10.0.0.3"], &[], 1, 2, 2),
            ),
            ("search a.example\ndomain b.example\n", config(&["127.0.0.1"], &["b.example"], 1, 2, 2)),
            ("domain b.example\nsearch . a.example. c\n", config(&["127.0.0.1"], &["a.example", "c"], 1, 2, 2)),
            ("search a.example\nsearch\n", local.clone()),
            (
                "\tnameserver\t10.0.0.1\noptions timeout:1\toptions attempts:1 ndots:0\n",
                config(&["10.0.0.1"], &[], 0, 1, 1),
            ),
            ("options ndots:99 timeout:0 attempts:0\n", config(&["127.0.0.1"], &[], 15, 1, 1)),
            ("options ndots:99 timeout:99 attempts:99\n", config(&["127.0.0.1"], &[], 15, 30, 5)),
            ("options ndots: ndots:x ndots:-1 rotate edns0 single-request trust-ad\nsortlist 10.0.0.0\n", local),
            ("nameserver fe80::1%eth0\nnameserver 10.0.0.1\n", config(&["10.0.0.1"], &[], 1, 2, 2)),
        ] {
            assert_eq!(Config::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_are_searched_for_as_ndots_says() {
        let asked = |dots, host: &str| config(&["127.0.0.1"], &["a.example", "example"], dots, 2, 2).candidates(host);
        assert_eq!(
            asked(5, "plane.mesh.svc"),
            ["plane.mesh.svc.a.example", "plane.mesh.svc.example", "plane.mesh.svc"]
        );
        assert_eq!(asked(1, "plane.mesh"), ["plane.mesh", "plane.mesh.a.example", "plane.mesh.example"]);
        assert_eq!(asked(0, "plane"), ["plane", "plane.a.example", "plane.example"]);
        assert_eq!(asked(5, "plane.mesh.svc.cluster.local."), ["plane.mesh.svc.cluster.local"]);
    }

    #[test]
    fn hosts_are_found_by_any_of_their_names() {
        let hosts = "# comment\n127.0.0.1\tlocalhost\n10.0.0.1 plane plane.example # the old one\nfd00::1 Plane\n10.0.0.1 plane\n\
                     nonsense plane\n10.0.0.9 # plane\n";
        let found = ["10.0.0.1", "fd00::1"].map(|address| address.parse::<IpAddr>().expect("an address"));
        assert_eq!(listed(hosts, "plane"), found);
        assert_eq!(listed(hosts, "PLANE.example."), found[..1]);
        assert_eq!(listed(hosts, "plan"), Vec::<IpAddr>::new());
    }
}
