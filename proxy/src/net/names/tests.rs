//! Lookups against servers in process, which answer as a test says. Time is paused: a server that is silent costs nothing.

use std::time::Duration;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::*;

/// What a server does with a question.
enum Reply {
    Addresses(&'static [&'static str]),
    Code(RCODE),
    /// Somebody else's answer first, then ours.
    Forged(&'static str, &'static str),
    Silence,
}

/// A server; `reply` is asked with the name and whether IPv4 is meant.
async fn server(reply: impl Fn(&str, bool) -> Reply + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
            let packet = Packet::parse(&buffer[..size]).expect("a question");
            let question = &packet.questions[0];
            let reply = reply(&question.qname.to_string(), question.qtype == QTYPE::TYPE(TYPE::A));
            let mut send = Vec::new();
            match reply {
                Reply::Addresses(addresses) => send.push(answer(&packet, packet.id(), RCODE::NoError, addresses)),
                Reply::Code(code) => send.push(answer(&packet, packet.id(), code, &[])),
                Reply::Forged(other, own) => {
                    send.push(answer(&packet, packet.id().wrapping_add(99), RCODE::NoError, &[other]));
                    send.push(buffer[..size].to_vec());
                    send.push(b"\0".to_vec());
                    send.push(answer(&packet, packet.id(), RCODE::NoError, &[own]));
                }
                Reply::Silence => {}
            }
            for message in send {
                socket.send_to(&message, from).await.expect("sent");
            }
        }
    });
    address
}

fn answer(question: &Packet<'_>, id: u16, code: RCODE, addresses: &[&str]) -> Vec<u8> {
    let mut packet = question.clone().into_reply();
    packet.set_id(id);
    packet.set_flags(PacketFlag::RESPONSE);
    *packet.rcode_mut() = code;
    for address in addresses {
        let data = match address.parse().expect("an address") {
            IpAddr::V4(address) => RData::A(A::from(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA::from(address)),
        };
        packet.answers.push(ResourceRecord::new(question.questions[0].qname.clone(), CLASS::IN, 5, data));
    }
    packet.build_bytes_vec().expect("it can be written")
}

fn config(servers: &[SocketAddr], search: &[&str], dots: usize) -> Config {
    let search = search.iter().map(|&domain| domain.to_owned()).collect();
    Config { servers: servers.to_vec(), search, dots, timeout: Duration::from_secs(2), attempts: 2 }
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().expect("an address")).collect()
}

/// A cluster's: one Service with addresses of both families.
fn cluster(name: &str, v4: bool) -> Reply {
    match (name, v4) {
        ("plane.mesh.svc.cluster.local", true) => Reply::Addresses(&["10.43.0.7", "10.43.0.8"]),
        ("plane.mesh.svc.cluster.local", false) => Reply::Addresses(&["fd00:43::7"]),
        _ => Reply::Code(RCODE::NameError),
    }
}

const SEARCH: [&str; 3] = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];

