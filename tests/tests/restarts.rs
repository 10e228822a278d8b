//! Rolling restarts and sudden deaths under load: of what may happen twice no request between meshed pods fails, and of everything
//! else only what a dying application had in its hands (ADR 9, ADR 10, docs/protocols.md).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use minimesh_tests::apps::{LoadPlan, LoadProtocol, LoadResult, Request};
use minimesh_tests::protocol::Status;
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{ControlPlane, HttpServer, Load, Pod, World};
use nix::sys::signal::Signal;

const SERVICE: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
/// A second, as many as a small shop has.
const PER_SECOND: u64 = 500;
const REQUESTS: u64 = 5_000;
/// Many times as long as a request takes, and as two of them are apart.
const SILENCE: Duration = Duration::from_millis(200);
const REPLICAS: u32 = 3;
/// Requests that an application answers before it is killed again.
const BETWEEN_DEATHS: usize = 150;
/// For a run of that many requests on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a pod does when it is marked for deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// Its application gets SIGTERM when nobody asks it any more: what `termination-delay`, a preStop sleep, does.
    AfterSilence,
    /// Its application gets SIGTERM in the same moment.
    Now,
}

#[test]
fn no_request_fails_while_every_pod_is_replaced_over_and_over() {
    let world = World::start("restarts");
    let mut story = Story::begin(&world, "at-once");
    let load = load(&story.client, false);
    let gone = story.replace_pods_during(&load, Ends::AfterSilence);
    complete(load, &gone);
}

#[test]
fn no_request_fails_where_applications_that_drain_are_told_to_end_with_the_mark() {
    let world = World::start("restarts-drain");
    let mut story = Story::begin(&world, "when-silent");
    let load = load(&story.client, false);
    let gone = story.replace_pods_during(&load, Ends::Now);
    complete(load, &gone);
}

#[test]
fn an_application_that_is_gone_with_the_mark_takes_nothing_along_that_may_happen_twice() {
    let world = World::start("restarts-at-once");
    let mut story = Story::begin(&world, "at-once");
    let load = load(&story.client, true);
    let gone = story.replace_pods_during(&load, Ends::Now);
    let (result, mut sent) = load.finish(PATIENCE);
    sent.sort();
    let in_hand = in_hand(&gone);
    println!("{} failed, {} were in the hands of applications", result.failed, in_hand.len());
    for (id, what) in only_what_may_not_happen_twice(&result) {
        assert!(in_hand.contains(id), "{id}: {what}: no application had it");
    }
    received_once(&result, &sent, &gone);
    let again = story.client.metric("minimesh_retries_total", &[("reason", "unanswered")]);
    println!("{again} were asked of another pod, and may have happened twice");
}

#[test]
fn an_application_that_is_killed_takes_nothing_along_that_may_happen_twice() {
    let world = World::start("restarts-killed");
    let mut story = Story::begin(&world, "at-once");
    let load = load(&story.client, true);
    // listed all the time, killed in turn, and begun again by who looks after it
    for turn in 0.. {
        if !load.is_running() {
            break;
        }
        let (pod, server) = &mut story.replicas[turn % REPLICAS as usize];
        let enough = server.received().len() + BETWEEN_DEATHS;
        wait::eventually("it is asked again", || {
            (server.received().len() >= enough || !load.is_running()).then_some(())
        });
        assert_eq!(server.process.kill(), Status::Killed(Signal::SIGKILL as i32));
        *server = pod.http_server_that_leaves("at-once", SERVICE.target_port);
    }
    let (result, mut sent) = load.finish(PATIENCE);
    sent.sort();
    let gone: Vec<_> = story.replicas.into();
    let in_hand = in_hand(&gone);
    println!("{} failed, {} were in the hands of applications", result.failed, in_hand.len());
    for (id, what) in only_what_may_not_happen_twice(&result) {
        assert!(in_hand.contains(id), "{id}: {what}: no application had it");
    }
    received_once(&result, &sent, &gone);
}

