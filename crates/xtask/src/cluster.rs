//! `cargo xtask cluster`: builds what the test cluster is made of, into a cache outside of the checkout, and calls
//! `tests/cluster/cluster`, which starts and ends it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::image::debian::Installed;
use crate::image::{Wanted, oci, tar};
use crate::workspace::{self, Workspace};
use crate::{cache, compat, host, image};

/// Debian packages of the nodes, with the program that proves each.
const PACKAGES: [(&str, &str); 11] = [
    ("conntrack", "conntrack"),
    ("containerd", "containerd"),
    ("containernetworking-plugins", "host-local"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("gcc", "gcc"),
    ("iproute2", "ip"),
    ("iptables", "iptables"),
    ("openssl", "openssl"),
    ("runc", "runc"),
    ("socat", "socat"),
];
/// Where Debian keeps the network plugins.
const PLUGINS: &str = "/usr/lib/cni";
const FOLDER: &str = "tests/cluster";

/// Name a cluster, and the kit that it is started with, to the script.
pub(crate) const NAME: &str = "MINIMESH_CLUSTER";
pub(crate) const KIT: &str = "MINIMESH_CLUSTER_KIT";
/// The cluster of `cargo xtask test`: nobody's own.
pub(crate) const OF_TESTS: &str = "test";
/// Tells tests that somebody waits for all of them.
pub(crate) const BRIEFLY: &str = "MINIMESH_CLUSTER_BRIEFLY";
/// Names images to the tests that could not be made here.
pub(crate) const LACKING: &str = "MINIMESH_CLUSTER_LACKS";

/// One folder of the kit.
struct Component {
    name: &'static str,
    /// Below `tests/cluster`.
    source: &'static str,
    /// Says its version, which is part of the key.
    tool: [&'static str; 2],
    make: fn(source: &Path, kit: &Path, end: Option<Instant>) -> Result<(), String>,
}

const COMPONENTS: [Component; 4] = [
    Component { name: "coredns", source: "coredns", tool: ["go", "version"], make: coredns },
    Component { name: "etcd", source: "etcd", tool: ["go", "version"], make: etcd },
    Component { name: "kubernetes", source: "kubernetes", tool: ["go", "version"], make: kubernetes },
    Component { name: "pause", source: "pause.c", tool: ["gcc", "--version"], make: pause },
];

/// Servers of Debian's that tests put into pods: an image's name, and packages with the program that proves each.
const SERVERS: [(&str, &[(&str, &str)]); 4] = [
    ("minimesh-test/mariadb:1", &[("mariadb-server-core", "mariadbd"), ("mariadb-client-core", "mariadb")]),
    ("minimesh-test/prometheus:1", &[("prometheus", "prometheus")]),
    ("minimesh-test/rabbitmq:1", &[("rabbitmq-server", "rabbitmqctl")]),
    ("minimesh-test/redis:1", &[("redis-server", "redis-server"), ("redis-tools", "redis-cli")]),
];

/// What no package names because every Debian has it: a shell and its tools.
const TOOLS: [&str; 9] = ["bash", "coreutils", "dash", "debianutils", "findutils", "grep", "hostname", "mawk", "sed"];

/// Why no cluster can be had here, if so.
pub(crate) fn possible() -> Result<(), String> {
    if !host::is_root() {
        return Err("a cluster needs root: the kubelet makes cgroups and mounts".to_owned());
    }
    host::namespaces()?;
    let cgroups = Path::new("/sys/fs/cgroup");
    let probe = ["freezer", "."].map(|name| cgroups.join(name)).into_iter().find(|path| path.is_dir());
    let probe = probe.ok_or("there are no cgroups in /sys/fs/cgroup")?.join("minimesh-cluster");
    let existed = probe.is_dir();
    std::fs::create_dir_all(&probe).map_err(|error| format!("no cgroup can be made here: {error}"))?;
    if !existed {
        // only tried
        let _ = std::fs::remove_dir(&probe);
    }
    Ok(())
}

/// Why there is no kit.
pub(crate) enum Missing {
    /// It was to be built, and could not.
    Broken(String),
    /// This machine lacks something.
    Here(String),
}

impl From<String> for Missing {
    fn from(why: String) -> Missing {
        Missing::Broken(why)
    }
}

/// Installs and builds what `up` needs, in that time if one is given; says what was done.
pub(crate) fn prepare(workspace: &Workspace, within: Option<Duration>) -> Result<(PathBuf, String), Missing> {
    let end = within.map(|within| Instant::now() + within);
    let installed = host::install(&PACKAGES, &path());
    let missing = [host::missing(&PACKAGES, &path()), host::missing(&[("Go", "go")], &path())].concat();
    if !missing.is_empty() {
        return Err(Missing::Here(format!("without {} there is no cluster ({installed})", missing.join(", "))));
    }
    let mut made = Vec::new();
    for component in &COMPONENTS {
        let built = component.prepare(&workspace.root.join(FOLDER), end)?;
        made.push((component.name, built));
    }
    let key = cache::key_of_text(&format!("{made:?}"));
    let kit = cache::made(cache::folder("minimesh-cluster").join(format!("kit-{key:016x}")), |draft| {
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, draft.join(name)).map_err(|error| format!("{name}: {error}"))
        };
        for (name, folder) in &made {
            link(folder, name)?;
            let image = folder.join("image.tar");
            if image.is_file() {
                link(&image, &format!("{name}.tar"))?;
            }
        }
        Ok(())
    })?;
    let said = format!("{installed}\nkit: {}", kit.display());
    Ok((kit, said))
}

