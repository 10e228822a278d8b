//! A worker that dies, and who hears of it.

use minimesh_api::model::DefaultPolicy;
use minimesh_runtime::drain;

use super::*;
use crate::error::CODES;
use crate::metrics::Metrics;

#[test]
fn a_panic_in_the_accept_loop_ends_the_worker_which_says_why() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.set_nonblocking(true).expect("nonblocking");
    let address = listener.local_addr().expect("bound");
    let (_control, control) = ControlHandle::fake(Metrics::new(CODES), vec![]);
    let (_trigger, drain) = drain::channel();
    let mut seat = crew(1).pop().expect("one seat");
    // no desk of that number: the first accepted connection finds out
    seat.index = 7;
    let config = WorkerConfig {
        index: 0,
        seat,
        outbound: vec![listener],
        inbound: vec![],
        control,
        drain,
        mark: None,
        ports: OwnPorts::default(),
        default_policy: DefaultPolicy::Deny,
        head_limit: 4096,
        max_streams: 1024,
        patience: Patience::default(),
        origin: Origin::Fixed { outbound: address, inbound: address },
        observe: Observe::default(),
    };
    let mut running = spawn(config).expect("a thread");
    let _client = std::net::TcpStream::connect(address).expect("the listener is there");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let why = runtime.block_on(running.died());
    assert!(why.contains("index is 7"), "{why}");
}