#[test]
fn a_pod_that_is_gone_with_its_proxy_takes_nothing_along_that_may_happen_twice() {
    let world = World::start("restarts-lost");
    let mut story = Story::begin(&world, "at-once");
    let load = load(&story.client, true);
    // a node that loses power says less than this: its kernel does not even end the connections (docs/protocols.md)
    let (pod, server) = story.replicas.pop_front().expect("there are three");
    server.wait_for_requests(50);
    assert_eq!(pod.proxy().kill(), Status::Killed(Signal::SIGKILL as i32));
    assert_eq!(server.process.kill(), Status::Killed(Signal::SIGKILL as i32));
    let (result, mut sent) = load.finish(PATIENCE);
    sent.sort();
    let failed = only_what_may_not_happen_twice(&result);
    println!("{} failed", failed.len());
    // what has no answer is what was on one connection or another: eight of them, four streams each at most
    assert!(failed.len() <= 8 * 4, "{failed:?}");
    let mut all: Vec<_> = story.replicas.into();
    all.push((pod, server));
    received_once(&result, &sent, &all);
}

#[test]
fn no_request_fails_because_an_application_is_gone_that_is_still_listed() {
    let world = World::start("restarts-listed");
    let story = Story::begin(&world, "at-once");
    story.replicas[0].1.process.kill();
    let load = load(&story.client, false);
    let received = complete(load, &Vec::from(story.replicas));
    let retries = story.client.metric("minimesh_retries_total", &[]);
    println!("{retries} requests were sent elsewhere");
    assert!(retries > 0.0 && received[0].is_empty());
}

/// A pod and its application.
type Replica<'w> = (Pod<'w>, HttpServer<'w>);

/// A client, and a Service with replicas.
struct Story<'w> {
    world: &'w World,
    control_plane: ControlPlane<'w>,
    client: Pod<'w>,
    replicas: VecDeque<Replica<'w>>,
    /// How its applications end.
    leave: &'static str,
}

impl<'w> Story<'w> {
    fn begin(world: &'w World, leave: &'static str) -> Story<'w> {
        let control_plane = world.control_plane(&[]);
        let client = world.pod("client").start(&control_plane);
        let mut story = Story { world, control_plane, client, replicas: VecDeque::new(), leave };
        (0..REPLICAS).for_each(|number| story.add(number));
        story.publish();
        wait::eventually("the Service is reached", || {
            (story.client.request(&Request::get(address(), "/")).status == 200).then_some(())
        });
        story
    }

    fn add(&mut self, number: u32) {
        let pod = self.world.pod(&format!("server-{number}")).workload("server").proxy_argument("--access-log", "json");
        let pod = pod.start(&self.control_plane);
        let http = pod.http_server_that_leaves(self.leave, SERVICE.target_port);
        self.replicas.push_back((pod, http));
    }

    fn publish(&self) {
        self.world.serve(&SERVICE, &self.replicas.iter().map(|(pod, _)| pod).collect::<Vec<_>>());
    }

    /// Replaces one pod after the other while there is a load. Says all that there ever were.
    fn replace_pods_during(&mut self, load: &Load<'_>, ends: Ends) -> Vec<Replica<'w>> {
        let (mut gone, mut number) = (Vec::new(), REPLICAS);
        while load.is_running() {
            self.add(number);
            number += 1;
            self.publish();
            let (pod, server) = self.replicas.pop_front().expect("there are four");
            pod.mark_deleted();
            if ends == Ends::Now {
                server.process.signal(Signal::SIGTERM);
            }
            self.publish();
            if ends == Ends::AfterSilence {
                server.wait_for_silence(SILENCE);
                server.process.signal(Signal::SIGTERM);
            }
            assert_eq!(server.process.wait(), Status::Exited(0));
            assert_eq!(pod.proxy().terminate(), Status::Exited(0), "{}", pod.proxy().log());
            pod.unpublish();
            gone.push((pod, server));
        }
        println!("{} pods replaced", gone.len());
        assert!(gone.len() >= 5, "{} pods", gone.len());
        gone.extend(self.replicas.drain(..));
        gone
    }
}

