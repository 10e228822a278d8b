//! Everything that is measured of one pair: memory at rest, then load by load.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use minimesh_benches::load::{Failure, Outcome, Plan, Traffic, resident_kib};
use minimesh_benches::origin::{HTTP1, HTTP2, READY, SINK};
use minimesh_benches::record::Measured;
use minimesh_tests::apps::Request;
use minimesh_tests::wait;
use minimesh_tests::world::{Pod, Process, World};

use crate::Task;
use crate::subject::{Kind, Subject, Variant};
use crate::{cgroup, minimesh, peer};

/// Services, by port of the application, each with an address of its own.
pub(crate) const SERVICES: [(&str, u16, Ipv4Addr); 3] = [
    ("web", HTTP1, Ipv4Addr::new(10, 43, 0, 10)),
    ("grpc", HTTP2, Ipv4Addr::new(10, 43, 0, 11)),
    ("sink", SINK, Ipv4Addr::new(10, 43, 0, 12)),
];

/// Where the client finds the port of the application.
pub(crate) fn service(port: u16) -> SocketAddr {
    let (_, port, address) = *SERVICES.iter().find(|(_, known, _)| *known == port).expect("a port of the application");
    SocketAddr::from((address, port))
}

/// Two pods, and what is between them.
pub(crate) struct Pair<'w> {
    pub(crate) client: Pod<'w>,
    /// Their ids outside: the client's, the server's.
    pub(crate) proxies: Vec<u32>,
    /// Runs as long as the pair is there.
    pub(crate) held: Vec<Process<'w>>,
}

pub(crate) fn measure(task: &Task, subject: &Subject, measured: &mut Measured) -> Result<(), Failure> {
    let world = World::start(&format!("peers-{}", subject.name));
    let begun = Instant::now();
    let control_plane = matches!(subject.kind, Kind::Minimesh(_)).then(|| world.control_plane(&[]));
    let pair = match (subject.kind, &control_plane) {
        (Kind::Minimesh(variant), Some(control_plane)) => minimesh::start(&world, control_plane, variant)?,
        _ => peer::start(&world, task, subject.kind)?,
    };
    let web = Request::get(service(HTTP1), "/bench");
    wait::eventually(&format!("{} answers", subject.name), || (pair.client.request(&web).status == 200).then_some(()));
    measured.first_answer_ms = begun.elapsed().as_secs_f64() * 1e3;
    let _limits = match subject.kind {
        Kind::Minimesh(Variant::Limit) => cgroup::limit(&pair.proxies)?,
        _ => Vec::new(),
    };
    rest(IDLE);
    measured.idle_kib = pair.proxies.iter().map(|&proxy| resident_kib(proxy)).collect();
    for (name, port, traffic, seconds) in points(task.quick, subject.kind) {
        let outcome = pair.load(task, port, traffic, seconds).map_err(|error| format!("{name}: {error}"))?;
        measured.points.insert(name, outcome);
    }
    pair.held.iter().for_each(Process::expect_running);
    if pair.proxies.iter().any(|&proxy| resident_kib(proxy) == 0) {
        return Err("a proxy is gone".into());
    }
    Ok(())
}

/// Starts the application.
pub(crate) fn origin<'w>(server: &Pod<'w>) -> Result<Process<'w>, Failure> {
    let own = std::env::current_exe()?.display().to_string();
    let process = server.spawn("origin", &[&own, "origin"]);
    wait::eventually("the application is ready", || {
        process.expect_running();
        process.output().contains(READY).then_some(())
    });
    Ok(process)
}

/// About how many seconds it takes to measure such a subject, once.
pub(crate) fn seconds(quick: bool, kind: Kind) -> f64 {
    let loads = points(quick, kind).into_iter().map(|(.., window)| warm(quick) + window + AROUND);
    STARTING + IDLE.as_secs_f64() + loads.sum::<f64>()
}

/// Seconds before anything is counted: both ends have their connections by then, handshakes and all.
fn warm(quick: bool) -> f64 {
    if quick { 1.0 } else { 2.0 }
}

