//! What the compatibility tests need beyond a Rust toolchain, and how it comes to this machine: Debian's packages by apt, when
//! root; libraries of other languages by the lock files in `tests/compat/kits`, into a cache outside of the checkout.
//!
//! Nothing here fails a run, and nothing here takes for ever. What cannot be had in time is said to the tests, which skip their
//! cases by name and with the reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::host;
use crate::workspace::{self, Workspace};

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
/// How long a kit may take to make, as `timeout` reads it: Helm takes two minutes on two cores with nothing downloaded yet.
const LIMIT: &str = "8m";

/// Libraries or programs made from the sources and lock files of one folder.
struct Kit {
    name: &'static str,
    /// Says its version, which is part of the key.
    tool: [&'static str; 2],
    make: fn(source: &Path, kit: &Path) -> Command,
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
    fn prepare(&self, source: &Path) -> Result<PathBuf, String> {
        let [tool, argument] = self.tool;
        let version = Command::new(tool).arg(argument).stdin(Stdio::null()).output();
        let version = version.map_err(|error| format!("{tool}: {error}"))?;
        let key = key(source, &version.stdout).map_err(|error| format!("{}: {error}", source.display()))?;
        let folder = cache().join(format!("{}-{key:016x}", self.name));
        if folder.is_dir() {
            return Ok(folder);
        }
        // made beside its place and moved there whole: a kit that is there is complete
        let draft = folder.with_extension(format!("draft-{}", std::process::id()));
        // of a process of that number that was ended in the middle
        let _ = std::fs::remove_dir_all(&draft);
        std::fs::create_dir_all(&draft).map_err(|error| format!("{}: {error}", draft.display()))?;
        let made = workspace::passes(&mut host::within(LIMIT, &(self.make)(source, &draft)));
        let moved = made.and_then(|()| match std::fs::rename(&draft, &folder) {
            Err(error) if !folder.is_dir() => Err(format!("{}: {error}", folder.display())),
            _ => Ok(folder),
        });
        // gone if it was moved; half made otherwise
        let _ = std::fs::remove_dir_all(&draft);
        moved
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

fn python(source: &Path, kit: &Path) -> Command {
    let mut command = Command::new("python3");
    command.current_dir(source).args(["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]);
    command.args(["--only-binary", ":all:", "--no-compile", "--requirement", "requirements.lock", "--target"]).arg(kit);
    command
}

/// Of everything in the folder, and of the tool's version.
fn key(source: &Path, version: &[u8]) -> std::io::Result<u64> {
    let mut files = Vec::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut key = fnv(FNV_START, version);
    for file in files {
        key = fnv(key, file.strip_prefix(source).unwrap_or(&file).as_os_str().as_encoded_bytes());
        key = fnv(fnv(key, &[0]), &std::fs::read(&file)?);
    }
    Ok(key)
}

/// FNV-1a: the same in every version of this tool, which the standard library's hasher does not promise.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

fn cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("minimesh-compat")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_that_of_fnv_1a() {
        assert_eq!(fnv(FNV_START, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(FNV_START, b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