fn load<'w>(client: &Pod<'w>, puts: bool) -> Load<'w> {
    use LoadProtocol::{Grpc, Http2, Http10, Http11};
    client.load(&LoadPlan {
        protocols: vec![Grpc, Http10, Http11, Http2],
        largest_body: 4096,
        per_second: Some(PER_SECOND),
        puts,
        ..LoadPlan::new(address(), REQUESTS)
    })
}

/// All have been answered, and the servers have received what was sent: says what each of them did.
fn complete(load: Load<'_>, replicas: &[Replica<'_>]) -> Vec<Vec<String>> {
    let (result, mut sent) = load.finish(PATIENCE);
    assert_eq!((result.succeeded, result.examples), (REQUESTS, vec![]));
    let each: Vec<_> = replicas.iter().map(|(_, server)| server.received()).collect();
    let mut received = each.concat();
    received.sort();
    sent.sort();
    assert!(sent == received, "{} requests sent, {} received", sent.len(), received.len());
    each
}

/// The requests that failed, none of which may happen twice.
fn only_what_may_not_happen_twice(result: &LoadResult) -> &[(u64, String)] {
    assert_eq!(result.succeeded + result.failed, REQUESTS);
    assert_eq!(result.failed, result.examples.len() as u64, "all are told");
    let others: Vec<_> = result.examples.iter().filter(|(_, what)| !what.starts_with("POST: ")).collect();
    assert!(others.is_empty(), "{others:?}");
    &result.examples
}

/// Requests that these pods' proxies gave to their application, which ended before it had answered them.
fn in_hand(replicas: &[Replica<'_>]) -> HashSet<u64> {
    let logs = replicas.iter().map(|(pod, _)| {
        if pod.proxy().status() == Status::Running {
            pod.proxy().terminate();
        }
        pod.proxy().output()
    });
    let lines: Vec<serde_json::Value> = logs
        .flat_map(|log| log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>())
        .collect();
    let broken = lines.iter().filter(|line| {
        let error = line["error"].as_str();
        line["direction"] == "inbound" && matches!(error, Some("upstream_unanswered" | "upstream_closed"))
    });
    broken.filter_map(|line| line["path"].as_str()?.strip_prefix("/load/")?.parse().ok()).collect()
}

/// What was answered was received, and nothing was received twice but what may be.
fn received_once(result: &LoadResult, sent: &[String], replicas: &[Replica<'_>]) {
    let mut received: BTreeMap<String, usize> = BTreeMap::new();
    for line in replicas.iter().flat_map(|(_, server)| server.received()) {
        *received.entry(line).or_default() += 1;
    }
    let missing: Vec<_> = sent.iter().filter(|line| !received.contains_key(*line)).collect();
    assert!(missing.is_empty(), "answered, and not received: {missing:?}");
    let id = |line: &str| line.split(' ').next().and_then(|id| id.parse::<u64>().ok()).expect("an id");
    let unsent: Vec<_> =
        received.keys().filter(|line| sent.binary_search(line).is_err()).map(|line| id(line)).collect();
    let failed: HashSet<u64> = result.examples.iter().map(|(id, _)| *id).collect();
    assert!(unsent.iter().all(|id| failed.contains(id)), "received, and neither answered nor failed: {unsent:?}");
    let twice: Vec<_> = received.iter().filter(|(_, times)| **times > 1).collect();
    println!("{} failed after they had been received whole, {} were received twice", unsent.len(), twice.len());
    // PUTs are among the even ones
    assert!(twice.iter().all(|(line, times)| id(line) % 2 == 0 && **times == 2), "{twice:?}");
}

fn address() -> SocketAddr {
    (SERVICE.address, SERVICE.port).into()
}
