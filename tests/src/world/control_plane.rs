//! The control plane: a pod without sidecar.

use std::net::{IpAddr, SocketAddr};

use super::{Pod, Process, TRUST_DOMAIN, World, minimesh};
use crate::apps::Request;
use crate::protocol::Families;
use crate::wait;

/// A control plane that can be killed and started again.
pub struct ControlPlane<'w> {
    world: &'w World,
    pod: Pod<'w>,
    arguments: Vec<String>,
    process: Option<Process<'w>>,
}

/// Where it listens.
const PORT: u16 = 8086;
const ADMIN: u16 = 8087;

impl<'w> ControlPlane<'w> {
    pub(super) fn start(world: &'w World, arguments: &[&str]) -> ControlPlane<'w> {
        let pod = world.pod("control-plane").families(families()).unmeshed().start();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut control_plane = ControlPlane { world, pod, arguments, process: None };
        control_plane.start_again();
        control_plane
    }

    /// Starts it, if it is not running.
    pub fn start_again(&mut self) {
        let path = |name: &str| self.world.path(name).display().to_string();
        let (program, manifests, state, authority) =
            (minimesh().display().to_string(), path("manifests"), path("state"), path("ca"));
        let listen = if families().v6() { "[::]:8086" } else { "0.0.0.0:8086" };
        let mut argv = vec![&*program, "control-plane", "--manifests", &manifests, "--manifests", &state];
        argv.extend(["--ca-dir", &authority, "--listen", listen, "--trust-domain", TRUST_DOMAIN]);
        argv.extend(self.arguments.iter().map(String::as_str));
        let process = self.pod.spawn("control-plane", &argv);
        let ready = Request::get(SocketAddr::from((self.pod.address(), ADMIN)), "/ready");
        wait::eventually("the control plane is ready", || {
            process.expect_running();
            (self.pod.request(&ready).status == 200).then_some(())
        });
        self.process = Some(process);
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// The pod that it is in.
    pub fn pod(&self) -> &Pod<'w> {
        &self.pod
    }

    /// The running process.
    pub fn process(&self) -> &Process<'w> {
        self.process.as_ref().expect("it was started")
    }

    /// What a sidecar needs to know to find it: `--control-plane` and the identity to expect there.
    pub(super) fn arguments_for_proxies(&self, families: Families) -> [String; 4] {
        let address: IpAddr = if families.v4() { self.pod.address().into() } else { self.pod.address6().into() };
        [
            "--control-plane".into(),
            SocketAddr::from((address, PORT)).to_string(),
            "--control-plane-identity".into(),
            format!("spiffe://{TRUST_DOMAIN}/ns/minimesh/sa/minimesh-control-plane"),
        ]
    }
}

/// Reached by either family where the kernel has both.
fn families() -> Families {
    if std::path::Path::new("/proc/net/if_inet6").exists() { Families::Dual } else { Families::V4 }
}

/// `spiffe://…` of an account.
pub(super) fn identity(namespace: &str, account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}")
}