/// Where the program is that the tests try: the one that the layers before this have built. The shipped one is static.
pub(crate) fn program(workspace: &Workspace) -> PathBuf {
    workspace.target.join("release/minimesh")
}

/// Builds the images that tests put into pods, or only those of the tests that take no minutes. Beside them those of [`SERVERS`] that
/// cannot be had here, each with the reason.
pub(crate) fn images(workspace: &Workspace, briefly: bool) -> Result<(Vec<PathBuf>, String), String> {
    workspace::passes(&mut workspace.cargo(&["build", "--release", "--bin", "minimesh"]))?;
    // the shop's manifests name an image of their own: it is the same program
    let names = vec![format!("minimesh:{}", workspace.version("minimesh-cli")?), SHOP.to_owned()];
    let out = workspace.target.join("image/cluster-tests.tar");
    let wanted = Wanted { program: Some(program(workspace)), names, out: Some(out), ..Wanted::default() };
    let mut images = vec![image::make(workspace, wanted)?];
    if briefly {
        return Ok((images, String::new()));
    }
    let (made, lacking) = servers()?;
    images.extend(made);
    Ok((images, lacking))
}

/// Debian's servers, and why some of them are not there, a line each.
fn servers() -> Result<(Vec<PathBuf>, String), String> {
    let packages: Vec<(&str, &str)> = SERVERS.iter().flat_map(|(_, packages)| packages.iter().copied()).collect();
    println!("{}", host::install(&packages, &compat::path()));
    let installed = Installed::load()?;
    let (mut images, mut lacking) = (Vec::new(), String::new());
    for (name, packages) in &SERVERS {
        let packages: Vec<&str> = packages.iter().map(|(package, _)| *package).chain(TOOLS).collect();
        match installed.image(name, &packages) {
            Ok(image) => images.push(image),
            Err(why) => lacking.push_str(&format!("{name}: {why}\n")),
        }
    }
    Ok((images, lacking))
}

/// `cargo xtask cluster ARGUMENTS`: the exit status is the script's.
pub(crate) fn command(workspace: &Workspace, arguments: &[&str]) -> Result<u8, String> {
    let mut script = match arguments {
        ["images" | "servers"] => script(workspace, &["load"]),
        _ => script(workspace, arguments),
    };
    match arguments {
        ["build"] => return kit(workspace).map(|_| 0),
        ["images" | "servers"] => {
            let (made, lacking) = if arguments == ["images"] { images(workspace, false)? } else { servers()? };
            print!("{lacking}");
            script.args(made);
        }
        ["up", ..] => {
            possible()?;
            script.env(KIT, kit(workspace)?);
        }
        _ => {}
    }
    let status = script.status().map_err(|error| format!("{script:?}: {error}"))?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

fn kit(workspace: &Workspace) -> Result<PathBuf, String> {
    match prepare(workspace, None) {
        Ok((kit, said)) => {
            println!("{said}");
            Ok(kit)
        }
        Err(Missing::Broken(why) | Missing::Here(why)) => Err(why),
    }
}

/// The script, with programs where Debian keeps them.
pub(crate) fn script(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(workspace.root.join(FOLDER).join("cluster"));
    command.args(arguments).env("PATH", path());
    command
}

/// With the folders in which Debian keeps what a node runs.
pub(crate) fn path() -> String {
    format!("{}:{PLUGINS}", compat::path())
}

impl Component {
    /// Its sources, and its folder in the cache.
    fn place(&self, folder: &Path) -> Result<(PathBuf, PathBuf), String> {
        let source = folder.join(self.source);
        let [tool, argument] = self.tool;
        let version = Command::new(tool).arg(argument).stdin(Stdio::null()).output();
        let version = version.map_err(|error| format!("{tool}: {error}"))?;
        let key = cache::key(&source, &[&version.stdout, FORMAT].concat());
        let key = key.map_err(|error| format!("{}: {error}", source.display()))?;
        let place = cache::folder("minimesh-cluster").join(format!("{}-{key:016x}", self.name));
        Ok((source, place))
    }

    /// Its folder in the cache, made now if it is not there.
    fn prepare(&self, folder: &Path, end: Option<Instant>) -> Result<PathBuf, Missing> {
        let (source, place) = self.place(folder)?;
        if !place.is_dir() {
            println!("{} is built once, into {}", self.name, place.display());
            if self.tool[0] == "go" {
                sources(&source, end).map_err(|why| Missing::Here(format!("no sources of {}: {why}", self.name)))?;
            }
        }
        let made = cache::made(place, |draft| (self.make)(&source, draft, end));
        let late = end.is_some_and(|end| end <= Instant::now());
        made.map_err(|why| if late { Missing::Here(LATE.to_owned()) } else { Missing::Broken(why) })
    }
}

/// Names under which the one binary is called.
const ROLES: [&str; 7] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "service-addresses",
];
/// That of the module in tests/cluster/kubernetes/go.mod.
const VERSION: &str = "v1.34.4";

