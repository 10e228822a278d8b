//! A soak: mixed load and connections that come and go; memory and descriptors do not grow. As long as MINIMESH_SOAK_SECONDS
//! says, which `cargo xtask test --soak 2h` sets; some seconds otherwise, which is enough to see what grows with every request.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use minimesh_tests::apps::{Hoard, LoadPlan, LoadProtocol, Shape};
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{Pair, Pod, World};

const SERVICE: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
const SHORT: u64 = 45;
const MIB: f64 = 1024.0 * 1024.0;
/// Requests of one round, and connections that are opened and left in it.
const ROUND: u64 = 1_000;
const LEFT: usize = 40;
/// Pages that are touched for the first time, and a heap that is laid out a little differently with every round.
const RESIDENT_NOISE: f64 = 1.5 * MIB;

#[test]
fn neither_memory_nor_descriptors_grow() {
    let seconds = std::env::var_os("MINIMESH_SOAK_SECONDS").and_then(|text| text.to_str()?.parse().ok());
    let whole = Duration::from_secs(seconds.unwrap_or(SHORT));
    let world = World::start("soak");
    let Pair { client, server, .. } = &world.pair(&SERVICE);
    let begun = Instant::now();
    let mut samples: [Vec<Sample>; 2] = Default::default();
    let mut round = 0;
    while begun.elapsed() < whole || round < 6 {
        one_round(client, round);
        round += 1;
        for (pod, samples) in [client, server].into_iter().zip(&mut samples) {
            samples.push(Sample::of(pod, begun.elapsed()));
        }
    }
    println!("{round} rounds of {ROUND} requests in {:.0} s", begun.elapsed().as_secs_f64());
    for (pod, samples) in [client, server].into_iter().zip(&samples) {
        // the first third fills pools and caches
        let warm = &samples[samples.len() / 3..];
        let resident = growth(warm, |sample| sample.resident);
        let descriptors = growth(warm, |sample| sample.descriptors);
        let last = warm.last().expect("there were rounds");
        println!(
            "{}: RSS {:.2} MiB, grew by {:+.3} MiB; {} descriptors, grew by {descriptors:+.1}",
            pod.name(),
            last.resident / MIB,
            resident / MIB,
            last.descriptors
        );
        assert!(resident < RESIDENT_NOISE, "{}: {warm:?}", pod.name());
        assert!(descriptors < LEFT as f64 / 4.0, "{}: {warm:?}", pod.name());
    }
}

/// What a sidecar holds.
#[derive(Debug)]
struct Sample {
    seconds: f64,
    resident: f64,
    descriptors: f64,
}

impl Sample {
    fn of(pod: &Pod<'_>, at: Duration) -> Sample {
        Sample {
            seconds: at.as_secs_f64(),
            resident: pod.metric("process_resident_memory_bytes", &[]),
            descriptors: pod.metric("process_open_fds", &[]),
        }
    }
}

fn one_round(client: &Pod<'_>, round: u64) {
    use LoadProtocol::{Grpc, Http2, Http10, Http11};
    let plan = LoadPlan {
        first_id: 1 + round * ROUND,
        largest_body: 256 << 10,
        protocols: vec![Grpc, Http10, Http11, Http2],
        requests_per_connection: Some(20),
        ..LoadPlan::new(SERVICE.socket(), ROUND)
    };
    let load = client.load(&plan);
    let left = client.hoard(&Hoard { address: SERVICE.socket(), connections: LEFT, shape: Shape::HalfHead });
    left.kill();
    let (result, _) = load.finish(Duration::from_secs(120));
    assert_eq!((result.succeeded, result.examples), (ROUND, vec![]));
}

/// By the straight line through the samples (least squares), from the first of them to the last.
fn growth(samples: &[Sample], value: fn(&Sample) -> f64) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (middle, level) = (mean(&|sample| sample.seconds), mean(&|sample| value(sample)));
    let spread: f64 = samples.iter().map(|sample| (sample.seconds - middle).powi(2)).sum();
    let slope = samples.iter().map(|sample| (sample.seconds - middle) * (value(sample) - level)).sum::<f64>() / spread;
    let length = samples.last().map_or(0.0, |sample| sample.seconds) - samples.first().map_or(0.0, |s| s.seconds);
    slope * length
}
