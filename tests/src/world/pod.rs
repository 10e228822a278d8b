//! A pod: a network namespace with an address, an object in the folder of live state and, if meshed, a sidecar.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use minimesh_balance::Rng;

use super::manifests::PodObject;
use super::{
    Collector, ControlPlane, HttpServer, Load, LongStream, NAMESPACE, Process, World, control_plane, minimesh, ready,
};
use crate::apps::{
    Call, CallResult, Carrier, Exchange, ExchangeResult, Flood, Hoard, LoadPlan, Request, Response, Rogue, RogueResult,
};
use crate::protocol::{Families, Reply};
use crate::stage::SELF;
use crate::{body, protocol, wait};

/// A pod that is being described.
pub struct PodBuilder<'w> {
    world: &'w World,
    namespace: String,
    name: String,
    account: String,
    workload: String,
    annotations: Vec<(String, String)>,
    families: Families,
    proxy: Vec<String>,
    descriptors: Option<u32>,
    proxy_stdout: Option<PathBuf>,
}

/// A pod that runs.
pub struct Pod<'w> {
    world: &'w World,
    namespace: String,
    name: String,
    account: Cell<String>,
    workload: String,
    address: Ipv4Addr,
    families: Families,
    annotations: Vec<(String, String)>,
    meshed: bool,
    proxy: Option<Process<'w>>,
}

/// SO_MARK of the proxies' own traffic: all processes of a user namespace have one UID.
const MARK: &str = "2102";
const ADMIN: u16 = 4191;

impl<'w> PodBuilder<'w> {
    pub(super) fn new(world: &'w World, name: &str) -> PodBuilder<'w> {
        let name = name.to_owned();
        let (account, workload) = (name.clone(), name.clone());
        PodBuilder {
            world,
            namespace: NAMESPACE.to_owned(),
            name,
            account,
            workload,
            annotations: Vec::new(),
            families: Families::V4,
            proxy: Vec::new(),
            descriptors: None,
            proxy_stdout: None,
        }
    }

    /// Of this workload, under its service account; both are named like the pod otherwise.
    pub fn workload(mut self, name: &str) -> PodBuilder<'w> {
        (self.workload, self.account) = (name.to_owned(), name.to_owned());
        self
    }

    /// In another namespace. Its name must be no other pod's there either.
    pub fn namespace(mut self, name: &str) -> PodBuilder<'w> {
        self.namespace = name.to_owned();
        self
    }

    /// With an annotation.
    pub fn annotation(mut self, name: &str, value: &str) -> PodBuilder<'w> {
        self.annotations.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these addresses; IPv4 alone otherwise.
    pub fn families(mut self, families: Families) -> PodBuilder<'w> {
        self.families = families;
        self
    }

    /// With one more argument and value for its sidecar.
    pub fn proxy_argument(mut self, name: &str, value: &str) -> PodBuilder<'w> {
        self.proxy.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// With a sidecar that may have so many descriptors open.
    pub fn descriptors(mut self, limit: u32) -> PodBuilder<'w> {
        self.descriptors = Some(limit);
        self
    }

    /// With one more argument for its sidecar that has no value.
    pub fn proxy_flag(mut self, name: &str) -> PodBuilder<'w> {
        self.proxy.push(name.to_owned());
        self
    }

    /// With a sidecar whose stdout is this file.
    pub fn proxy_stdout(mut self, path: PathBuf) -> PodBuilder<'w> {
        self.proxy_stdout = Some(path);
        self
    }

    /// A pod without sidecar.
    pub fn unmeshed(self) -> UnmeshedBuilder<'w> {
        UnmeshedBuilder(self)
    }

    /// A pod with a sidecar that is ready.
    pub fn start(mut self, control_plane: &ControlPlane<'w>) -> Pod<'w> {
        let token = format!("{:016x}{:016x}", self.world.random(), self.world.random());
        let file = self.world.path(&format!("tokens/{}", self.name));
        std::fs::write(&file, &token).expect("the world's folder can be written");
        let hash = ("minimesh.io/token-sha256".to_owned(), body::sha256(token.as_bytes()));
        self.annotations.push(hash);
        let (arguments, stdout) = (std::mem::take(&mut self.proxy), self.proxy_stdout.take());
        let limited = self.descriptors.map(|limit| format!("ulimit -n {limit}; exec \"$@\""));
        let mut pod = self.place(true);

        let program = minimesh().display().to_string();
        pod.spawn("redirect", &[&program, "redirect", "--exempt-mark", MARK]).succeed();
        let bundle = pod.world.authority().join("trust-bundle.pem").display().to_string();
        let (token, control_plane) = (file.display().to_string(), control_plane.arguments_for_proxies(pod.families));
        let mut argv: Vec<&str> = limited.iter().flat_map(|limit| ["sh", "-c", limit, "sh"]).collect();
        argv.extend([&*program, "proxy", "--trust-bundle", &bundle, "--token-file", &token, "--mark", MARK]);
        argv.extend(["--pod-namespace", &pod.namespace, "--pod-name", &pod.name]);
        argv.extend(control_plane.iter().chain(&arguments).map(String::as_str));
        let proxy = pod.world.spawn(Some(&pod.name), "proxy", &argv, stdout);
        wait::eventually(&format!("the sidecar of {} is ready", pod.name), || {
            proxy.expect_running();
            (pod.admin("/ready").status == 200).then_some(())
        });
        pod.proxy = Some(proxy);
        pod
    }

    fn place(self, meshed: bool) -> Pod<'w> {
        let PodBuilder { world, namespace, name, account, workload, annotations, families, .. } = self;
        let address = world.next_address();
        match world.node.call(&protocol::Request::AddPod { name: name.clone(), address, families }) {
            Reply::Done => {}
            other => panic!("no pod {name}: {other:?}"),
        }
        let account = Cell::new(account);
        let pod =
            Pod { world, namespace, name, account, workload, address, families, annotations, meshed, proxy: None };
        pod.publish(false);
        pod
    }
}

