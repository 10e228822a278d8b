//! One question of both families to one DNS server, over UDP (RFC 1035, RFC 3596).
//!
//! No TCP: an answer that was cut short still has more addresses in it than anybody dials.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// What a server says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Not empty.
    Addresses(Vec<IpAddr>),
    /// No such name, or none with an address.
    Nothing,
    /// The server could not or would not say.
    Refused(String),
}

/// What it says of one family.
#[derive(Debug)]
enum Answer {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    Refused(String),
}

/// Asks for the addresses of an absolute name. Waits for ever where nothing comes back.
pub(super) async fn ask(server: SocketAddr, name: &str) -> io::Result<Found> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // from here on only this server's answers arrive, and its absence is an error
    socket.connect(server).await?;
    let mut random = [0; 2];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system gave no randomness"))?;
    let id = u16::from_be_bytes(random);
    for (index, kind) in FAMILIES.into_iter().enumerate() {
        socket.send(&question(id.wrapping_add(index as u16), name, kind)?).await?;
    }
    let mut answers: [Option<Answer>; 2] = [None, None];
    let mut buffer = vec![0; LARGEST];
    loop {
        let found = answers.iter().flatten().any(|one| matches!(one, Answer::Addresses(found) if !found.is_empty()));
        let more = socket.recv(&mut buffer);
        let size = match found {
            false => more.await?,
            true => match timeout(OTHER_FAMILY, more).await {
                Ok(received) => received?,
                Err(_) => break,
            },
        };
        if let Some((index, answer)) = read(&buffer[..size], id, name) {
            answers[index].get_or_insert(answer);
        }
        // no such name has no such name of the other family; some servers say so of IPv6 alone, and are wrong (RFC 4074)
        if matches!(answers, [Some(Answer::NoSuchName), _] | [Some(_), Some(_)]) {
            break;
        }
    }
    Ok(both(answers))
}

fn both(answers: [Option<Answer>; 2]) -> Found {
    let (mut addresses, mut refused) = (Vec::new(), None);
    for answer in answers.into_iter().flatten() {
        match answer {
            Answer::Addresses(found) => addresses.extend(found),
            Answer::NoSuchName => {}
            Answer::Refused(code) => refused = Some(code),
        }
    }
    match (addresses.is_empty(), refused) {
        (false, _) => Found::Addresses(addresses),
        (true, Some(code)) => Found::Refused(code),
        (true, None) => Found::Nothing,
    }
}

fn question(id: u16, name: &str, kind: TYPE) -> io::Result<Vec<u8>> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name: {error}"));
    let asked = Name::new(name).map_err(invalid)?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(asked, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(invalid)
}

/// Which of our two questions a message answers, and how; `None`: neither.
fn read(message: &[u8], id: u16, name: &str) -> Option<(usize, Answer)> {
    let packet = Packet::parse(message).ok()?;
    let index = usize::from(packet.id().wrapping_sub(id));
    let kind = *FAMILIES.get(index)?;
    let [asked] = &packet.questions[..] else { return None };
    let same = asked.qtype == QTYPE::TYPE(kind) && asked.qname.to_string().eq_ignore_ascii_case(name);
    if !packet.has_flags(PacketFlag::RESPONSE) || !same {
        return None;
    }
    let address = |data: &RData<'_>| match (kind, data) {
        (TYPE::A, RData::A(record)) => Some(IpAddr::from(Ipv4Addr::from(record.address))),
        (TYPE::AAAA, RData::AAAA(record)) => Some(IpAddr::from(Ipv6Addr::from(record.address))),
        _ => None,
    };
    let answer = match packet.rcode() {
        RCODE::NoError => {
            Answer::Addresses(packet.answers.iter().filter_map(|record| address(&record.rdata)).collect())
        }
        RCODE::NameError => Answer::NoSuchName,
        code => Answer::Refused(format!("{code:?}")),
    };
    Some((index, answer))
}

const FAMILIES: [TYPE; 2] = [TYPE::A, TYPE::AAAA];
/// Some servers drop questions for a family that they know nothing of; who has addresses of the other does not wait for long
/// (RFC 8305 section 3 says 50 ms, for people who wait).
const OTHER_FAMILY: Duration = Duration::from_millis(250);
/// Without EDNS an answer has at most 512 bytes; some servers do not care.
const LARGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_server_sends_never_panics(
            noise in prop::collection::vec(any::<u8>(), 0..600),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let _ = read(&noise, 0, "plane.example");
            let mut answer = question(7, "plane.example", TYPE::A).expect("a name");
            answer[2] |= 0x80;
            answer[7] = 1;
            // behind a compressed name, an address
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 43, 1, 2]);
            assert!(matches!(read(&answer, 7, "plane.example"), Some((0, Answer::Addresses(found))) if found.len() == 1));
            for (index, byte) in flips {
                *index.get_mut(&mut answer) = byte;
            }
            let _ = read(&answer[..cut.index(answer.len())], 7, "plane.example");
        }
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        assert!(question(1, &"x".repeat(64), TYPE::A).is_err());
        assert!(question(1, &"x.".repeat(130), TYPE::A).is_err());
    }
}
