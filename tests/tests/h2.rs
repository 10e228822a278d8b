//! HTTP/2 and gRPC through the real programs: endpoints leave and come under load, and no call is lost, doubled or altered.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use minimesh_tests::apps::{LoadPlan, LoadProtocol, Request};
use minimesh_tests::protocol::Status;
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{ControlPlane, HttpServer, Pod, World};

const SERVICE: Service<'_> = Service {
    name: "echo",
    address: Ipv4Addr::new(10, 43, 0, 10),
    port: 80,
    target_port: 8080,
    protocol: Some("grpc"),
};
const REQUESTS: u64 = 20_000;
/// Less than this is no load.
const PER_SECOND: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn no_call_is_lost_while_endpoints_are_replaced_under_load() {
    let world = World::start("h2");
    let control_plane = world.control_plane(&[]);
    let client = world.pod("client").start(&control_plane);
    let mut replicas = VecDeque::from([replica(&world, &control_plane, 0), replica(&world, &control_plane, 1)]);
    publish(&world, &replicas);
    let address: SocketAddr = (SERVICE.address, SERVICE.port).into();
    wait::eventually("the Service is reached", || {
        (client.request(&Request::get(address, "/")).status == 200).then_some(())
    });

    let protocols = vec![LoadProtocol::Http2, LoadProtocol::Grpc];
    let load = client.load(&LoadPlan { protocols, ..LoadPlan::new(address, REQUESTS) });
    let (mut gone, mut number) = (Vec::new(), 2);
    let begun = Instant::now();
    while load.is_running() {
        assert!(begun.elapsed() < PATIENCE, "the load does not end");
        replicas.push_back(replica(&world, &control_plane, number));
        number += 1;
        publish(&world, &replicas);
        let leaving = replicas.pop_front().expect("there are three");
        leaving.0.mark_deleted();
        publish(&world, &replicas);
        gone.push(leave(leaving));
    }
    let (result, mut sent) = load.finish(PATIENCE);
    println!(
        "{} endpoints left; {} calls, {} failed, {:.1} s",
        gone.len(),
        result.succeeded,
        result.failed,
        result.seconds
    );
    assert_eq!((result.failed, result.examples), (0, vec![]));
    assert!(result.succeeded as f64 / result.seconds > PER_SECOND, "{:?}", result.seconds);
    let servers: Vec<HttpServer<'_>> = gone.into_iter().chain(replicas.into_iter().map(|(_, server)| server)).collect();
    let mut received: Vec<String> = servers.iter().flat_map(HttpServer::received).collect();
    sent.sort();
    received.sort();
    assert!(sent == received, "{} sent, {} received", sent.len(), received.len());
    let calls = client.metric("response_total", &[("direction", "outbound"), ("grpc_status", "0"), ("tls", "true")]);
    assert!(calls >= 1.0, "{calls} calls were counted by their gRPC status");
}

type Replica<'w> = (Pod<'w>, HttpServer<'w>);

fn replica<'w>(world: &'w World, control_plane: &ControlPlane<'w>, number: u32) -> Replica<'w> {
    let pod = world.pod(&format!("server-{number}")).workload("server").start(control_plane);
    let http = pod.http_server(SERVICE.target_port);
    (pod, http)
}

fn publish(world: &World, replicas: &VecDeque<Replica<'_>>) {
    world.serve(&SERVICE, &replicas.iter().map(|(pod, _)| pod).collect::<Vec<_>>());
}

/// Ends a pod as a kubelet does whose pod has a `preStop` hook: the application after its last call, the sidecar after it.
fn leave<'w>((pod, server): Replica<'w>) -> HttpServer<'w> {
    let (mut seen, mut since) = (server.received().len(), Instant::now());
    wait::eventually("nobody calls a pod that is gone", || {
        let now = server.received().len();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(1)).then_some(())
    });
    assert_eq!(server.process.terminate(), Status::Exited(0));
    assert_eq!(pod.proxy().terminate(), Status::Exited(0), "{}", pod.proxy().log());
    pod.unpublish();
    server
}
