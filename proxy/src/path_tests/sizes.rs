//! Sizes of the futures that connections and requests are: what is moved when they begin, and held while they wait.
//!
//! Prints lines `cost: bytes …` for `cargo xtask icount`, which holds them to `benches/baselines/costs.json`. A layout does not
//! depend on how much a build optimises.

use super::*;

/// Bytes of what `call` returns; it is not called.
pub(crate) fn returned<A, R>(_: impl FnOnce(A) -> R) -> usize {
    size_of::<R>()
}

#[test]
fn every_future_has_a_size() {
    let sizes = [&crate::inbound::future_sizes()[..], &crate::outbound::future_sizes()[..], &own()[..]].concat();
    for (name, bytes) in &sizes {
        println!("cost: bytes {name} {bytes}");
        assert!(*bytes > 0, "{name}");
    }
}

fn own() -> [(&'static str, usize); 3] {
    use crate::http::h2::drive;
    use crate::io::Stream;
    use crate::worker::Worker;
    let carry_out = |(worker, tcp): (Rc<Worker>, TcpStream)| worker.carry_out(tcp);
    [
        ("connection task", returned(carry_out)),
        ("connection stream", size_of::<Stream>()),
        ("connection http2-link", returned(drive)),
    ]
}
