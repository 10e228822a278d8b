//! "No lock, channel, spawn or allocation of ours between two warm requests on one connection": what both sidecars allocate for
//! one request, with metrics, a route, a strict inbound policy and mTLS on; and the same in plaintext.
//!
//! How ours is told from others': all threads of the process but the test's own client and application are counted, so the two
//! workers, with everything in them. Each allocation is attributed by its backtrace to the crate of the innermost frame outside
//! of the standard library. rustls allocates for every record that it seals or opens; that number is the baseline below. Every
//! other crate, tokio included (a spawned task is a box of tokio's, a channel's block too), has none. In plaintext nobody has.
//!
//! Locks leave no trace here. That none is taken is the review's business (clippy.toml forbids the types).

use std::net::TcpStream;

use minimesh_benches::counting::{self, Counting};
use minimesh_benches::pair::{Link, Pair};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of rustls 0.23.46 for one request and its response through both sidecars; see RESULTS.md.
const RUSTLS_PER_REQUEST: u64 = 4;

const WARM: u32 = 200;
const REQUESTS: u32 = 500;

/// Once a second each worker sweeps what is idle, whether there are requests or not; a slow machine sees it happen in between.
/// What a request allocates comes to at least `REQUESTS`.
const HOUSEKEEPING: u64 = REQUESTS as u64 / 25;

#[test]
fn a_warm_request_allocates_nothing_of_ours() {
    counting::ignore_this_thread();
    // One after the other in one test: what is counted is the whole process'.
    holds(Link::MutualTls, RUSTLS_PER_REQUEST);
    holds(Link::Plaintext, 0);
}

/// For a machine that does other things.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// rustls allocates for `records` records of each request, and nobody else does.
fn holds(link: Link, records: u64) {
    let pair = Pair::start(link).expect("two sidecars");
    let mut client = TcpStream::connect(pair.outbound).expect("loopback");
    client.set_nodelay(true).expect("a TCP socket");
    pair.ask(&mut client, WARM).expect("answers");

    let callers = counting::attribute(|| pair.ask(&mut client, REQUESTS).expect("answers"));
    for ((thread, name), caller) in &callers {
        println!("{link:?}: {thread}: {name}: {:.3} per request", caller.allocations as f64 / f64::from(REQUESTS));
    }
    let of = |name: &str| callers.iter().filter(|((_, n), _)| n == name).map(|(_, c)| c.allocations).sum::<u64>();
    if let Some(((thread, name), caller)) =
        callers.iter().find(|((_, name), c)| name != "rustls" && c.allocations > HOUSEKEEPING)
    {
        panic!("{thread}: {name} allocated {} times, the first time here:\n{}", caller.allocations, caller.example);
    }
    let records = records * u64::from(REQUESTS);
    assert_eq!(of("rustls"), records, "rustls' records");

    let counted = counting::count(|| pair.ask(&mut client, REQUESTS).expect("answers"));
    println!(
        "{link:?}: in all {:.3} allocations, {:.0} bytes per request",
        counted.allocations as f64 / f64::from(REQUESTS),
        counted.bytes as f64 / f64::from(REQUESTS)
    );
    let range = records..=records + HOUSEKEEPING;
    assert!(range.contains(&counted.allocations), "{} allocations, not in {range:?}", counted.allocations);

    // The requests did go the whole way. Each is counted once its answer is out, so perhaps a moment after the client has it.
    let expected = u64::from(WARM + 2 * REQUESTS);
    for metrics in [&pair.client_metrics, &pair.server_metrics] {
        let successes = || metrics.reports().iter().map(|edge| edge.successes).sum::<u64>();
        let began = std::time::Instant::now();
        while successes() < expected && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        assert_eq!(successes(), expected);
    }
}