/// A pod that gets no sidecar.
pub struct UnmeshedBuilder<'w>(PodBuilder<'w>);

impl<'w> UnmeshedBuilder<'w> {
    /// Starts it.
    pub fn start(self) -> Pod<'w> {
        self.0.place(false)
    }
}

impl<'w> Pod<'w> {
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its address of IPv6.
    pub fn address6(&self) -> Ipv6Addr {
        assert!(self.families.v6(), "{} has none", self.name);
        protocol::address6(self.address)
    }

    /// Which addresses it has.
    pub fn families(&self) -> Families {
        self.families
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A port of it.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// `spiffe://…` of its service account.
    pub fn identity(&self) -> String {
        control_plane::identity(&self.namespace, &self.account_name())
    }

    /// Its sidecar.
    pub fn proxy(&self) -> &Process<'w> {
        self.proxy.as_ref().expect("the pod is meshed")
    }

    /// What the cluster believes about it, from now on: another service account.
    pub fn claim_account(&self, account: &str) {
        self.account.set(account.to_owned());
        self.publish(false);
    }

    /// Marks it for deletion, as the API server does before anything of it ends.
    pub fn mark_deleted(&self) {
        self.publish(true);
    }

    /// Takes its object away.
    pub fn unpublish(&self) {
        self.world.delete(&self.object(false));
    }

    /// Takes it off the network, without anybody being told.
    pub fn cut_off(&self) {
        self.attach(false);
    }

    /// Puts it back.
    pub fn reconnect(&self) {
        self.attach(true);
    }

    fn attach(&self, attached: bool) {
        match self.world.node.call(&protocol::Request::Attach { pod: self.name.clone(), attached }) {
            Reply::Done => {}
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// Has a program of it open many connections and hold them, as many as there is room for; they are open when this returns.
    pub fn hoard(&self, hoard: &Hoard) -> Process<'w> {
        let process = self.app("hoard", &["--hoard", &json(hoard)]);
        ready(&process);
        process
    }

    /// Starts a program in it.
    pub fn spawn(&self, what: &str, argv: &[&str]) -> Process<'w> {
        self.world.spawn(Some(&self.name), what, argv, None)
    }

