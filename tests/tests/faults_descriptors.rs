//! Descriptors: who runs out of them says so and recovers, and no connection keeps one longer than it lives.

use std::net::Ipv4Addr;

use minimesh_tests::apps::{Carrier, Hoard, Shape, StreamResult};
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{Pod, World};

const HTTP: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
const BYTES: Service<'_> =
    Service { name: "bytes", address: Ipv4Addr::new(10, 43, 0, 11), port: 7, target_port: 7, protocol: None };
/// What a sidecar needs for itself, some connections, and far fewer than are asked of it.
const LIMIT: u32 = 80;
const MANY: usize = 150;

#[test]
fn a_sidecar_without_descriptors_says_so_and_recovers() {
    let world = World::start("faults-descriptors");
    let control_plane = world.control_plane(&[]);
    let client = world.pod("client").descriptors(LIMIT).start(&control_plane);
    let server = world.pod("server").start(&control_plane);
    let _servers = (server.http_server(HTTP.target_port), server.tcp_server("echo", BYTES.target_port));
    world.serve(&HTTP, &[&server]);
    world.serve(&BYTES, &[&server]);
    client.reaches(&HTTP);
    let talk = client.long_stream(BYTES.socket(), Carrier::Tcp);

    let hoard = client.hoard(&hoard(&HTTP, Shape::HalfHead));
    let said = || client.proxy().log().contains("cannot accept connections").then_some(());
    wait::eventually("the sidecar says what it lacks", said);
    client.proxy().expect_running();
    hoard.kill();
    client.reaches(&HTTP);
    let StreamResult { sent, received, error } = talk.finish();
    assert_eq!((received, error), (sent, None), "a conversation that was there before");
    let repeated = client.proxy().log().matches("cannot accept connections").count();
    assert!(repeated < 2_000, "it says so {repeated} times");
}

#[test]
fn connections_that_are_half_open_or_half_closed_do_not_leak() {
    let world = World::start("faults-leaks");
    let control_plane = world.control_plane(&[]);
    let client = world.pod("client").start(&control_plane);
    let server = world.pod("server").start(&control_plane);
    let _servers = (server.http_server(HTTP.target_port), server.tcp_server("digest", BYTES.target_port));
    let farewell =
        Service { name: "farewell", address: Ipv4Addr::new(10, 43, 0, 12), port: 9, target_port: 9, protocol: None };
    let _farewell = server.tcp_server("farewell", farewell.target_port);
    for service in [&HTTP, &BYTES, &farewell] {
        world.serve(service, &[&server]);
    }
    client.reaches(&HTTP);
    // what is kept for the next connections is there from now on
    for service in [&BYTES, &farewell] {
        client.hoard(&Hoard { connections: 2, ..hoard(service, Shape::Open) }).kill();
    }
    let idle = [&client, &server].map(settled);
    for service in [&HTTP, &BYTES, &farewell] {
        for shape in [Shape::HalfHead, Shape::HalfClosed, Shape::Open] {
            let held = client.hoard(&hoard(service, shape));
            held.kill();
        }
    }
    for (pod, idle) in [&client, &server].into_iter().zip(idle) {
        wait::eventually(&format!("{} has {idle} descriptors again", pod.name()), || {
            (descriptors(pod) <= idle).then_some(())
        });
    }
    client.reaches(&HTTP);
}

fn hoard(service: &Service<'_>, shape: Shape) -> Hoard {
    Hoard { address: service.socket(), connections: MANY, shape }
}

/// How many its sidecar has open, once that is the same a few times.
fn settled(pod: &Pod<'_>) -> f64 {
    let (mut last, mut same) = (0.0, 0);
    wait::eventually("descriptors settle", || {
        let open = descriptors(pod);
        (last, same) = if open == last { (last, same + 1) } else { (open, 0) };
        (same > 20).then_some(last)
    })
}

/// With the one that asks.
fn descriptors(pod: &Pod<'_>) -> f64 {
    pod.metric("process_open_fds", &[])
}
