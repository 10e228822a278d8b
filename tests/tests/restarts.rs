//! Rolling restarts under load, of applications that know nothing of draining: no request between meshed pods fails.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use minimesh_tests::apps::{LoadPlan, LoadProtocol, Request};
use minimesh_tests::protocol::Status;
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{ControlPlane, HttpServer, Load, Pod, World};

const SERVICE: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
/// A second, as many as a small shop has.
const PER_SECOND: u64 = 500;
const REQUESTS: u64 = 5_000;
/// Many times as long as a request takes, and as two of them are apart.
const SILENCE: Duration = Duration::from_millis(200);
const REPLICAS: u32 = 3;
/// For a run of that many requests on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn no_request_fails_while_every_pod_is_replaced_over_and_over() {
    let world = World::start("restarts");
    let control_plane = world.control_plane(&[]);
    let client = world.pod("client").start(&control_plane);
    let mut replicas: VecDeque<_> = (0..REPLICAS).map(|number| replica(&world, &control_plane, number)).collect();
    publish(&world, &replicas);
    reached(&client);
    let load = load(&client);
    let (mut gone, mut number) = (Vec::new(), REPLICAS);
    while load.is_running() {
        replicas.push_back(replica(&world, &control_plane, number));
        number += 1;
        publish(&world, &replicas);
        let (pod, server) = replicas.pop_front().expect("there are four");
        pod.mark_deleted();
        publish(&world, &replicas);
        // what an application that exits at once has in its hands is lost, and no mesh could tell whether it may be sent
        // again: what is asked of the mesh is that soon there is nothing
        server.wait_for_silence(SILENCE);
        assert_eq!(server.process.terminate(), Status::Exited(0));
        assert_eq!(pod.proxy().terminate(), Status::Exited(0), "{}", pod.proxy().log());
        pod.unpublish();
        gone.push(server);
    }
    println!("{} pods replaced", gone.len());
    assert!(gone.len() >= 5, "{} pods", gone.len());
    gone.extend(replicas.into_iter().map(|(_, server)| server));
    complete(load, &gone);
}

#[test]
fn no_request_fails_because_an_application_is_gone_that_is_still_listed() {
    let world = World::start("restarts-listed");
    let control_plane = world.control_plane(&[]);
    let client = world.pod("client").start(&control_plane);
    let replicas: VecDeque<_> = (0..REPLICAS).map(|number| replica(&world, &control_plane, number)).collect();
    publish(&world, &replicas);
    reached(&client);
    replicas[0].1.process.kill();
    let load = load(&client);
    let servers: Vec<_> = replicas.into_iter().map(|(_, server)| server).collect();
    complete(load, &servers);
    let retries = client.metric("minimesh_retries_total", &[]);
    println!("{retries} requests were sent elsewhere");
    assert!(retries > 0.0 && servers[0].received().is_empty());
}

fn load<'w>(client: &Pod<'w>) -> Load<'w> {
    use LoadProtocol::{Grpc, Http2, Http10, Http11};
    client.load(&LoadPlan {
        protocols: vec![Grpc, Http10, Http11, Http2],
        largest_body: 4096,
        per_second: Some(PER_SECOND),
        ..LoadPlan::new(address(), REQUESTS)
    })
}

/// All have been answered, and the servers have received what was sent.
fn complete(load: Load<'_>, servers: &[HttpServer<'_>]) {
    let (result, mut sent) = load.finish(PATIENCE);
    assert_eq!((result.succeeded, result.examples), (REQUESTS, vec![]));
    let mut received: Vec<String> = servers.iter().flat_map(HttpServer::received).collect();
    received.sort();
    sent.sort();
    assert!(sent == received, "{} requests sent, {} received", sent.len(), received.len());
}

fn reached(client: &Pod<'_>) {
    wait::eventually("the Service is reached", || {
        (client.request(&Request::get(address(), "/")).status == 200).then_some(())
    });
}

/// Its application is gone at once when it is told to end.
fn replica<'w>(world: &'w World, control_plane: &ControlPlane<'w>, number: u32) -> (Pod<'w>, HttpServer<'w>) {
    let pod = world.pod(&format!("server-{number}")).workload("server").start(control_plane);
    let http = pod.http_server_that_leaves("at-once", SERVICE.target_port);
    (pod, http)
}

fn publish(world: &World, replicas: &VecDeque<(Pod<'_>, HttpServer<'_>)>) {
    world.serve(&SERVICE, &replicas.iter().map(|(pod, _)| pod).collect::<Vec<_>>());
}

fn address() -> SocketAddr {
    (SERVICE.address, SERVICE.port).into()
}
