//! DNS in a few lines: `A` questions over UDP to the servers of `/etc/resolv.conf`.
//!
//! A static program must not call getaddrinfo. Owns the codec and the search list; the directory calls it once per
//! connection. A malformed answer is an error, never a panic.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{net::UdpSocket, time::timeout};

/// Looks a host name up, along the search list.
pub(crate) async fn resolve(name: &str) -> io::Result<Vec<Ipv4Addr>> {
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    let config = Config::parse(&text);
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{name}: no DNS server in /etc/resolv.conf"));
    for candidate in config.candidates(name) {
        match ask_servers(&config.servers, &candidate).await {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => last = io::Error::new(io::ErrorKind::NotFound, format!("{name}: no such host")),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
struct Config {
    servers: Vec<std::net::IpAddr>,
    search: Vec<String>,
    dots: usize,
}

impl Config {
    fn parse(text: &str) -> Config {
        let mut config = Config { servers: Vec::new(), search: Vec::new(), dots: 1 };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    config.servers.extend(words.next().and_then(|word| word.parse::<std::net::IpAddr>().ok()))
                }
                Some("search") => config.search = words.map(|word| word.trim_matches('.').to_owned()).collect(),
                Some("options") => {
                    let dots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    config.dots = dots.unwrap_or(config.dots);
                }
                _ => {}
            }
        }
        config
    }

    /// Absolute names to ask for, in order (resolv.conf(5), `ndots`).
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        if name.matches('.').count() >= self.dots {
            return std::iter::once(name.to_owned()).chain(searched).collect();
        }
        searched.chain(std::iter::once(name.to_owned())).collect()
    }
}

async fn ask_servers(servers: &[std::net::IpAddr], name: &str) -> io::Result<Vec<Ipv4Addr>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no DNS server in /etc/resolv.conf");
    for _ in 0..ATTEMPTS {
        for server in servers {
            match timeout(PATIENCE, ask(*server, name)).await {
                Ok(Ok(addresses)) => return Ok(addresses),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("DNS server {server} is silent")),
            }
        }
    }
    Err(last)
}

async fn ask(server: std::net::IpAddr, name: &str) -> io::Result<Vec<Ipv4Addr>> {
    let unspecified: std::net::IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((unspecified, 0)).await?;
    socket.connect((server, 53)).await?;
    let id = crate::ids::number() as u16;
    socket.send(&question(id, name)?).await?;
    let mut buffer = [0; 4096];
    loop {
        let read = socket.recv(&mut buffer).await?;
        // an answer to somebody else's question is not an error, it is noise
        if buffer[..read].get(..2) == Some(&id.to_be_bytes()[..]) {
            return answers(&buffer[..read]);
        }
    }
}

/// A question for `A` records, recursion desired.
fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(18 + name.len());
    message.extend(id.to_be_bytes());
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 || name.len() > 253 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no host name")));
        }
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    Ok(message)
}

/// The `A` records of an answer; empty when the name does not exist or has none.
fn answers(message: &[u8]) -> io::Result<Vec<Ipv4Addr>> {
    let mut reader = Reader { message, at: 2 };
    let flags = reader.u16()?;
    let (questions, records) = (reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    if flags & 0x8000 == 0 {
        return Err(malformed());
    }
    match flags & 0xf {
        0 => {}
        3 => return Ok(Vec::new()),
        code => return Err(io::Error::other(format!("DNS server answered with code {code}"))),
    }
    for _ in 0..questions {
        reader.name()?;
        reader.skip(4)?;
    }
    let mut addresses = Vec::new();
    for _ in 0..records {
        reader.name()?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        reader.skip(4)?;
        let length = usize::from(reader.u16()?);
        let data = reader.take(length)?;
        if let (1, 1, Ok(octets)) = (kind, class, <[u8; 4]>::try_from(data)) {
            addresses.push(Ipv4Addr::from(octets));
        }
    }
    Ok(addresses)
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, length: usize) -> io::Result<&'m [u8]> {
        let bytes = self.message.get(self.at..self.at + length).ok_or_else(malformed)?;
        self.at += length;
        Ok(bytes)
    }

    fn skip(&mut self, length: usize) -> io::Result<()> {
        self.take(length).map(drop)
    }

    fn u16(&mut self) -> io::Result<u16> {
        Ok(self.take(2)?.iter().fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }

    /// Skips a name: labels until a zero, or a compression pointer, which ends it.
    fn name(&mut self) -> io::Result<()> {
        loop {
            match self.take(1)?[0] {
                0 => return Ok(()),
                length if length & 0xc0 == 0xc0 => return self.skip(1),
                length if length & 0xc0 == 0 => self.skip(usize::from(length))?,
                _ => return Err(malformed()),
            }
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "DNS server sent a malformed answer")
}

/// Each server is asked twice: UDP may lose one.
const ATTEMPTS: usize = 2;
/// A server in the same cluster answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clusters_search_list_comes_before_the_bare_name() {
        let config = Config::parse(
            "search sock-shop.svc.cluster.local svc.cluster.local\nnameserver 10.43.0.10 # dns\noptions ndots:5 timeout:1\n",
        );
        assert_eq!(config.servers, ["10.43.0.10".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(
            config.candidates("carts-db"),
            ["carts-db.sock-shop.svc.cluster.local", "carts-db.svc.cluster.local", "carts-db"]
        );
        assert_eq!(config.candidates("carts.example."), ["carts.example"]);
    }

    #[test]
    fn a_name_with_enough_dots_is_asked_as_it_is_first() {
        let config = Config::parse("search a.example\n");
        assert_eq!(config.candidates("b.example"), ["b.example", "b.example.a.example"]);
    }

    fn answer(code: u8, records: &[u8], count: u8) -> Vec<u8> {
        let mut message = question(7, "carts.example").unwrap();
        message[2] = 0x81;
        message[3] = 0x80 | code;
        message[7] = count;
        message.extend(records);
        message
    }

    #[test]
    fn reads_addresses_behind_an_alias_and_a_compressed_name() {
        let mut records = vec![0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 18];
        records.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 43, 1, 2]);
        assert_eq!(answers(&answer(0, &records, 2)).unwrap(), [Ipv4Addr::new(10, 43, 1, 2)]);
    }

    #[test]
    fn a_name_that_does_not_exist_has_no_addresses() {
        assert_eq!(answers(&answer(3, &[], 0)).unwrap(), Vec::<Ipv4Addr>::new());
    }

    #[test]
    fn a_failing_server_is_an_error() {
        assert!(answers(&answer(2, &[], 0)).is_err());
    }

    #[test]
    fn every_truncation_is_an_error_and_no_panic() {
        let records = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 43, 1, 2];
        let whole = answer(0, &records, 1);
        for end in 0..whole.len() {
            assert!(answers(&whole[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn refuses_to_ask_for_what_is_no_name() {
        assert!(question(1, "a..b").is_err());
        assert!(question(1, &"x".repeat(64)).is_err());
    }
}