    /// Starts one of the stories' applications in it.
    pub fn app(&self, name: &str, arguments: &[&str]) -> Process<'w> {
        self.spawn(name, &[&[SELF, "app", name], arguments].concat())
    }

    /// Starts an HTTP server that is named like the pod.
    pub fn http_server(&self, port: u16) -> HttpServer<'w> {
        self.http_server_that_leaves("politely", port)
    }

    /// Starts an HTTP server that ends on SIGTERM as it is told: `politely`, `when-silent` or `at-once`.
    pub fn http_server_that_leaves(&self, how: &str, port: u16) -> HttpServer<'w> {
        let log = self.world.path(&format!("logs/{}-{port}.ids", self.name));
        let (port, path) = (port.to_string(), log.display().to_string());
        let arguments = ["--port", &port, "--name", &self.name, "--log", &path, "--leave", how];
        let process = self.app("http-server", &arguments);
        ready(&process);
        HttpServer { process, log }
    }

    /// Starts a server of bytes.
    pub fn tcp_server(&self, behaviour: &str, port: u16) -> Process<'w> {
        let process = self.app("tcp-server", &["--behaviour", behaviour, "--port", &port.to_string()]);
        ready(&process);
        process
    }

    /// Starts a trace collector.
    pub fn collector(&self, behaviour: &str, port: u16) -> Collector<'w> {
        let process = self.app("collector", &["--behaviour", behaviour, "--port", &port.to_string()]);
        ready(&process);
        Collector { process }
    }

    /// Sends one request from it.
    pub fn request(&self, request: &Request) -> Response {
        self.said(&self.app("http-request", &["--request", &json(request)]))
    }

    /// Makes one gRPC call from it.
    pub fn call(&self, call: &Call) -> CallResult {
        self.said(&self.app("grpc-call", &["--call", &json(call)]))
    }

    /// Has one conversation in bytes from it.
    pub fn exchange(&self, exchange: &Exchange) -> ExchangeResult {
        self.said(&self.app("tcp-client", &["--exchange", &json(exchange)]))
    }

    /// Attacks from it.
    pub fn attack(&self, rogue: &Rogue) -> RogueResult {
        self.said(&self.app("rogue", &["--rogue", &json(rogue)]))
    }

    /// Begins a flood from it; it ends when the process is killed.
    pub fn flood(&self, address: SocketAddr, flood: Flood) -> Process<'w> {
        let process = self.app("flood", &["--address", &address.to_string(), "--flood", &json(&flood)]);
        ready(&process);
        process
    }

    /// Begins to send many requests from it.
    pub fn load(&self, plan: &LoadPlan) -> Load<'w> {
        let log = self.world.path(&format!("logs/{}-{}.sent", self.name, plan.first_id));
        let process = self.app("http-load", &["--plan", &json(plan), "--log", &log.display().to_string()]);
        Load { process, log }
    }

    /// Whether something listens on a port of each of its addresses, as seen from the pod itself.
    pub fn listens(&self, port: u16) -> bool {
        let listens = |address: &IpAddr| {
            let address = SocketAddr::from((*address, port)).to_string();
            self.app("dial", &["--address", &address]).succeed().trim() == "true"
        };
        self.addresses().iter().all(listens)
    }

    /// A folder for the files of its programs; of all pods of the world the same.
    pub fn scratch(&self) -> PathBuf {
        let path = self.world.path("scratch");
        std::fs::create_dir_all(&path).expect("the world's folder can be written");
        path
    }

    /// Gives it a Service's address, without any mesh.
    pub fn add_address(&self, address: IpAddr) {
        let request = protocol::Request::AddAddress { pod: self.name.clone(), address };
        match self.world.node.call(&request) {
            Reply::Done => {}
            other => panic!("no address {address} for {}: {other:?}", self.name),
        }
    }

    /// Begins a conversation that lasts, with a server that echoes; it is under way when this returns.
    pub fn long_stream(&self, target: SocketAddr, carrier: Carrier) -> LongStream<'w> {
        let process = self.app("long-stream", &["--target", &target.to_string(), "--carrier", &json(&carrier)]);
        ready(&process);
        LongStream { process }
    }

    /// Asks its sidecar's admin port.
    pub fn admin(&self, path: &str) -> Response {
        self.request(&Request::get(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN)), path))
    }

    /// Sum of the sidecar's series of that name that carry all these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let response = self.admin("/metrics");
        assert_eq!(response.status, 200, "{}", response.body);
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let series = response.body.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && wanted.iter().all(|label| line.contains(&**label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// How often the sidecar's metrics name that error, in whichever of them.
    pub fn errors(&self, word: &str) -> f64 {
        let response = self.admin("/metrics");
        let label = format!("error=\"{word}\"");
        let series = response.body.lines().filter(|line| !line.starts_with('#') && line.contains(&label));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn said<T: serde::de::DeserializeOwned>(&self, process: &Process<'w>) -> T {
        let status = process.wait();
        let output = process.output();
        serde_json::from_str(&output).unwrap_or_else(|error| {
            panic!("{} in {}: {status:?}, {error}: {output}{}", process.what(), self.name, process.log())
        })
    }

    fn publish(&self, deleted: bool) {
        self.world.apply(&self.object(deleted));
    }

    fn object(&self, deleted: bool) -> serde_json::Value {
        let pod = PodObject {
            namespace: &self.namespace,
            name: &self.name,
            account: &self.account_name(),
            workload: &self.workload,
            addresses: &self.addresses(),
            meshed: self.meshed,
            annotations: &self.annotations,
            deleted,
        };
        pod.object()
    }

    /// All of them, as the cluster knows them.
    fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.families.v4().then_some(IpAddr::V4(self.address));
        v4.into_iter().chain(self.families.v6().then(|| IpAddr::V6(self.address6()))).collect()
    }

    fn account_name(&self) -> String {
        let account = self.account.take();
        self.account.set(account.clone());
        account
    }
}

impl World {
    /// Enough for tokens of a test.
    fn random(&self) -> u64 {
        let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
        Rng::new(seed ^ u64::from(std::process::id()) << 32).next_u64()
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("it can be written")
}
