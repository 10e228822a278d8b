//! Bytes in one direction over one connection, as fast as they go.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::watch::Watch;
use super::{Failure, Outcome, Plan, Window};

pub(super) fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let mut stream = TcpStream::connect(plan.address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let window = Window::of(plan);
    let watch = Watch::start(window, plan.watched.clone());
    let counter = watch.counter();
    // begins with a byte that no protocol begins with
    let block = vec![0; BLOCK];
    let mut sent: u64 = 0;
    while Instant::now() < window.end {
        stream.write_all(&block)?;
        sent += BLOCK as u64;
        counter.store(sent, Ordering::Relaxed);
    }
    // the far end says how much it has read, which is the proof that all of it came through
    stream.shutdown(Shutdown::Write)?;
    let mut received = [0; 8];
    stream.read_exact(&mut received)?;
    let errors = u64::from(u64::from_be_bytes(received) != sent);
    Ok(Outcome { errors, ..watch.finish() })
}

/// What a program that copies files writes at once.
const BLOCK: usize = 128 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