#[tokio::test(start_paused = true)]
async fn a_name_is_found_along_the_search_list_with_both_families() {
    let config = config(&[server(cluster).await], &SEARCH, 5);
    for host in ["plane.mesh", "plane.mesh.svc", "plane.mesh.svc.cluster.local", "plane.mesh.svc.cluster.local."] {
        let found = lookup(&config, host).await.expect(host);
        assert_eq!(found, ips(&["10.43.0.7", "10.43.0.8", "fd00:43::7"]), "{host}");
    }
    let error = lookup(&config, "plan.mesh").await.expect_err("there is none");
    assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::NotFound, "no such host"));
    let error = lookup(&config, "plane.mesh.").await.expect_err("that name alone");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_dead_delays_a_lookup_once() {
    let dead = server(|_, _| Reply::Silence).await;
    let closed = UdpSocket::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound");
    let alive = server(cluster).await;
    let began = Instant::now();
    let found = lookup(&config(&[dead, closed, alive], &SEARCH, 5), "plane.mesh.svc").await.expect("the third answers");
    assert_eq!(found.len(), 3);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_all_silent_end_the_lookup_with_the_first_name() {
    let silent = server(|_, _| Reply::Silence).await;
    let began = Instant::now();
    let error = lookup(&config(&[silent], &SEARCH, 5), "plane.mesh").await.expect_err("nobody answers");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains(&silent.to_string()), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_domain_whose_servers_fail_does_not_hide_the_next_one() {
    let failing = |name: &str, v4| match name.ends_with(".shop.svc.cluster.local") {
        true => Reply::Code(RCODE::ServerFailure),
        false => cluster(name, v4),
    };
    let config = config(&[server(failing).await], &SEARCH, 5);
    assert_eq!(lookup(&config, "plane.mesh").await.expect("found").len(), 3);
    let error = lookup(&config, "plan.mesh").await.expect_err("there is none");
    assert!(error.to_string().contains("ServerFailure"), "what may be the reason is said: {error}");
}

#[tokio::test(start_paused = true)]
async fn another_server_is_asked_where_one_refuses() {
    let refusing = server(|_, _| Reply::Code(RCODE::Refused)).await;
    let config = config(&[refusing, server(cluster).await], &SEARCH, 5);
    assert_eq!(lookup(&config, "plane.mesh").await.expect("found").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_family_is_enough_where_the_other_is_not_answered_or_wrongly() {
    for other in [None, Some(RCODE::NameError), Some(RCODE::NotImplemented), Some(RCODE::NoError)] {
        let half = move |_: &str, v4| match (v4, other) {
            (true, _) => Reply::Addresses(&["10.43.0.7"]),
            (false, Some(code)) => Reply::Code(code),
            (false, None) => Reply::Silence,
        };
        let found = lookup(&config(&[server(half).await], &[], 1), "plane.mesh").await.expect("found");
        assert_eq!(found, ips(&["10.43.0.7"]), "{other:?}");
    }
    let v6 = |_: &str, v4| if v4 { Reply::Code(RCODE::NoError) } else { Reply::Addresses(&["fd00:43::7"]) };
    let found = lookup(&config(&[server(v6).await], &[], 1), "plane.mesh").await.expect("found");
    assert_eq!(found, ips(&["fd00:43::7"]));
}

#[tokio::test(start_paused = true)]
async fn answers_to_other_questions_are_noise() {
    let noisy = |_: &str, v4| match v4 {
        true => Reply::Forged("192.0.2.1", "10.43.0.7"),
        false => Reply::Code(RCODE::NoError),
    };
    let found = lookup(&config(&[server(noisy).await], &[], 1), "plane.mesh").await.expect("found");
    assert_eq!(found, ips(&["10.43.0.7"]));
}

#[tokio::test]
async fn what_needs_no_server_asks_none() {
    let of = async |host: &str| addresses(host, "10.0.0.9 plane\n", "nameserver 192.0.2.1\n").await.expect("found");
    assert_eq!(of("10.0.0.1").await, ips(&["10.0.0.1"]));
    assert_eq!(of("fd00::1").await, ips(&["fd00::1"]));
    assert_eq!(of("plane").await, ips(&["10.0.0.9"]));
    assert_eq!(of("LocalHost.").await, ips(&["127.0.0.1", "::1"]));
    let of = async |authority: &str| resolve(authority).await;
    assert_eq!(of("[fd00::1]:8086").await.expect("an address"), ["[fd00::1]:8086".parse().expect("an address")]);
    assert_eq!(of("10.0.0.1:8086").await.expect("an address"), ["10.0.0.1:8086".parse().expect("an address")]);
    for wrong in ["plane", "plane:", "plane:99999"] {
        assert_eq!(of(wrong).await.expect_err(wrong).kind(), io::ErrorKind::InvalidInput, "{wrong}");
    }
}
