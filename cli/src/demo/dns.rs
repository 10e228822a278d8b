//! The pods' DNS server: Service names below `svc.cluster.local`, over UDP and TCP, on the node's address.
//!
//! Fed by the node with `NAME.NAMESPACE -> addresses`. Knows nothing outside of the cluster's domain and asks nobody: there is
//! no route out. Pods' `resolv.conf` has a search line, so that `NAME` and `NAME.NAMESPACE` work as in Kubernetes.

use std::{cell::RefCell, collections::HashMap, io, net::Ipv4Addr, rc::Rc, time::Duration};

use simple_dns::{
    CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, RData},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

use super::{mounts::CLUSTER_DOMAIN, network::NODE};

/// What the server knows.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    names: HashMap<String, Vec<Ipv4Addr>>,
}

impl Zone {
    /// `NAME.NAMESPACE` and addresses, complete.
    pub(crate) fn replace(&mut self, names: HashMap<String, Vec<Ipv4Addr>>) {
        self.names = names;
    }

    /// Addresses of a fully qualified name in lower case.
    fn find(&self, name: &str) -> Option<&[Ipv4Addr]> {
        let service = name.strip_suffix(CLUSTER_DOMAIN)?.strip_suffix(".svc.")?;
        self.names.get(service).map(Vec::as_slice)
    }
}

/// Binds and serves from now on.
pub(crate) async fn serve(zone: Rc<RefCell<Zone>>) -> io::Result<()> {
    let udp = UdpSocket::bind((NODE, PORT)).await?;
    let tcp = TcpListener::bind((NODE, PORT)).await?;
    let own = Rc::clone(&zone);
    tokio::task::spawn_local(async move {
        let mut query = [0; 1500];
        loop {
            let Ok((length, from)) = udp.recv_from(&mut query).await else { continue };
            let response = answer(&query[..length], &own.borrow(), Transport::Udp);
            if let Some(response) = response {
                let _ = udp.send_to(&response, from).await;
            }
        }
    });
    tokio::task::spawn_local(async move {
        loop {
            let Ok((stream, _)) = tcp.accept().await else { continue };
            let zone = Rc::clone(&zone);
            tokio::task::spawn_local(async move {
                let _ = timeout(TCP_TIME, converse(stream, zone)).await;
            });
        }
    });
    Ok(())
}

/// Queries over TCP carry their length.
async fn converse(mut stream: TcpStream, zone: Rc<RefCell<Zone>>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        let response = answer(&query, &zone.borrow(), Transport::Tcp);
        let Some(response) = response else { return Ok(()) };
        stream.write_u16(response.len() as u16).await?;
        stream.write_all(&response).await?;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

/// `None`: not a query that deserves an answer.
fn answer(query: &[u8], zone: &Zone, transport: Transport) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok().filter(|query| !query.has_flags(PacketFlag::RESPONSE))?;
    let limit = match (transport, query.opt()) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(opt)) => usize::from(opt.udp_packet_size).clamp(PLAIN_UDP, LARGEST_UDP),
    };
    let recursion = query.has_flags(PacketFlag::RECURSION_DESIRED);
    let mut reply = query.into_reply();
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
    if recursion {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    reply.answers.clear();
    reply.name_servers.clear();
    reply.additional_records.clear();
    let Some(question) = reply.questions.first() else {
        *reply.rcode_mut() = RCODE::FormatError;
        return reply.build_bytes_vec_compressed().ok();
    };
    let wants_ipv4 = matches!(question.qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY);
    match zone.find(&question.qname.to_string().to_ascii_lowercase()) {
        Some(addresses) if wants_ipv4 => {
            let record = |address: &Ipv4Addr| {
                let data = RData::A(A { address: address.to_bits() });
                ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data)
            };
            reply.answers = addresses.iter().map(record).collect();
        }
        // the name is there, without records of that type
        Some(_) => {}
        None => *reply.rcode_mut() = RCODE::NameError,
    }
    let bytes = reply.build_bytes_vec_compressed().ok()?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
    reply.answers.clear();
    reply.set_flags(PacketFlag::TRUNCATION);
    reply.build_bytes_vec_compressed().ok()
}

const PORT: u16 = 53;
/// Pods come and go; Kubernetes' DNS says 5 s for Services as well.
const TTL: u32 = 5;
/// RFC 1035 without EDNS, and what fits an Ethernet frame.
const PLAIN_UDP: usize = 512;
const LARGEST_UDP: usize = 1232;
/// A client that says nothing for so long is gone.
const TCP_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use simple_dns::{Name, QCLASS, Question};

    use super::*;

    fn zone() -> Zone {
        let mut zone = Zone::default();
        let many = (1..=100).map(|host| Ipv4Addr::new(10, 42, 0, host)).collect();
        let names = [("web.shop".to_owned(), vec![Ipv4Addr::new(10, 43, 1, 2)]), ("many.shop".to_owned(), many)];
        zone.replace(names.into());
        zone
    }

    fn ask(name: &str, kind: TYPE, transport: Transport) -> (RCODE, Vec<Ipv4Addr>, bool) {
        let mut query = Packet::new_query(77);
        let name = Name::new(name).expect("a name");
        query.questions.push(Question::new(name, kind.into(), QCLASS::CLASS(CLASS::IN), false));
        let query = query.build_bytes_vec().expect("a query");
        let bytes = answer(&query, &zone(), transport).expect("an answer");
        let reply = Packet::parse(&bytes).expect("a packet");
        assert_eq!(reply.id(), 77);
        let address = |record: &ResourceRecord<'_>| match &record.rdata {
            RData::A(a) => Ipv4Addr::from_bits(a.address),
            other => panic!("{other:?}"),
        };
        (reply.rcode(), reply.answers.iter().map(address).collect(), reply.has_flags(PacketFlag::TRUNCATION))
    }

    #[test]
    fn service_has_its_address_in_any_case_of_letters() {
        let expected = (RCODE::NoError, vec![Ipv4Addr::new(10, 43, 1, 2)], false);
        assert_eq!(ask("Web.shop.svc.cluster.local", TYPE::A, Transport::Udp), expected);
    }

    #[test]
    fn ipv6_is_answered_with_no_data() {
        assert_eq!(ask("web.shop.svc.cluster.local", TYPE::AAAA, Transport::Udp), (RCODE::NoError, vec![], false));
    }

    #[test]
    fn unknown_and_outside_names_do_not_exist() {
        for name in ["nobody.shop.svc.cluster.local", "example.org", "web", "svc.cluster.local", "local"] {
            assert_eq!(ask(name, TYPE::A, Transport::Udp), (RCODE::NameError, vec![], false), "{name}");
        }
    }

    #[test]
    fn answer_that_does_not_fit_is_truncated_and_complete_over_tcp() {
        assert_eq!(ask("many.shop.svc.cluster.local", TYPE::A, Transport::Udp), (RCODE::NoError, vec![], true));
        let (code, addresses, truncated) = ask("many.shop.svc.cluster.local", TYPE::A, Transport::Tcp);
        assert_eq!((code, addresses.len(), truncated), (RCODE::NoError, 100, false));
    }

    #[test]
    fn garbage_and_responses_get_no_answer() {
        assert_eq!(answer(b"no", &zone(), Transport::Udp), None);
        let response = Packet::new_reply(1).build_bytes_vec().expect("a packet");
        assert_eq!(answer(&response, &zone(), Transport::Udp), None);
    }
}
