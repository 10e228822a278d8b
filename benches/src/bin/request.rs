//! What a warm request through both sidecars costs: processor time of each thread, loopback, mTLS. One argument: how many requests.
//!
//! Wall time and processor time move with the machine; instructions do not: those are `cargo xtask icount`.

use std::error::Error;
use std::path::Path;
use std::time::Instant;
use std::{fs, io};

use minimesh_benches::application::Carried;
use minimesh_benches::client::Client;
use minimesh_benches::pair::{Pair, Setup};

fn main() -> Result<(), Box<dyn Error>> {
    let requests = std::env::args().nth(1).map_or(Ok(DEFAULT), |number| number.parse::<u32>())?;
    let pair = Pair::start(Setup::new(Carried::Http1))?;
    let mut client = Client::connect(pair.outbound, Carried::Http1)?;
    client.ask(WARM)?;

    let before = processor_time()?;
    let begin = Instant::now();
    client.ask(requests)?;
    let wall = begin.elapsed();
    let after = processor_time()?;
    println!(
        "{requests} requests, {:.1} us each, of which on a processor:",
        wall.as_secs_f64() * 1e6 / f64::from(requests)
    );
    for ((thread, from), (_, to)) in before.iter().zip(&after) {
        println!("  {thread:<16} {:>6.1} us", (to - from) as f64 / 1e3 / f64::from(requests));
    }
    Ok(())
}

/// Nanoseconds of each thread of this process; threads in the order of their start.
fn processor_time() -> io::Result<Vec<(String, u64)>> {
    let mut tasks: Vec<_> = fs::read_dir("/proc/self/task")?.collect::<io::Result<_>>()?;
    tasks.sort_by_key(|task| task.file_name());
    let read = |folder: &Path| {
        let name = fs::read_to_string(folder.join("comm"))?.trim().to_owned();
        let times = fs::read_to_string(folder.join("schedstat"))?;
        let first = times.split(' ').next().and_then(|time| time.parse().ok());
        Ok((name, first.ok_or_else(|| io::Error::other(format!("not understood: {times}")))?))
    };
    tasks.iter().map(|task| read(&task.path())).collect()
}

const DEFAULT: u32 = 20_000;
const WARM: u32 = 500;
