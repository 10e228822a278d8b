//! Connections that ask once and stay, and the memory that they cost.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::response::{Answer, REQUEST};
use super::watch::{resident_kib, until};
use super::{Failure, Held, Outcome, Plan};

/// Opens them in four steps, looks at the memory of the watched processes before and after each.
pub(super) fn run(plan: &Plan, connections: usize) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    let mut open: Vec<TcpStream> = Vec::with_capacity(connections);
    // The first is the baseline: what every proxy needs once, it has then.
    for step in [1, connections / 4, connections / 2, connections * 3 / 4, connections] {
        while open.len() < step {
            match ask(plan) {
                Ok(stream) => open.push(stream),
                Err(error) if open.is_empty() => return Err(error),
                Err(_) => {
                    outcome.errors += 1;
                    if outcome.errors > TOO_MANY {
                        return Err(format!("{TOO_MANY} of {connections} connections failed").into());
                    }
                }
            }
        }
        until(Instant::now() + SETTLE);
        let resident_kib = plan.watched.iter().map(|&process| resident_kib(process)).collect();
        outcome.held.push(Held { connections: open.len(), resident_kib });
    }
    outcome.completed = open.len() as u64;
    Ok(outcome)
}

fn ask(plan: &Plan) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(plan.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let answered = Answer::new().read(&mut stream)?;
    if answered { Ok(stream) } else { Err("no answer".into()) }
}

/// Buffers that are given back are given back by then.
const SETTLE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);
const TOO_MANY: u64 = 20;
