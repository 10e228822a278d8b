//! "No lock, channel, spawn or allocation of ours between two warm requests on one connection": what both sidecars allocate for
//! one request, with metrics, a route, a strict inbound policy and mTLS on; and the same in plaintext.
//!
//! How ours is told from others': all threads of the process but the test's own client and application are counted, so the two
//! workers, with everything in them. Each allocation is attributed by its backtrace to the crate of the innermost frame outside
//! of the standard library. rustls allocates for every record that it seals or opens; that number is the baseline below. Every
//! other crate, tokio included (a spawned task is a box of tokio's, a channel's block too), has none. In plaintext nobody has.
//!
//! HTTP/2 goes over the h2 crate (ADR 7), which allocates for every stream at either end. Its own share is measured beside the
//! sidecars': the same requests from an application to another without anything in between. What the sidecars may come to is
//! in `benches/baselines/costs.json`, which `cargo xtask icount` compares with the lines `cost: …` that are printed here.
//!
//! Locks leave no trace here. That none is taken is the review's business (clippy.toml forbids the types).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use minimesh_benches::application::{self, Carried};
use minimesh_benches::client::Client;
use minimesh_benches::counting::{self, Caller, Counting};
use minimesh_benches::pair::{Link, Pair, Setup};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of rustls 0.23.46 for one request and its response through both sidecars; see RESULTS.md.
const RUSTLS_PER_REQUEST: u64 = 4;

const WARM: u32 = 200;
const REQUESTS: u32 = 500;
/// Backtraces of every allocation are kept of so many streams, which have many each.
const FEW: u32 = 50;

/// Once a second each worker sweeps what is idle, whether there are requests or not; a slow machine sees it happen in between.
/// What a request allocates comes to at least `REQUESTS`.
const HOUSEKEEPING: u64 = REQUESTS as u64 / 25;

/// For a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_warm_request_allocates_nothing_of_ours() {
    counting::ignore_this_thread();
    // One after the other in one test: what is counted is the whole process'.
    holds(Setup::new(Carried::Http1), RUSTLS_PER_REQUEST);
    holds(Setup::plaintext(Carried::Http1), 0);
    for carried in [Carried::Http2, Carried::Grpc] {
        let sidecars = stream(Pair::start(Setup::new(carried)).expect("two sidecars"), carried);
        let library = library_alone(carried);
        // two sidecars have two servers and two clients
        let own_share = 2.0 * library;
        println!("{carried:?}: {sidecars:.2} allocations per stream, of which {own_share:.2} the library's alone");
        assert!(library > 1.0, "nothing was counted");
        assert!(sidecars < 3.0 * own_share, "{sidecars} allocations per stream beside {own_share}");
    }
}

/// rustls allocates for `records` records of each request, and nobody else does.
fn holds(setup: Setup, records: u64) {
    let link = setup.link;
    let pair = Pair::start(setup).expect("two sidecars");
    let mut client = Client::connect(pair.outbound, Carried::Http1).expect("loopback");
    client.ask(WARM).expect("answers");

    let callers = counting::attribute(|| client.ask(REQUESTS).expect("answers"));
    let of = |name: &str| callers.iter().filter(|((_, n), _)| n == name).map(|(_, c)| c.allocations).sum::<u64>();
    if let Some(((thread, name), caller)) =
        callers.iter().find(|((_, name), c)| name != "rustls" && c.allocations > HOUSEKEEPING)
    {
        panic!("{thread}: {name} allocated {} times, the first time here:\n{}", caller.allocations, caller.example);
    }
    let records = records * u64::from(REQUESTS);
    assert_eq!(of("rustls"), records, "rustls' records");

    let counted = counting::count(|| client.ask(REQUESTS).expect("answers"));
    println!(
        "{link:?}: in all {:.3} allocations, {:.0} bytes per request",
        per_request(counted.allocations),
        per_request(counted.bytes)
    );
    let name = if link == Link::MutualTls { "http1" } else { "http1-plaintext" };
    cost(&format!("{name} rustls"), per_request(of("rustls")));
    cost(&format!("{name} others"), per_request(counted.allocations.saturating_sub(of("rustls"))));
    let range = records..=records + HOUSEKEEPING;
    assert!(range.contains(&counted.allocations), "{} allocations, not in {range:?}", counted.allocations);
    went_through(&pair, u64::from(WARM + 2 * REQUESTS));
}

/// Allocations of both sidecars per stream; says whose they are.
fn stream(pair: Pair, carried: Carried) -> f64 {
    let mut client = Client::connect(pair.outbound, carried).expect("loopback");
    client.ask(WARM).expect("answers");
    let callers = counting::attribute(|| client.ask(FEW).expect("answers"));
    let each = |count: u64| count as f64 / f64::from(FEW);
    for (name, allocations) in by_crate(&callers) {
        println!("{carried:?}: {name}: {:.2} per stream", each(allocations));
    }
    let ours = callers.iter().filter(|((_, name), _)| name.starts_with("minimesh"));
    let ours: u64 = ours.map(|(_, caller)| caller.allocations).sum();
    let counted = counting::count(|| client.ask(REQUESTS).expect("answers"));
    went_through(&pair, u64::from(WARM + FEW + REQUESTS));
    cost(&format!("{} ours", name(carried)), each(ours));
    cost(&format!("{} all", name(carried)), per_request(counted.allocations));
    per_request(counted.allocations)
}

/// Allocations per stream of a client and a server of the library without anything in between: everything is counted but what
/// the client's thread does while it does not count.
fn library_alone(carried: Carried) -> f64 {
    let address = application::start_with(carried, || {}).expect("loopback");
    let asking = std::thread::spawn(move || {
        let mut client = Client::connect(address, carried).expect("loopback");
        client.ask(WARM).expect("answers");
        counting::count(|| client.ask(REQUESTS).expect("answers")).allocations
    });
    let alone = per_request(asking.join().expect("no panic"));
    cost(&format!("{} library-alone", name(carried)), alone);
    alone
}

fn by_crate(callers: &BTreeMap<(String, String), Caller>) -> BTreeMap<&str, u64> {
    let mut crates = BTreeMap::new();
    for ((_, name), caller) in callers {
        *crates.entry(&**name).or_default() += caller.allocations;
    }
    crates
}

fn name(carried: Carried) -> &'static str {
    match carried {
        Carried::Grpc => "grpc",
        Carried::Http1 => "http1",
        Carried::Http2 => "http2",
        Carried::Opaque => "opaque",
    }
}

/// A line for `cargo xtask icount`.
fn cost(what: &str, value: f64) {
    println!("cost: allocations {what} {value:.3}");
}

fn per_request(count: u64) -> f64 {
    count as f64 / f64::from(REQUESTS)
}

/// The requests did go the whole way. Each is counted once its answer is out, so perhaps a moment after the client has it.
fn went_through(pair: &Pair, expected: u64) {
    for metrics in [&pair.client_metrics, &pair.server_metrics] {
        let successes = || metrics.reports().iter().map(|edge| edge.successes).sum::<u64>();
        let began = Instant::now();
        while successes() < expected && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        assert_eq!(successes(), expected);
    }
}
