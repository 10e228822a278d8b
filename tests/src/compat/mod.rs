//! Real programs that nobody here wrote, run twice: once with nothing between client and server, once through a pair of proxies.
//! What the programs say must be the same.
//!
//! A case is a folder of `tests/compat` with two scripts, so that what is run can be read, and tried, without this crate:
//!
//! ```text
//! serve.sh FOLDER ADDRESS…     becomes the servers, in the server's pod
//! ask.sh FOLDER ADDRESS…       is the clients, in the client's pod; one IP:PORT for each port of the case
//! differs.sh FOLDER ADDRESS…   the same, where a proxy makes a difference that is wanted; what is said must then be
//!                              differs.direct and differs.meshed
//! ```
//!
//! A case of both families is asked twice, at the addresses of either, with the same servers.
//!
//! Both runs happen at the same addresses and in the same folder: in the run without mesh the server's pod has the Services'
//! addresses itself. A program or a library that is not on this machine makes its case *skipped*, by name and with the reason
//! ([`Need`]); `cargo xtask test` counts that. What each case shows stands in `docs/compatibility.md`.

mod need;
mod transcript;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apps::Exchange;
use crate::protocol::Families;
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
    /// For each family of the case, in the order of its ports.
    services: Vec<Vec<SocketAddr>>,
    between: Between,
}

/// What one run of a case said.
struct Said {
    asked: Transcript,
    differs: Option<Transcript>,
}

/// For servers that take long to start, such as a broker on a virtual machine of its own, and for clients with many cases. None
/// takes so long, not on a machine either that does ten other things.
const PATIENCE: Duration = Duration::from_secs(240);
/// A Service that only says when all others are known: applied last.
const PROBE: u16 = 7;
/// First of the Services' addresses.
const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 10);
/// The address of that one.
const PROBED: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 9);
/// Of pods and Services.
const NETWORKS: [&str; 2] = ["--cluster-networks", "10.42.0.0/16,10.43.0.0/16,fd00:42::/64,fd00:43::/112"];

/// Runs the case of that name twice and compares what it says. `ports` are those that its servers listen on, at addresses of
/// `families`.
///
/// Skipped, with a line that says so, if something of `needs` is not there.
pub fn compare(name: &str, needs: &[Need], ports: &[u16], families: Families) {
    if skip(name, needs) {
        return;
    }
    let families = if families == Families::Dual && skip(&format!("{name} over IPv6"), &[Need::Ipv6]) {
        Families::V4
    } else {
        families
    };
    let world_name = format!("compat-{name}");
    let services = services(ports);
    let run = |between| {
        let world = World::start(&world_name);
        match between {
            Between::Nothing => Stage::direct(&world, &services, families).run(name),
            Between::Proxies => {
                let control_plane = world.control_plane(&NETWORKS);
                Stage::meshed(&world, &control_plane, &services, families).run(name)
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
    fn direct(world: &'w World, services: &[Service<'_>], families: Families) -> Stage<'w> {
        // has the address that the control plane has in the other run
        world.pod("nobody").unmeshed().start();
        let [server, client] = ["server", "client"].map(|name| world.pod(name).families(families).unmeshed().start());
        for address in services.iter().flat_map(|service| service.addresses(families)) {
            server.add_address(address);
        }
        Stage { client, server, services: by_family(services, families), between: Between::Nothing }
    }

    fn meshed(
        world: &'w World,
        control_plane: &ControlPlane<'w>,
        services: &[Service<'_>],
        families: Families,
    ) -> Stage<'w> {
        let server = world.pod("server").families(families).start(control_plane);
        let _echo = server.tcp_server("echo", PROBE);
        let probe = Service { name: "probe", address: PROBED, port: PROBE, target_port: PROBE, protocol: None };
        for service in services.iter().chain([&probe]) {
            let name = format!("{}-{}", service.name, service.port);
            world.serve(&Service { name: &name, ..*service }, &[&server]);
        }
        let client = world.pod("client").families(families).start(control_plane);
        for address in by_family(&[probe], families).concat() {
            let probe = Exchange { address, wait_for_greeting: false, idle_millis: 0, send: 1, lines_first: 0 };
            wait::eventually("the Services are known", || (client.exchange(&probe).received == 1).then_some(()));
        }
        Stage { client, server, services: by_family(services, families), between: Between::Proxies }
    }

    fn run(&self, name: &str) -> Said {
        let first = &self.services[0];
        let servers = self.server.spawn("servers", &words(&self.command(name, "serve.sh", first)));
        for service in first {
            wait::within(PATIENCE, &format!("{name} listens on {}", service.port()), || {
                servers.expect_running();
                self.server.listens(service.port()).then_some(())
            });
        }
        let mut asked = Transcript::default();
        for services in &self.services {
            let family = if services[0].is_ipv4() { "IPv4" } else { "IPv6" };
            let before = self.secured();
            asked.add(&format!("ask.sh, {family}"), &self.ask(&self.command(name, "ask.sh", services)));
            assert!(self.between == Between::Nothing || self.secured() > before, "nothing was encrypted over {family}");
        }
        let differs = folder(name).join("differs.sh").exists();
        let differs = differs.then(|| self.ask(&self.command(name, "differs.sh", first)));
        self.assert_nothing_in_plaintext();
        Said { asked, differs: differs.map(|said| Transcript::default().with("differs.sh", &said)) }
    }

    fn command(&self, name: &str, file: &str, services: &[SocketAddr]) -> Vec<String> {
        let mut argv = vec!["sh".to_owned(), script(name, file), self.server.scratch().display().to_string()];
        argv.extend(services.iter().map(SocketAddr::to_string));
        argv
    }

    fn ask(&self, command: &[String]) -> String {
        self.client.spawn("clients", &words(command)).succeed_within(PATIENCE)
    }

    /// Connections of the client that went out with mTLS.
    fn secured(&self) -> f64 {
        self.opened("true")
    }

    fn assert_nothing_in_plaintext(&self) {
        assert_eq!(self.opened("false"), 0.0, "connections went out in plaintext");
    }

    fn opened(&self, tls: &str) -> f64 {
        let labels = [("direction", "outbound"), ("peer", "dst"), ("tls", tls)];
        if self.between == Between::Nothing { 0.0 } else { self.client.metric("tcp_open_total", &labels) }
    }
}

/// One Service for each port, each with an address of its own.
fn services(ports: &[u16]) -> Vec<Service<'static>> {
    let service = |(address, &port)| Service {
        name: "port",
        address: Ipv4Addr::from_bits(address),
        port,
        target_port: port,
        protocol: None,
    };
    (SERVICES.to_bits()..).zip(ports).map(service).collect()
}

fn by_family(services: &[Service<'_>], families: Families) -> Vec<Vec<SocketAddr>> {
    let of = |number: usize| {
        let address =
            |service: &Service<'_>| Some(SocketAddr::new(*service.addresses(families).get(number)?, service.port));
        services.iter().filter_map(address).collect::<Vec<_>>()
    };
    [of(0), of(1)].into_iter().filter(|services| !services.is_empty()).collect()
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat").join(name)
}

/// A file of that case.
pub fn script(name: &str, script: &str) -> String {
    folder(name).join(script).display().to_string()
}
