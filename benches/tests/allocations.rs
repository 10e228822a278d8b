//! "No lock, channel, spawn or allocation of ours between two warm requests on one connection": what both sidecars allocate for
//! one request, with metrics, a route, a strict inbound policy and mTLS on.
//!
//! How ours is told from others': all threads of the process but the test's own client and application are counted, so the two
//! workers, with everything in them. Each allocation is attributed by its backtrace to the crate of the innermost frame outside
//! of the standard library. rustls allocates for every record that it seals or opens; that number is the baseline below. Every
//! other crate, tokio included (a spawned task is a box of tokio's, a channel's block too), has none.
//!
//! Locks leave no trace here. That none is taken is the review's business (clippy.toml forbids the types).

use std::io::{Read, Write};
use std::net::TcpStream;

use minimesh_benches::counting::{self, Counting};
use minimesh_benches::pair::{Pair, RESPONSE};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of rustls 0.23.46 for one request and its response through both sidecars; see RESULTS.md.
const RUSTLS_PER_REQUEST: u64 = 4;

const REQUESTS: u64 = 500;

/// Once a second each worker sweeps what is idle, whether there are requests or not; a slow machine sees it happen in between.
/// What a request allocates comes to at least `REQUESTS`.
const HOUSEKEEPING: u64 = REQUESTS / 25;

const REQUEST: &[u8] =
    b"GET /carts/57a98d98e4b00679b4a830b2/items HTTP/1.1\r\nHost: carts\r\nUser-Agent: front-end\r\n\
    Accept: application/json\r\nx-version: 1\r\n\r\n";

fn ask(client: &mut TcpStream, times: u64) {
    let mut buffer = [0; 4096];
    for _ in 0..times {
        client.write_all(REQUEST).expect("loopback");
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"0.00\"}") {
            let count = client.read(&mut buffer[filled..]).expect("loopback");
            assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&buffer[..filled]));
            filled += count;
            assert!(buffer.starts_with(&RESPONSE[..15]), "{}", String::from_utf8_lossy(&buffer[..filled]));
        }
    }
}

#[test]
fn a_warm_request_allocates_nothing_of_ours() {
    counting::ignore_this_thread();
    let pair = Pair::start().expect("two sidecars");
    let mut client = TcpStream::connect(pair.outbound).expect("loopback");
    client.set_nodelay(true).expect("a TCP socket");
    ask(&mut client, 200);

    let callers = counting::attribute(|| ask(&mut client, REQUESTS));
    for ((thread, name), caller) in &callers {
        println!("{thread}: {name}: {:.3} per request", caller.allocations as f64 / REQUESTS as f64);
    }
    let of = |name: &str| callers.iter().filter(|((_, n), _)| n == name).map(|(_, c)| c.allocations).sum::<u64>();
    if let Some(((thread, name), caller)) =
        callers.iter().find(|((_, name), c)| name != "rustls" && c.allocations > HOUSEKEEPING)
    {
        panic!("{thread}: {name} allocated {} times, the first time here:\n{}", caller.allocations, caller.example);
    }
    assert_eq!(of("rustls"), RUSTLS_PER_REQUEST * REQUESTS, "rustls' records");

    let counted = counting::count(|| ask(&mut client, REQUESTS));
    println!(
        "in all: {:.3} allocations, {:.0} bytes per request",
        counted.allocations as f64 / REQUESTS as f64,
        counted.bytes as f64 / REQUESTS as f64
    );
    let records = RUSTLS_PER_REQUEST * REQUESTS;
    let range = records..=records + HOUSEKEEPING;
    assert!(range.contains(&counted.allocations), "{} allocations, not in {range:?}", counted.allocations);

    // The requests did go the whole way.
    let successes =
        |reports: Vec<minimesh_api::model::EdgeReport>| reports.iter().map(|edge| edge.successes).sum::<u64>();
    let expected = 200 + 2 * REQUESTS;
    assert_eq!(successes(pair.client_metrics.reports()), expected);
    assert_eq!(successes(pair.server_metrics.reports()), expected);
}