/// Name, port, load and seconds of everything that is measured of such a subject.
fn points(quick: bool, kind: Kind) -> Vec<(String, u16, Traffic, f64)> {
    let seconds = if quick { 1.0 } else { 3.0 };
    let whole = !matches!(kind, Kind::Minimesh(variant) if variant != Variant::Shipped);
    let rates: &[u32] = match (kind, quick) {
        (Kind::Minimesh(Variant::Limit), _) => &[50, 100],
        _ if !whole => &[],
        (_, true) => &[1000, 4000],
        (_, false) => &[1000, 2000, 4000, 8000],
    };
    let mut points = Vec::new();
    if whole {
        let connections = if quick { 400 } else { 1000 };
        points.push(("hold".to_owned(), HTTP1, Traffic::Hold { connections }, 0.0));
    }
    points.push(("http1".to_owned(), HTTP1, Traffic::Closed { connections: 64 }, seconds));
    for &rate in rates {
        let traffic = Traffic::Rate { connections: 16, per_second: f64::from(rate) };
        let window = if rate == P99_RATE { P99_WINDOW } else { 1.5 } * seconds;
        points.push((format!("rate-{rate}"), HTTP1, traffic, window));
    }
    if whole {
        let http2 = |grpc| Traffic::Http2 { connections: 4, streams: 16, grpc };
        points.push(("http2".to_owned(), HTTP2, http2(false), seconds));
        points.push(("grpc".to_owned(), HTTP2, http2(true), seconds));
        points.push(("stream".to_owned(), SINK, Traffic::Stream, seconds));
    }
    points
}

impl Pair<'_> {
    /// One load, from the client's pod.
    fn load(&self, task: &Task, port: u16, traffic: Traffic, seconds: f64) -> Result<Outcome, Failure> {
        let warm = warm(task.quick);
        let plan = Plan { address: service(port), traffic, warm, window: seconds, watched: self.proxies.clone() };
        let own = std::env::current_exe()?.display().to_string();
        let process = self.client.spawn("load", &[&own, "load", &serde_json::to_string(&plan)?]);
        // whoever waits looks often, and that would be load too
        rest(Duration::from_secs_f64(warm + seconds));
        let said = process.succeed();
        Ok(serde_json::from_str(&said)?)
    }
}

/// For the terminal.
pub(crate) fn in_short(measured: &Measured) -> String {
    let each = |name: &str, unit: f64| {
        let outcome = measured.points.get(name).filter(|outcome| !outcome.cpu.is_empty())?;
        Some(outcome.cpu_seconds() / outcome.completed as f64 * unit)
    };
    let mut text = format!("{:<24} load {:<5.1}", measured.subject, measured.load_before);
    for (name, unit, what) in [
        ("http1", 1e6, "us/request"),
        ("grpc", 1e6, "us/call"),
        ("stream", 1e9, "s/GB"),
        ("rate-1000", 1e6, "us/request"),
    ] {
        if let Some(cost) = each(name, unit) {
            text += &format!("  {name} {cost:.1} {what}");
        }
    }
    let errors: u64 = measured.points.values().map(|outcome| outcome.errors).sum();
    if errors > 0 {
        text += &format!("  {errors} errors");
    }
    if let Some(failed) = &measured.failed {
        text += &format!("  FAILED: {failed}");
    }
    text
}

fn rest(time: Duration) {
    let end = Instant::now() + time;
    while let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::park_timeout(rest);
    }
}

/// What starting took is given back by then.
const IDLE: Duration = Duration::from_millis(1500);
/// Seconds until a pair of proxies has answered, on a machine that has nothing else to do.
const STARTING: f64 = 2.0;
/// Requests a second at which 99th percentiles are held against each other, so that there must be enough requests beyond them: of a
/// quick run's six seconds sixty, where one and a half left fifteen, and a ratio between 0.2 and 2.4.
const P99_RATE: u32 = 1000;
/// Of a point's usual time.
const P99_WINDOW: f64 = 6.0;
/// Seconds that a load needs beside what it warms up and counts.
const AROUND: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_asks_the_same_of_every_peer_and_takes_less_time() {
        let names = |quick, kind| points(quick, kind).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        let all = ["hold", "http1", "rate-1000", "rate-4000", "http2", "grpc", "stream"];
        for kind in [Kind::Direct, Kind::Haproxy, Kind::Linkerd2, Kind::Minimesh(Variant::Shipped)] {
            assert_eq!(names(true, kind), all, "{kind:?}");
            assert!(seconds(true, kind) < seconds(false, kind), "{kind:?}");
        }
        assert_eq!(names(true, Kind::Minimesh(Variant::Strict)), ["http1"]);
        assert_eq!(names(false, Kind::Minimesh(Variant::Limit)), ["http1", "rate-50", "rate-100"]);
    }
}
