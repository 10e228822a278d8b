//! Many requests through two proxies: none missing, none twice, none altered, whatever happens meanwhile.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use minimesh_tests::apps::{LoadPlan, LoadProtocol, LoadResult, Request};
use minimesh_tests::protocol::Status;
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{ControlPlane, HttpServer, Pod, World};

const SERVICE: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
/// A run under a debugger may set MINIMESH_TEST_REQUESTS to less.
const REQUESTS: u64 = 100_000;
/// Of each sidecar's leaf in the course of the turmoil.
const RENEWALS: f64 = 5.0;
/// For a run of that many requests on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn no_request_is_lost_doubled_or_altered_through_two_proxies() {
    let world = World::start("requests");
    let control_plane = world.control_plane(&[]);
    let client = world.pod("client").start(&control_plane);
    let servers = ["server-0", "server-1"].map(|name| world.pod(name).workload("server").start(&control_plane));
    let http = servers.each_ref().map(|pod| pod.http_server(SERVICE.target_port));
    world.serve(&SERVICE, &servers.each_ref());
    reached(&client);

    let (result, sent) = client.load(&of_every_protocol()).finish(PATIENCE);
    report("two proxies", &result);
    assert_eq!((result.failed, result.examples), (0, vec![]));
    same(sent, &http);
    let secured = client.metric("request_total", &[("direction", "outbound"), ("tls", "true")]);
    assert!(secured >= requests() as f64, "{secured} requests went out encrypted");
}

#[test]
fn the_same_while_endpoints_come_and_go_leaves_renew_and_the_control_plane_dies() {
    let world = World::start("requests-in-turmoil");
    // renewed after a third: every 3 s, while one that missed a renewal still has 6 s to live
    let mut control_plane = world.control_plane(&["--leaf-lifetime", "9s"]);
    let client = world.pod("client").start(&control_plane);
    let mut replicas = VecDeque::from([replica(&world, &control_plane, 0), replica(&world, &control_plane, 1)]);
    publish(&world, &replicas);
    reached(&client);

    let load = client.load(&of_every_protocol());
    let (mut gone, mut number) = (Vec::new(), 2);
    let begun = Instant::now();
    while load.is_running() {
        assert!(begun.elapsed() < PATIENCE, "the load does not end");
        replicas.push_back(replica(&world, &control_plane, number));
        number += 1;
        publish(&world, &replicas);
        let leaving = replicas.pop_front().expect("there are three");
        wait::eventually("it has renewed its leaf often enough", || {
            (renewals(&leaving.0) >= RENEWALS || !load.is_running()).then_some(())
        });
        leaving.0.mark_deleted();
        publish(&world, &replicas);
        gone.push(leave(leaving));
        control_plane.kill();
        control_plane.start_again();
    }
    let (result, sent) = load.finish(PATIENCE);
    let renewed = renewals(&client);
    report(&format!("{} endpoints left, as many control planes died, {renewed} renewals", gone.len()), &result);
    assert!(renewed >= RENEWALS, "the client renewed its leaf {renewed} times");
    assert_eq!((result.failed, result.examples), (0, vec![]));
    let stayed = replicas.into_iter().map(|(_, server)| server);
    same(sent, &gone.into_iter().chain(stayed).collect::<Vec<_>>());
}

/// Over every version of HTTP, and as gRPC streams.
fn of_every_protocol() -> LoadPlan {
    use LoadProtocol::{Grpc, Http2, Http10, Http11};
    LoadPlan { protocols: vec![Grpc, Http10, Http11, Http2], ..LoadPlan::new(address(), requests()) }
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

/// How often its sidecar has had a new leaf, the first not counted.
fn renewals(pod: &Pod<'_>) -> f64 {
    pod.metric("control_identity_cert_refreshes_total", &[]) - 1.0
}

/// Ends a pod as a kubelet does whose pod has a `preStop` hook: the application after its last request, the sidecar after
/// the application.
fn leave<'w>((pod, server): Replica<'w>) -> HttpServer<'w> {
    server.wait_for_silence(Duration::from_secs(1));
    assert_eq!(server.process.terminate(), Status::Exited(0));
    assert_eq!(pod.proxy().terminate(), Status::Exited(0), "{}", pod.proxy().log());
    pod.unpublish();
    server
}

fn address() -> SocketAddr {
    (SERVICE.address, SERVICE.port).into()
}

/// Waits until the client's sidecar knows the Service.
fn reached(client: &Pod<'_>) {
    wait::eventually("the Service is reached", || {
        let response = client.request(&Request::get(address(), "/"));
        (response.status == 200).then_some(())
    });
}

/// What the client knows to have been answered is what the servers received.
fn same(mut sent: Vec<String>, servers: &[HttpServer<'_>]) {
    let mut received: Vec<String> = servers.iter().flat_map(HttpServer::received).collect();
    sent.sort();
    received.sort();
    if sent != received {
        let only = |these: &[String], those: &[String]| {
            these.iter().filter(|line| those.binary_search(line).is_err()).take(5).cloned().collect::<Vec<_>>()
        };
        let (missing, surplus) = (only(&sent, &received), only(&received, &sent));
        panic!("{} sent, {} received; missing {missing:?}, surplus {surplus:?}", sent.len(), received.len());
    }
}

fn report(what: &str, result: &LoadResult) {
    let LoadResult { succeeded, failed, bytes_sent, bytes_received, seconds, .. } = result;
    let mebibytes = (bytes_sent + bytes_received) >> 20;
    println!("{what}: {succeeded} requests, {failed} failed, {mebibytes} MiB, {seconds:.1} s");
}

#[allow(clippy::disallowed_methods)] // a test has no command line of its own
fn requests() -> u64 {
    std::env::var("MINIMESH_TEST_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(REQUESTS)
}
