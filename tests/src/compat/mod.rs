//! Real programs that nobody here wrote, run twice: once with nothing between client and server, once through a pair of proxies.
//! What the programs say must be the same.
//!
//! A case is a folder of `tests/compat` with two scripts, so that what is run can be read, and tried, without this crate:
//!
//! ```text
//! serve.sh FOLDER              becomes the servers, in the server's pod
//! ask.sh FOLDER ADDRESS…       is the clients, in the client's pod; one IP:PORT for each port of the case
//! differs.sh FOLDER ADDRESS…   the same, where a proxy makes a difference that is wanted; what is said must then be
//!                              differs.direct and differs.meshed
//! ```
//!
//! Both runs happen at the same addresses and in the same folder: in the run without mesh the server's pod has the Services'
//! addresses itself. A program or a library that is not on this machine makes its case *skipped*, by name and with the reason
//! ([`Need`]); `cargo xtask test` counts that. What each case shows stands in `docs/compatibility.md`.

mod need;
mod transcript;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apps::Exchange;
use crate::wait;
use crate::world::manifests::Service;
use crate::world::{ControlPlane, Pod, World};

pub use need::{Kit, Need};
pub use transcript::Transcript;

/// What stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nothing,
    Proxies,
}

/// A client's pod, a server's pod, and Services in front of the server.
struct Stage<'w> {
    client: Pod<'w>,
    server: Pod<'w>,
    services: Vec<SocketAddr>,
}

/// What one run of a case said.
struct Said {
    asked: Transcript,
    differs: Option<Transcript>,
}

/// For servers that take long to start, such as a broker on a virtual machine of its own, and for clients with many cases.
const PATIENCE: Duration = Duration::from_secs(60);
/// A Service that only says when all others are known: applied last.
const PROBE: u16 = 7;
/// First of the Services' addresses.
const SERVICES: [u8; 4] = [10, 43, 0, 10];

/// Runs the case of that name twice and compares what it says. `ports` are those that its servers listen on.
///
/// Skipped, with a line that says so, if something of `needs` is not there.
pub fn compare(name: &str, needs: &[Need], ports: &[u16]) {
    if skip(name, needs) {
        return;
    }
    let world_name = format!("compat-{name}");
    let run = |between| {
        let world = World::start(&world_name);
        match between {
            Between::Nothing => Stage::direct(&world, ports).run(name),
            Between::Proxies => {
                let control_plane = world.control_plane(&[]);
                let stage = Stage::meshed(&world, &control_plane, ports);
                let said = stage.run(name);
                stage.assert_secured();
                said
            }
        }
    };
    let (direct, meshed) = (run(Between::Nothing), run(Between::Proxies));
    transcript::assert_same(name, ["direct", "meshed"], [&direct.asked, &meshed.asked]);
    for (side, said) in [("direct", direct.differs), ("meshed", meshed.differs)] {
        let Some(said) = said else { continue };
        let file = format!("differs.{side}");
        let known = std::fs::read_to_string(folder(name).join(&file)).unwrap_or_default();
        let known = Transcript::default().with("differs.sh", &known);
        transcript::assert_same(&format!("{name}-{file}"), ["known", "now"], [&known, &said]);
    }
}

/// Whether something of `needs` is not there; says what, in the line that `cargo xtask test` counts.
pub fn skip(name: &str, needs: &[Need]) -> bool {
    let missing = needs.iter().find_map(Need::missing);
    if let Some(why) = &missing {
        println!("\nskipped: {name}: {why}");
    }
    missing.is_some()
}

impl<'w> Stage<'w> {
    fn direct(world: &'w World, ports: &[u16]) -> Stage<'w> {
        // has the address that the control plane has in the other run
        world.pod("nobody").unmeshed().start();
        let (server, client) = (world.pod("server").unmeshed().start(), world.pod("client").unmeshed().start());
        let services = services(ports);
        for service in &services {
            server.add_address(*service.ip());
        }
        Stage { client, server, services: services.into_iter().map(SocketAddr::from).collect() }
    }

    fn meshed(world: &'w World, control_plane: &ControlPlane<'w>, ports: &[u16]) -> Stage<'w> {
        let server = world.pod("server").start(control_plane);
        let _echo = server.tcp_server("echo", PROBE);
        let services = services(&[ports, &[PROBE]].concat());
        for service in &services {
            let (address, port, name) = (*service.ip(), service.port(), format!("port-{}", service.port()));
            world.serve(&Service { name: &name, address, port, target_port: port, protocol: None }, &[&server]);
        }
        let client = world.pod("client").start(control_plane);
        let mut services: Vec<SocketAddr> = services.into_iter().map(SocketAddr::from).collect();
        let address = services.pop().expect("the probe is the last");
        let probe = Exchange { address, wait_for_greeting: false, idle_millis: 0, send: 1, lines_first: 0 };
        wait::eventually("the Services are known", || (client.exchange(&probe).received == 1).then_some(()));
        Stage { client, server, services }
    }

    fn run(&self, name: &str) -> Said {
        let scratch = self.server.scratch().display().to_string();
        let servers = self.server.spawn("servers", &["sh", &script(name, "serve.sh"), &scratch]);
        for service in &self.services {
            wait::within(PATIENCE, &format!("{name} listens on {}", service.port()), || {
                servers.expect_running();
                self.server.listens(service.port()).then_some(())
            });
        }
        let asked = self.ask(&script(name, "ask.sh"), &scratch);
        let differs = folder(name).join("differs.sh").exists().then(|| self.ask(&script(name, "differs.sh"), &scratch));
        Said { asked, differs }
    }

    fn ask(&self, script: &str, scratch: &str) -> Transcript {
        let addresses: Vec<String> = self.services.iter().map(SocketAddr::to_string).collect();
        let mut argv = vec!["sh", script, scratch];
        argv.extend(addresses.iter().map(String::as_str));
        let name = script.rsplit('/').next().unwrap_or(script);
        Transcript::default().with(name, &self.client.spawn("clients", &argv).succeed_within(PATIENCE))
    }

    /// Everything went out with mTLS, and something did.
    fn assert_secured(&self) {
        let opened = |tls| {
            let labels = [("direction", "outbound"), ("peer", "dst"), ("tls", tls)];
            self.client.metric("tcp_open_total", &labels)
        };
        assert!(opened("true") >= 2.0, "nothing but the probe went out encrypted");
        assert_eq!(opened("false"), 0.0, "connections went out in plaintext");
    }
}

fn services(ports: &[u16]) -> Vec<SocketAddrV4> {
    let first = Ipv4Addr::from(SERVICES).to_bits();
    (first..).zip(ports).map(|(address, port)| SocketAddrV4::new(Ipv4Addr::from_bits(address), *port)).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat").join(name)
}

/// A file of that case.
pub fn script(name: &str, script: &str) -> String {
    folder(name).join(script).display().to_string()
}
