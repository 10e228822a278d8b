//! Those who mean harm by numbers: while fifty connections flood a sidecar, it stays small, serves the others, and counts.

use std::net::SocketAddr;
use std::time::Duration;

use minimesh_tests::apps::{FLOOD_DONE, Flood, Request};
use minimesh_tests::wait;
use minimesh_tests::world::{Pod, World};

const PORT: u16 = 8080;
/// What a sidecar may grow by in any flood.
const GROWTH: f64 = (24 << 20) as f64;
/// All of a flood has been read in that time, also by a program without optimisation on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every flood, and the word under which its senders are counted; none: what it sends is allowed, and costs no more than reading it.
const FLOODS: [(Flood, Option<&str>); 15] = [
    (Flood::ChunkedGarbage, Some("bad_request")),
    (Flood::Continuation, Some("protocol_violation")),
    (Flood::EmptyData, Some("protocol_violation")),
    (Flood::HeadersTooLarge, Some("head_too_large")),
    (Flood::Http2Garbage, Some("protocol_violation")),
    (Flood::MadeYouReset, Some("protocol_violation")),
    (Flood::Ping, None),
    (Flood::Priority, None),
    (Flood::RapidReset, Some("protocol_violation")),
    (Flood::Settings, None),
    (Flood::SlowBody, None),
    (Flood::SlowHead, None),
    (Flood::Smuggling, Some("bad_request")),
    (Flood::TlsGarbage, None),
    (Flood::WindowUpdate, Some("protocol_violation")),
];

#[test]
fn in_a_flood_from_fifty_connections_a_sidecar_stays_small_serves_others_and_counts() {
    let world = World::start("hostile");
    let control_plane = world.control_plane(&[]);
    let server = world.pod("server").start(&control_plane);
    let _http = server.http_server(PORT);
    let (rogue, honest) = (world.pod("rogue").unmeshed().start(), world.pod("honest").unmeshed().start());
    let address = server.port(PORT);
    // what everybody needs once is no growth
    for _ in 0..50 {
        served(&honest, address);
    }
    let idle = resident(&server);
    let came = server.metric("minimesh_detect_total", &[]);
    for (flood, word) in FLOODS {
        let before = word.map(|word| server.errors(word));
        let flooding = rogue.flood(address, flood);
        served(&honest, address);
        let mut largest = resident(&server);
        wait::within(PATIENCE, &format!("{flood:?} is sent"), || {
            flooding.expect_running();
            largest = largest.max(resident(&server));
            flooding.output().contains(FLOOD_DONE).then_some(())
        });
        // its connections are still there, as far as the sidecar let them be
        served(&honest, address);
        largest = largest.max(resident(&server));
        let counted = word.zip(before).map(|(word, before)| server.errors(word) - before);
        println!("{flood:?}: {:.1} MiB above idle, counted {counted:?}", (largest - idle) / f64::from(1 << 20));
        flooding.kill();
        assert!(largest - idle < GROWTH, "{flood:?}: {largest} bytes, {idle} before");
        assert!(counted.is_none_or(|counted| counted >= 1.0), "{flood:?} is not counted");
    }
    // also where nothing that was sent was wrong, it shows that somebody came
    let since = server.metric("minimesh_detect_total", &[]) - came;
    assert!(since >= 50.0, "{since} connections");
    server.proxy().expect_running();
}

fn served(client: &Pod<'_>, address: SocketAddr) {
    assert_eq!(client.request(&Request::get(address, "/")).status, 200);
}

/// Of the pod's sidecar.
fn resident(pod: &Pod<'_>) -> f64 {
    pod.metric("process_resident_memory_bytes", &[])
}