fn kubernetes(source: &Path, kit: &Path, end: Option<Instant>) -> Result<(), String> {
    let variable = "k8s.io/component-base/version";
    let flags = format!("-s -w -X {variable}.gitVersion={VERSION} -X {variable}.gitMajor=1 -X {variable}.gitMinor=34");
    go(source, &flags, kit.join("kubernetes"), end)?;
    ROLES.iter().try_for_each(|role| {
        std::os::unix::fs::symlink("kubernetes", kit.join(role)).map_err(|error| format!("{role}: {error}"))
    })
}

fn etcd(source: &Path, kit: &Path, end: Option<Instant>) -> Result<(), String> {
    go(source, "-s -w", kit.join("etcd"), end)
}

fn coredns(source: &Path, kit: &Path, end: Option<Instant>) -> Result<(), String> {
    go(source, "-s -w", kit.join("coredns"), end)?;
    packed(kit, "coredns")
}

fn pause(source: &Path, kit: &Path, _: Option<Instant>) -> Result<(), String> {
    let mut compiler = Command::new("gcc");
    compiler.args(["-static", "-O2", "-s", "-o"]).arg(kit.join("pause")).arg(source);
    workspace::passes(&mut compiler)?;
    packed(kit, "pause")
}

/// Has Go download what a program is made of.
fn sources(source: &Path, end: Option<Instant>) -> Result<(), String> {
    let mut list = Command::new("go");
    list.args(["list", "-mod=readonly", "-deps", "."]).current_dir(source);
    workspace::passes(until(end, &list).stdout(Stdio::null()))
}

/// Quieter than what people wait for.
fn go(source: &Path, flags: &str, program: PathBuf, end: Option<Instant>) -> Result<(), String> {
    let mut build = Command::new("nice");
    build.args(["-n", "10", "go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", flags]);
    // all three are static then, and share what they have in common
    build.arg("-o").arg(program).arg(".").current_dir(source).env("CGO_ENABLED", "0");
    workspace::passes(&mut until(end, &build))
}

/// The same command, ended then; what Go has done by then it keeps.
fn until(end: Option<Instant>, command: &Command) -> Command {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()).as_secs().max(1));
    // 0 is no limit
    host::within(&left.unwrap_or(0).to_string(), command)
}

/// A static program of the kit as an image of its own.
fn packed(kit: &Path, name: &str) -> Result<(), String> {
    let (layer, program) = (kit.join("layer"), kit.join(name));
    let pack = || {
        let mut archive = tar::Archive::new(std::io::BufWriter::new(std::fs::File::create(&layer)?));
        let opened = std::fs::File::open(&program)?;
        archive.file(name, 0o755, opened.metadata()?.len(), opened)?;
        archive.finish()?;
        let (names, entrypoint) = ([format!("test.local/{name}:1")], format!("/{name}"));
        let image = oci::Image {
            names: &names,
            architecture: "amd64",
            entrypoint: &[&entrypoint],
            environment: &[],
            labels: &[],
            user: "0:0",
        };
        oci::write(&image, &layer, &kit.join("image.tar"))?;
        std::fs::remove_file(&layer)
    };
    pack().map_err(|error: std::io::Error| format!("{name}: {error}"))
}

/// That of examples/sock-shop/manifests.
const SHOP: &str = "minimesh/sock-shop:0.1.0";
const LATE: &str = "Kubernetes was not compiled in the time that a run of all tests gives it; `cargo xtask cluster build` \
    goes on where that ended";
/// Changes when the same sources make another kit.
const FORMAT: &[u8] = b"1";
