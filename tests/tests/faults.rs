//! Parts that hang, die or are cut off, one at a time, under load: who is not concerned notices nothing, and what was lost is
//! bounded by what was in the hands of the part that went.

use std::net::Ipv4Addr;
use std::time::Duration;

use minimesh_tests::apps::{LoadPlan, LoadProtocol, Request};
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{HttpServer, Load, Pair, Pod, World};
use nix::sys::signal::Signal;

/// How it begins, how it ends, and the last number of an address that is told of meanwhile.
type Fault<'a> = (&'a dyn Fn(), &'a dyn Fn(), u8);

const SERVICE: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
const PER_SECOND: u64 = 200;
/// The load's connections: so many requests are under way at most.
const CONNECTIONS: u64 = 8;
/// For a load of some seconds on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a part hangs: many times as long as a request takes, and less than the load's clients wait.
const HANGING: Duration = Duration::from_millis(1_500);

#[test]
fn known_targets_are_served_while_the_control_plane_hangs_or_is_cut_off() {
    let world = World::start("faults-control-plane");
    let Pair { control_plane, client, server, http: _http } = world.pair(&SERVICE);

    let hang = || control_plane.process().signal(Signal::SIGSTOP);
    let go_on = || control_plane.process().signal(Signal::SIGCONT);
    let (cut_off, reconnect) = (|| control_plane.pod().cut_off(), || control_plane.pod().reconnect());
    let faults: [Fault<'_>; 2] = [(&hang, &go_on, 21), (&cut_off, &reconnect, 22)];
    for (begin, end, last) in faults {
        let name = format!("new-{last}");
        let new = Service { name: &name, address: Ipv4Addr::new(10, 43, 0, last), ..SERVICE };
        let load = load(&client, u64::from(last) << 32, 1_000);
        begin();
        world.serve(&new, &[&server]);
        let unknown = client.request(&Request::get(new.socket(), "/"));
        assert_eq!(unknown.verdict(), (503, Some("discovery_unavailable")));
        complete(load, 1_000);
        end();
        client.reaches(&new);
    }
}

#[test]
fn nothing_is_lost_while_a_peers_proxy_or_its_application_hangs() {
    let world = World::start("faults-hanging");
    let Pair { client, server, http, .. } = &world.pair(&SERVICE);
    for (first_id, process) in [(1, server.proxy()), (1 << 32, &http.process), (2 << 32, client.proxy())] {
        let load = load(client, first_id, 1_500);
        // it is under way
        let before = http.received().len();
        wait::eventually("requests arrive", || (http.received().len() > before + 50).then_some(()));
        process.signal(Signal::SIGSTOP);
        http.wait_for_silence(HANGING);
        process.signal(Signal::SIGCONT);
        complete(load, 1_500);
    }
}

#[test]
fn a_proxy_that_is_killed_costs_what_it_had_in_its_hands() {
    let world = World::start("faults-killed");
    let control_plane = world.control_plane(&[]);
    let client = world.pod("client").start(&control_plane);
    let replicas = ["one", "two"].map(|name| world.pod(name).workload("server").start(&control_plane));
    let servers = [0, 1].map(|index| replicas[index].http_server(SERVICE.target_port));
    world.serve(&SERVICE, &[&replicas[0], &replicas[1]]);
    client.reaches(&SERVICE);

    let under_way = load(&client, 1, 2_000);
    both_are_asked(&servers);
    replicas[0].proxy().kill();
    let (result, _) = under_way.finish(PATIENCE);
    println!("{} failed: {:?}", result.failed, result.examples);
    assert!(result.failed <= CONNECTIONS, "{result:?}");
    // the pod is still listed
    complete(load(&client, 1 << 32, 500), 500);
}

#[test]
fn a_request_to_a_peer_that_is_cut_off_ends_though_its_client_only_ended_its_direction() {
    let world = World::start("faults-unheard");
    let Pair { client, server, .. } = &world.pair(&SERVICE);
    // there is a connection to the peer, which the next request is sent on
    assert_eq!(client.request(&Request::get(SERVICE.socket(), "/")).status, 200);
    server.cut_off();
    // its client waits for less than it takes to be sure, unless it is late itself
    let given_up = client.request(&Request::get(SERVICE.socket(), "/"));
    assert!(matches!(given_up.status, 0 | 502), "{given_up:?}");
    wait::eventually("the request is given up", || {
        let labels = [("direction", "outbound"), ("error", "upstream_unanswered")];
        (client.metric("minimesh_errors_total", &labels) > 0.0).then_some(())
    });
    server.reconnect();
    client.reaches(&SERVICE);
}

#[test]
fn every_byte_arrives_where_packets_get_lost() {
    let world = World::start("faults-loss");
    let Pair { client, server, http, .. } = &world.pair(&SERVICE);
    if !std::path::Path::new(NFT).exists() {
        println!("skipped: every_byte_arrives_where_packets_get_lost: nft is not installed (Debian: nftables)");
        return;
    }
    // what comes after a lost packet arrives before its repetition: out of order
    let rules = "add table inet lossy; add chain inet lossy input { type filter hook input priority 0; }; \
                 add rule inet lossy input iifname eth0 numgen random mod 100 < 2 drop";
    for pod in [client, server] {
        pod.spawn("nft", &[NFT, rules]).succeed();
    }
    let plan = LoadPlan {
        protocols: vec![LoadProtocol::Http11, LoadProtocol::Http2, LoadProtocol::Grpc],
        largest_body: 1 << 20,
        ..LoadPlan::new(SERVICE.socket(), 1_500)
    };
    let (result, mut sent) = client.load(&plan).finish(PATIENCE);
    assert_eq!((result.succeeded, result.examples), (1_500, vec![]));
    let mut received: Vec<String> = http.received();
    received.sort();
    sent.sort();
    assert_eq!(sent.len(), 1_500);
    assert!(sent.iter().all(|line| received.binary_search(line).is_ok()), "a server did not get what was sent");
}

fn load<'w>(client: &Pod<'w>, first_id: u64, requests: u64) -> Load<'w> {
    client.load(&LoadPlan {
        first_id,
        largest_body: 4096,
        connections: CONNECTIONS,
        per_second: Some(PER_SECOND),
        ..LoadPlan::new(SERVICE.socket(), requests)
    })
}

fn complete(load: Load<'_>, requests: u64) {
    let (result, _) = load.finish(PATIENCE);
    assert_eq!((result.succeeded, result.examples), (requests, vec![]));
}

fn both_are_asked(servers: &[HttpServer<'_>; 2]) {
    wait::eventually("requests arrive at both", || {
        servers.iter().all(|server| server.received().len() > 50).then_some(())
    });
}

const NFT: &str = "/usr/sbin/nft";
