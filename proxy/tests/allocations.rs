//! A warm request allocates nothing of ours: a counting allocator, two proxies, metrics and policy and mTLS on.
//!
//! rustls makes a vector for each record that it encrypts or decrypts (its unbuffered API); those are counted apart, by
//! comparison with the same path in plaintext, which must not allocate at all.

#![allow(unsafe_code)] // GlobalAlloc cannot be implemented without

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use minimesh_api::model::{
    BackendKey, DefaultPolicy, Endpoint, EndpointState, Endpoints, PlaintextReason, PortPolicy, Protocol, Transport,
};
use minimesh_identity::authority::Authority;
use minimesh_identity::{Credentials, Leaf, PrivateKey, SpiffeId, TicketKeys};
use minimesh_proxy::Origin;
use minimesh_proxy::control::{ControlHandle, FakeControl, TargetSnapshot};
use minimesh_proxy::error::CODES;
use minimesh_proxy::metrics::Metrics;
use minimesh_proxy::worker::{OwnPorts, WorkerConfig, crew, spawn};
use minimesh_route::RouteTable;
use minimesh_runtime::drain;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes unchanged to the system's allocator; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on as it is.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SERVICE: &str = "10.43.0.1:80";
const WARM: usize = 200;
const COUNTED: usize = 2_000;

/// Records of a request: request and response, each encrypted once and decrypted once.
const RECORDS: usize = 4;

struct World {
    outbound: FakeControl,
    outbound_address: SocketAddr,
    inbound_address: SocketAddr,
    authority: Authority,
    // dropped, these would end the workers
    _drains: [drain::Trigger; 2],
    _inbound: FakeControl,
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "shop", account).expect("valid")
}

fn key() -> BackendKey {
    BackendKey { namespace: "shop".into(), name: "catalogue".into(), port: 80 }
}

/// Answers every request without allocating.
fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tcp = tcp.expect("accept");
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while matches!(tcp.read(&mut buffer), Ok(1..)) {
                    let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Length: 5\r\n\r\nhello");
                }
            });
        }
    });
    address
}

fn worker(outbound: bool, origin: Origin) -> (FakeControl, SocketAddr, drain::Trigger) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.set_nonblocking(true).expect("nonblocking");
    let address = listener.local_addr().expect("bound");
    let (control, handle) = ControlHandle::fake(Metrics::new(CODES), vec![]);
    let (trigger, watch) = drain::channel();
    let (outbound, inbound) = if outbound { (vec![listener], vec![]) } else { (vec![], vec![listener]) };
    let config = WorkerConfig {
        index: 0,
        seat: crew(1).pop().expect("one seat"),
        outbound,
        inbound,
        control: handle,
        drain: watch,
        mark: None,
        ports: OwnPorts::default(),
        default_policy: DefaultPolicy::AllUnauthenticated,
        head_limit: 64 * 1024,
        origin,
        observe: Default::default(),
    };
    spawn(config).expect("a thread");
    (control, address, trigger)
}

fn world() -> World {
    let app = app();
    let service: SocketAddr = SERVICE.parse().expect("address");
    let (outbound, outbound_address, first) = worker(true, Origin::Fixed { outbound: service, inbound: app });
    let (inbound, inbound_address, second) = worker(false, Origin::Fixed { outbound: service, inbound: app });
    let policy = DefaultPolicy::AllUnauthenticated;
    inbound.port(app.port(), PortPolicy { protocol: Protocol::Detect, policy });
    let authority = Authority::create("cluster.local").expect("authority");
    let tickets = TicketKeys::new().expect("keys");
    for (control, account) in [(&outbound, "front-end"), (&inbound, "catalogue")] {
        let private = PrivateKey::generate().expect("key");
        let csr = private.csr(None).expect("csr");
        let chain = authority.issue(&csr, &id(account), Duration::from_secs(3600)).expect("issued");
        let leaf = Leaf::new(chain, private).expect("leaf");
        let credentials =
            Credentials::new(leaf, authority.bundle().expect("bundle"), &tickets, 1).expect("credentials");
        control.credentials(Arc::new(credentials));
    }
    let routes = Arc::new(RouteTable::compile(&[]).expect("no routes"));
    outbound.target(service, TargetSnapshot::Service { service: key(), protocol: Protocol::Http1, routes });
    World { outbound, outbound_address, inbound_address, authority, _drains: [first, second], _inbound: inbound }
}

impl World {
    fn endpoint(&self, transport: Transport) {
        let endpoint = Endpoint {
            address: self.inbound_address,
            transport,
            state: EndpointState::Serving,
            workload: None,
            zone: None,
        };
        self.outbound.endpoints(&key(), Endpoints(vec![endpoint]));
    }

    /// Allocations per request on one warm connection.
    fn measure(&self) -> f64 {
        let mut tcp = TcpStream::connect(self.outbound_address).expect("outbound listener");
        tcp.set_nodelay(true).expect("nodelay");
        let mut buffer = [0; 4096];
        let mut before = 0;
        for n in 0..WARM + COUNTED {
            if n == WARM {
                before = ALLOCATIONS.load(Ordering::Relaxed);
            }
            tcp.write_all(b"GET /catalogue?size=3 HTTP/1.1\r\nHost: catalogue\r\nUser-Agent: test\r\nConnection: keep-alive\r\n\r\n")
                .expect("request");
            let mut length = 0;
            while !buffer[..length].ends_with(b"hello") {
                length += tcp.read(&mut buffer[length..]).expect("response");
            }
            assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", buffer[..length].escape_ascii());
        }
        (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / COUNTED as f64
    }
}

#[test]
fn a_warm_request_allocates_nothing_of_ours() {
    let world = world();
    assert_eq!(world.authority.trust_domain(), "cluster.local");
    world.endpoint(Transport::Plaintext(PlaintextReason::NotMeshed));
    let plaintext = world.measure();
    world.endpoint(Transport::MutualTls { identity: id("catalogue").as_str().into() });
    let mesh = world.measure();
    println!("allocations per request through two proxies: {plaintext} in plaintext, {mesh} with mTLS");
    // sweeps, once a second, may fall into the measurement
    assert!(plaintext < 0.05, "{plaintext}");
    assert!(mesh <= RECORDS as f64 + 0.05, "{mesh}: more than rustls' own for {RECORDS} records");
}
