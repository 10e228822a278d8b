//! What `cargo xtask icount` counts: `icount PATH REQUESTS PROCESSOR` sends so many warm requests through both sidecars and ends.
//!
//! Says on stderr which thread is which, in the order of their start, by which callgrind numbers them. Stdout is the access
//! log's. Everything runs on one processor, so that the kernel's choice of who runs next is the same each time.

use std::error::Error;
use std::io;

use minimesh_api::model::DefaultPolicy;
use minimesh_benches::application::Carried;
use minimesh_benches::client::Client;
use minimesh_benches::pair::{Pair, Setup};
use minimesh_proxy::observe::{AccessLogFormat, Observe};
use minimesh_runtime::logging;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, requests, processor] = &arguments[..] else {
        return Err("usage: icount PATH REQUESTS PROCESSOR".into());
    };
    let requests: u32 = requests.parse()?;
    on_one_processor(processor.parse()?)?;
    // As the program has it: without a subscriber the HTTP/2 library's spans take a way that the program's do not.
    logging::init(&logging::Args { log_level: "error".to_owned(), ..logging::Args::default() })?;
    let setup = setup(path)?;
    let carried = setup.carried;
    let pair = Pair::start(setup)?;
    for (index, name) in threads()?.iter().enumerate() {
        eprintln!("thread {} {name}", index + 1);
    }
    let mut client = Client::connect(pair.outbound, carried)?;
    client.ask(WARM)?;
    client.ask(requests)?;
    Ok(())
}

/// Every path, by name; alphabetical.
fn setup(path: &str) -> Result<Setup, Box<dyn Error>> {
    let open = |carried| Setup { policy: DefaultPolicy::AllUnauthenticated, ..Setup::new(carried) };
    Ok(match path {
        "grpc" => open(Carried::Grpc),
        "http1" => open(Carried::Http1),
        "http1-access-log" => Setup { observe: Observe::access_log(AccessLogFormat::Json)?, ..open(Carried::Http1) },
        "http1-strict" => Setup::new(Carried::Http1),
        "http2" => open(Carried::Http2),
        "opaque" => open(Carried::Opaque),
        _ => return Err(format!("no path {path:?}").into()),
    })
}

/// The one of that number among those that this process may use; counted round.
fn on_one_processor(number: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let allowed: Vec<usize> = (0..CpuSet::count()).filter(|index| allowed.is_set(*index).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    one.set(allowed[number % allowed.len()])?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

/// Names of this process' threads in the order of their start; none has ended yet.
fn threads() -> io::Result<Vec<String>> {
    let own = std::process::id();
    let mut tasks = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?;
        let id: u32 = task.file_name().to_string_lossy().parse().map_err(io::Error::other)?;
        let name = std::fs::read_to_string(task.path().join("comm"))?;
        // ids begin again where the kernel's numbers end
        tasks.push((id.wrapping_sub(own), name.trim().to_owned()));
    }
    tasks.sort();
    Ok(tasks.into_iter().map(|(_, name)| name).collect())
}

/// Sessions, windows, load estimates and buffers have settled then.
const WARM: u32 = 100;
