//! What a sidecar costs that has real neighbours: network namespaces, the real program, interception, a control plane.
//!
//! `first-byte`: how much later than directly the first byte of a server that speaks first arrives, on the first connection to a
//! target and when the verdict is known. `idle-memory`: what a sidecar that knows 14 targets holds 60 s after its last request.
//! Prints figures, writes the raw data to `benches/data/`, asserts nothing. Run it as benches/README.md says.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use minimesh_tests::apps::{Exchange, Request};
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{ControlPlane, Pod, World};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [CLIENT, times, ref addresses @ ..] => client(times.parse()?, addresses),
        ["first-byte"] => first_byte(),
        ["idle-memory"] => idle_memory(),
        [] => first_byte().and_then(|()| idle_memory()),
        _ => Err("use first-byte or idle-memory".into()),
    }
}

/// Inside a pod: connects, waits for one byte, says how many microseconds that took; one line per connection.
fn client(times: usize, addresses: &[&str]) -> Result<(), Failure> {
    for address in addresses {
        let address: SocketAddr = address.parse()?;
        for _ in 0..times {
            let begin = Instant::now();
            let mut stream = TcpStream::connect(address)?;
            stream.read_exact(&mut [0])?;
            println!("{}", begin.elapsed().as_nanos() as f64 / 1_000.0);
        }
    }
    Ok(())
}

fn first_byte() -> Result<(), Failure> {
    let world = World::start("bench-first-byte");
    let control_plane = world.control_plane(&[]);
    let (server, direct_server) = (world.pod("db").start(&control_plane), world.pod("plain-db").unmeshed().start());
    let (caller, direct_caller) = (world.pod("app").start(&control_plane), world.pod("plain-app").unmeshed().start());
    server.tcp_server("greet", PORT);
    direct_server.tcp_server("greet", PORT);
    let targets: Vec<String> =
        (0..FIRST).map(|number| service(&world, number, &server, PORT, None).to_string()).collect();

    let mut data = String::from("kind,microseconds\n");
    let direct_address = direct_server.port(PORT).to_string();
    // One connection beforehand each, so that neither side pays for ARP or for pages of a fresh program.
    measure(&direct_caller, 1, &[&direct_address])?;
    let warm = service(&world, FIRST, &server, PORT, None);
    // Written last: when it is known, so are the others.
    let greeting = Exchange { address: warm, wait_for_greeting: true, idle_millis: 0, send: 0, lines_first: 0 };
    wait::eventually("the Services are known", || (!caller.exchange(&greeting).greeting.is_empty()).then_some(()));
    let first = measure(&caller, 1, &targets.iter().map(String::as_str).collect::<Vec<_>>())?;
    let (mut direct, mut known) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        direct.extend(measure(&direct_caller, PER_ROUND, &[&direct_address])?);
        known.extend(measure(&caller, PER_ROUND, &[&targets[round % targets.len()]])?);
    }
    for (kind, values) in [("direct", &direct), ("verdict_known", &known), ("first_connection", &first)] {
        for value in values {
            writeln!(data, "{kind},{value:.1}")?;
        }
    }
    write("first-byte.csv", &data)?;
    let base = median(&direct);
    println!("first byte of a server that speaks first, median");
    println!("  direct            {base:>9.0} us  ({} connections)", direct.len());
    for (what, values) in [("verdict known", &known), ("first connection", &first)] {
        let median = median(values);
        println!(
            "  {what:<16} {median:>10.0} us  ({} connections): {:+.0} us, {:.1} times",
            values.len(),
            median - base,
            median / base
        );
    }
    Ok(())
}

fn measure(pod: &Pod<'_>, times: usize, addresses: &[&str]) -> Result<Vec<f64>, Failure> {
    let own = std::env::current_exe()?.display().to_string();
    let times = times.to_string();
    let output = pod.spawn("first-byte", &[&[&*own, CLIENT, &times], addresses].concat()).succeed();
    Ok(output.lines().map(str::parse).collect::<Result<_, _>>()?)
}

fn idle_memory() -> Result<(), Failure> {
    let world = World::start("bench-idle-memory");
    let control_plane = world.control_plane(&[]);
    let caller = world.pod("front-end").start(&control_plane);
    let fresh = memory(&caller);
    let servers: Vec<Pod<'_>> = (0..TARGETS).map(|number| meshed_server(&world, &control_plane, number)).collect();
    let published = servers.iter().enumerate();
    let addresses: Vec<_> =
        published.map(|(number, server)| service(&world, number, server, 80, Some("http"))).collect();
    for address in addresses {
        let ask = || caller.request(&Request::get(address, "/"));
        // The control plane hears of a Service some milliseconds after it was written.
        wait::eventually(&format!("{address} answers"), || (ask().status == 200).then_some(()));
        for _ in 0..20 {
            let response = ask();
            if response.status != 200 {
                return Err(format!("{address}: {} {}", response.status, response.body).into());
            }
        }
    }
    let after = memory(&caller);
    let end = Instant::now() + IDLE;
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(rest);
    }
    let idle = memory(&caller);
    let server = memory(&servers[0]);
    let mut data = String::from("sidecar,rss_bytes,rss_anon_bytes\n");
    println!("memory of a sidecar, MiB");
    let rows = [
        ("fresh", fresh),
        ("after 20 requests to each of 14 targets", after),
        ("60 s later", idle),
        ("of a server, idle", server),
    ];
    for (what, (resident, anonymous)) in rows {
        println!("  {what:<40} RSS {:>6.2}  RssAnon {:>6.2}", resident / MIB, anonymous / MIB);
        writeln!(data, "{what},{resident},{anonymous}")?;
    }
    write("idle-memory.csv", &data)
}

fn meshed_server<'w>(world: &'w World, control_plane: &ControlPlane<'w>, number: usize) -> Pod<'w> {
    let pod = world.pod(&format!("server-{number}")).start(control_plane);
    pod.http_server(8080);
    pod
}

/// A Service of its own address in front of one pod.
fn service(world: &World, number: usize, pod: &Pod<'_>, port: u16, protocol: Option<&str>) -> SocketAddr {
    let name = format!("{}-{number}", pod.name());
    let address = Ipv4Addr::new(10, 43, 0, 10 + number as u8);
    let target_port = if port == 80 { 8080 } else { port };
    let service = Service { name: &name, address, port, target_port, protocol };
    world.apply(&service.object());
    world.apply(&service.endpoints(&[(pod.address(), pod.name(), false)]));
    SocketAddr::from((address, port))
}

fn memory(pod: &Pod<'_>) -> (f64, f64) {
    (pod.metric("process_resident_memory_bytes", &[]), pod.metric("minimesh_process_rss_anon_bytes", &[]))
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn write(name: &str, data: &str) -> Result<(), Failure> {
    Ok(std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name), data)?)
}

/// The role of this program inside of a pod.
const CLIENT: &str = "client";
const PORT: u16 = 3306;
/// Targets that are dialled for the first time.
const FIRST: usize = 60;
/// Direct and meshed connections in turn, so that both meet the same machine.
const ROUNDS: usize = 10;
const PER_ROUND: usize = 50;
const TARGETS: usize = 14;
const IDLE: Duration = Duration::from_secs(60);
const MIB: f64 = 1024.0 * 1024.0;
