//! What the compatibility tests need beyond a Rust toolchain, and how it comes to this machine: Debian's packages by apt, when
//! root; libraries of other languages by the lock files in `tests/compat/kits`, into a cache outside of the checkout.
//!
//! Nothing here fails a run, and nothing here takes for ever. What cannot be had in time is said to the tests, which skip their
//! cases by name and with the reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cache;
use crate::host;
use crate::workspace::Workspace;

/// Debian packages, with the program (or file) that proves each.
pub(crate) const PACKAGES: [(&str, &str); 29] = [
    ("apache2-bin", "apache2"),
    ("apache2-utils", "ab"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("default-jdk-headless", "javac"),
    ("haproxy", "haproxy"),
    ("kcat", "kcat"),
    ("lighttpd", "lighttpd"),
    ("lighttpd-mod-deflate", "/usr/lib/lighttpd/mod_deflate.so"),
    ("mariadb-client-core", "mariadb"),
    ("mariadb-server-core", "mariadbd"),
    ("maven", "mvn"),
    ("memcached", "memcached"),
    ("nats-server", "nats-server"),
    ("nginx-light", "nginx"),
    ("openssh-client", "scp"),
    ("openssh-server", "sshd"),
    ("openssl", "openssl"),
    ("php-cli", "php"),
    ("php-curl", "/etc/php/8.2/mods-available/curl.ini"),
    ("postgresql", "initdb"),
    ("puma", "puma"),
    ("python3-pip", "pip3"),
    ("rabbitmq-server", "rabbitmqctl"),
    ("redis-server", "redis-server"),
    ("redis-tools", "redis-cli"),
    ("ruby", "ruby"),
    ("ruby-webrick", "/usr/share/doc/ruby-webrick/copyright"),
    ("wget", "wget"),
];
/// Where Debian keeps programs that are not in everybody's path.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/lib/rabbitmq/bin", "/usr/lib/postgresql/*/bin"];
const SOURCES: &str = "tests/compat/kits";
/// How long a kit may take to make, as `timeout` reads it: those of Go take some minutes with nothing downloaded yet.
const LIMIT: &str = "12m";

/// Libraries or programs made from the sources and lock files of one folder.
pub(crate) struct Kit {
    pub(crate) name: &'static str,
    /// Says its version, which is part of the key.
    pub(crate) tool: [&'static str; 2],
    pub(crate) make: fn(source: &Path, kit: &Path) -> Command,
}

const KITS: [Kit; 6] = [
    Kit { name: "go", tool: ["go", "version"], make: go },
    Kit { name: "helm", tool: ["go", "version"], make: go },
    Kit { name: "java", tool: ["javac", "-version"], make: java },
    Kit { name: "maven", tool: ["mvn", "--version"], make: maven },
    Kit { name: "node", tool: ["npm", "--version"], make: node },
    Kit { name: "python", tool: ["python3", "--version"], make: python },
];

/// Every kit, as the environment in which the tests find it or read why it is not there; and the same for people.
pub(crate) fn prepare(workspace: &Workspace) -> (Vec<(String, String)>, String) {
    let mut environment = vec![("PATH".to_owned(), path())];
    let mut said = Vec::new();
    let prepare = |kit: &Kit| kit.prepare(&workspace.root.join(SOURCES).join(kit.name));
    // at once: they wait for different registries
    let prepared = std::thread::scope(|scope| {
        let threads = KITS.each_ref().map(|kit| scope.spawn(move || prepare(kit)));
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err("its preparation panicked".to_owned())))
    });
    for (kit, prepared) in KITS.iter().zip(prepared) {
        let variable = format!("MINIMESH_KIT_{}", kit.name.to_uppercase());
        match prepared {
            Ok(path) => {
                said.push(format!("{}: {}", kit.name, path.display()));
                environment.push((variable, path.display().to_string()));
            }
            Err(why) => {
                said.push(format!("{}: missing: {why}", kit.name));
                environment.push((format!("{variable}_MISSING"), format!("no {} kit: {why}", kit.name)));
            }
        }
    }
    (environment, said.join("\n"))
}

/// The path in which programs are looked for.
pub(crate) fn path() -> String {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![own.to_string_lossy().into_owned()];
    for folder in FOLDERS {
        match folder.split_once("/*/") {
            None => folders.push(folder.to_owned()),
            Some((above, below)) => {
                let versions = std::fs::read_dir(above).into_iter().flatten().flatten();
                folders.extend(versions.map(|version| version.path().join(below).display().to_string()));
            }
        }
    }
    folders.join(":")
}

impl Kit {
    /// Its folder in the cache, made now if it is not there.
    pub(crate) fn prepare(&self, source: &Path) -> Result<PathBuf, String> {
        let [tool, argument] = self.tool;
        let version = Command::new(tool).arg(argument).stdin(Stdio::null()).output();
        let version = version.map_err(|error| format!("{tool}: {error}"))?;
        let key = cache::key(source, &version.stdout).map_err(|error| format!("{}: {error}", source.display()))?;
        let folder = cache::folder("minimesh-compat").join(format!("{}-{key:016x}", self.name));
        cache::made(folder, |draft| host::passes_within(LIMIT, &(self.make)(source, draft)))
    }
}

fn go(source: &Path, kit: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(source).args(["build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-o"]).arg(kit);
    command.args(["./...", "tool"]);
    command
}

fn java(source: &Path, kit: &Path) -> Command {
    let mut command = Command::new("sh");
    command.current_dir(source).args(["-c", "exec javac -d \"$0\" *.java"]).arg(kit);
    command
}

/// `jars.sha256` is the lock: those jars and no others, byte for byte. Made anew, after a change of the pom, by
/// `LC_ALL=C sha256sum *` in a folder into which the first command below has put them.
fn maven(source: &Path, kit: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = "mvn --quiet --batch-mode --strict-checksums --update-snapshots dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=\"$0/jars\" \
        && lock=\"$PWD/jars.sha256\" && (cd \"$0/jars\" && LC_ALL=C sha256sum * | diff \"$lock\" - >&2) \
        && exec javac -d \"$0\" -cp \"$0/jars/*\" *.java";
    command.current_dir(source).args(["-c", script]).arg(kit);
    command
}

fn node(source: &Path, kit: &Path) -> Command {
    let mut command = Command::new("sh");
    let script =
        "cp package.json package-lock.json \"$0\" && cd \"$0\" && exec npm ci --ignore-scripts --no-audit --no-fund";
    command.current_dir(source).args(["-c", script]).arg(kit);
    command
}

pub(crate) fn python(source: &Path, kit: &Path) -> Command {
    let mut command = Command::new("python3");
    command.current_dir(source).args(["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]);
    command.args(["--only-binary", ":all:", "--no-compile", "--requirement", "requirements.lock", "--target"]).arg(kit);
    command
}
