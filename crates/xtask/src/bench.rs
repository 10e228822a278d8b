//! `cargo xtask bench`: minimesh beside its peers. Finds or fetches the peers, compiles, and starts what measures
//! (`benches/peers`), which says what it saw in JSON lines and in a report.
//!
//! HAProxy and nftables come from Debian, when root; Envoy from the registry of Python, by the lock file in `benches/kits/envoy`;
//! linkerd2-proxy is the program that the user has and names. What cannot be had is said to be absent.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::compat::{self, Kit};
use crate::host;
use crate::image;
use crate::image::program::Architecture;
use crate::report::{Outcome, Report};
use crate::workspace::{self, Workspace};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    rounds: usize,
    quick: bool,
    /// Into `benches/`, to be committed.
    keep: bool,
    /// Of what the last run has measured, however it ended; nothing is measured.
    report: bool,
    only: Vec<String>,
    /// Cargo's; that of the image means the image's own program.
    profile: String,
    /// What the user typed.
    command: String,
}

/// Debian packages, with the program that proves each.
const PACKAGES: [(&str, &str); 2] = [("haproxy", "haproxy"), ("nftables", "nft")];
const ENVOY: Kit = Kit { name: "envoy", tool: ["python3", "--version"], make: compat::python };
const ENVOY_SOURCE: &str = "benches/kits/envoy";
/// Names a program of linkerd2-proxy.
const LINKERD2: &str = "LINKERD2_PROXY_BIN";
/// Fewer say nothing about how sure a ratio is.
const ROUNDS: usize = 10;
/// Open files of a proxy that holds a thousand connections, and of who holds them.
const DESCRIPTORS: &str = "ulimit -n 20000 2>/dev/null || ulimit -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\"";

impl Wanted {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Wanted, String> {
        let mut wanted = Wanted {
            rounds: ROUNDS,
            quick: false,
            keep: false,
            report: false,
            only: Vec::new(),
            profile: "release".to_owned(),
            command: [&["cargo", "xtask", "bench"], arguments].concat().join(" "),
        };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            let mut value =
                || arguments.next().map(|value| (*value).to_owned()).ok_or(format!("{argument} needs a value"));
            match argument {
                "--keep" => wanted.keep = true,
                "--only" => wanted.only = value()?.split(',').map(str::to_owned).collect(),
                "--profile" => wanted.profile = value()?,
                "--quick" => wanted.quick = true,
                "--report" => wanted.report = true,
                "--rounds" => {
                    let rounds = value()?;
                    wanted.rounds = rounds.parse().map_err(|_| format!("{rounds:?} is no number of rounds"))?;
                }
                _ => return Err(format!("bench knows no {argument}")),
            }
        }
        Ok(wanted)
    }
}

pub(crate) fn run(workspace: &Workspace, wanted: &Wanted, report: &mut Report) {
    if let Err(why) = host::namespaces() {
        return report.step("bench", || Outcome::skipped(why));
    }
    if wanted.report {
        return report.step("bench: report", || Outcome::of(publish(workspace, wanted)));
    }
    let mut peers = Peers::default();
    report.step("bench: prepare", || prepare(workspace, &mut peers));
    let mut programs = None;
    report.step("bench: build", || {
        let built = Programs::build(workspace, &wanted.profile);
        let outcome = Outcome::preparation(built.as_ref().map(drop).map_err(Clone::clone));
        programs = built.ok();
        outcome
    });
    let Some(programs) = programs else { return };
    report.step("bench: measure", || Outcome::of(measure(workspace, wanted, &peers, &programs)));
}

fn prepare(workspace: &Workspace, peers: &mut Peers) -> Outcome {
    let installed = host::install(&PACKAGES, &compat::path());
    *peers = Peers::find(workspace);
    let lines = peers.all().map(|(name, found)| match found {
        Ok(program) => format!("{name}: {}", program.display()),
        Err(why) => format!("{name}: absent: {why}"),
    });
    let lines: Vec<String> = lines.collect();
    Outcome { note: format!("{installed}\n{}", lines.join("\n")), ..Outcome::preparation(Ok(())) }
}

/// Programs of peers, or why there is none.
struct Peers {
    envoy: Result<PathBuf, String>,
    haproxy: Result<PathBuf, String>,
    linkerd2: Result<PathBuf, String>,
}

impl Default for Peers {
    fn default() -> Peers {
        let nobody = || Err("not looked for".to_owned());
        Peers { envoy: nobody(), haproxy: nobody(), linkerd2: nobody() }
    }
}

impl Peers {
    fn find(workspace: &Workspace) -> Peers {
        let path = compat::path();
        let on_path =
            |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
        let redirect = if host::is_on(&path, "nft") { Ok(()) } else { Err("nftables is not installed".to_owned()) };
        let haproxy = on_path("haproxy").ok_or_else(|| "haproxy is not installed".to_owned());
        let kit = ENVOY.prepare(&workspace.root.join(ENVOY_SOURCE)).map(|folder| folder.join("envoy/_bin/envoy"));
        let envoy = kit.and_then(|program| match program.is_file() {
            true => Ok(program),
            false => Err(format!("{} is not there", program.display())),
        });
        let linkerd2 = named(LINKERD2, std::env::var_os(LINKERD2).as_deref());
        let usable = |found: Result<PathBuf, String>| redirect.clone().and(found);
        Peers { envoy: usable(envoy), haproxy: usable(haproxy), linkerd2: usable(linkerd2) }
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Result<PathBuf, String>)> {
        [("envoy", &self.envoy), ("haproxy", &self.haproxy), ("linkerd2", &self.linkerd2)].into_iter()
    }
}

/// The program that a variable names.
fn named(variable: &str, value: Option<&OsStr>) -> Result<PathBuf, String> {
    let value = value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{variable} names no program"))?;
    // it is started from elsewhere
    let path = std::fs::canonicalize(value).map_err(|error| format!("{variable}: {}: {error}", value.display()))?;
    let file = path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
    if file { Ok(path) } else { Err(format!("{variable}: {} is no program", value.display())) }
}

/// What is compiled for a run.
struct Programs {
    /// That measures. What makes namespaces is beside it.
    peers: PathBuf,
    /// That is measured, and what it is.
    minimesh: (PathBuf, String),
}

impl Programs {
    fn build(workspace: &Workspace, profile: &str) -> Result<Programs, String> {
        if profile == image::SHIPPED {
            let host = Architecture::host().ok_or_else(|| format!("no image for {}", std::env::consts::ARCH))?;
            let minimesh = image::program::build(workspace, host, profile)?;
            let said = compiled(workspace, "release", &TOOLS)?;
            let what = format!("the image's program, {}", megabytes(&minimesh));
            return Ok(Programs { peers: executable(&said, "peers")?, minimesh: (minimesh, what) });
        }
        // Programs alone, and the command line's package among theirs: what is measured is then what `cargo build --bin minimesh`
        // makes, from the same dependencies with the same features. A target that is a test or a bench would bring those of tests.
        let all = [&[("minimesh-cli", "minimesh")], &TOOLS[..]].concat();
        let said = compiled(workspace, profile, &all)?;
        let minimesh = executable(&said, "minimesh")?;
        let what = format!("profile {profile}, {}", megabytes(&minimesh));
        Ok(Programs { peers: executable(&said, "peers")?, minimesh: (minimesh, what) })
    }
}

/// Packages with their programs that measure, and make what is measured in.
const TOOLS: [(&str, &str); 2] = [("minimesh-peers", "peers"), ("minimesh-tests", "netns-runner")];

/// Compiles programs; gives what cargo says of them, line by line.
fn compiled(workspace: &Workspace, profile: &str, programs: &[(&str, &str)]) -> Result<String, String> {
    let mut command = workspace.cargo(&["build", "--profile", profile, "--message-format", "json-render-diagnostics"]);
    for (package, program) in programs {
        command.args(["--package", package, "--bin", program]);
    }
    command.stderr(Stdio::inherit());
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("cannot run {shown}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{shown}: {}", output.status))
    }
}

/// Where cargo has put a program, of what it says.
fn executable(said: &str, name: &str) -> Result<PathBuf, String> {
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ours = lines.filter(|line| line["target"]["name"] == name);
    let found = ours.find_map(|line| line["executable"].as_str().map(PathBuf::from));
    found.ok_or_else(|| format!("cargo made no program {name}"))
}

fn megabytes(program: &Path) -> String {
    let size = program.metadata().map_or(0, |metadata| metadata.len());
    format!("{:.1} MB", size as f64 / 1e6)
}

fn measure(workspace: &Workspace, wanted: &Wanted, peers: &Peers, programs: &Programs) -> Result<(), String> {
    let (raw, output) = places(workspace, wanted)?;
    let found = |found: &Result<PathBuf, String>| match found {
        Ok(program) => json!({ "Ok": program }),
        Err(why) => json!({ "Err": why }),
    };
    let task = json!({
        "command": wanted.command,
        "commit": commit(workspace),
        "minimesh": programs.minimesh.1,
        "rounds": wanted.rounds,
        "quick": wanted.quick,
        "only": wanted.only,
        "raw": raw,
        "output": output,
        "envoy": found(&peers.envoy),
        "haproxy": found(&peers.haproxy),
        "linkerd2": found(&peers.linkerd2),
    });
    let mut command = Command::new("sh");
    command.args(["-c", DESCRIPTORS]).arg(&programs.peers).arg("run").arg(task.to_string());
    command.env("MINIMESH_BINARY", &programs.minimesh.0).env("PATH", compat::path());
    workspace::passes(&mut command)
}

/// Makes the page anew.
fn publish(workspace: &Workspace, wanted: &Wanted) -> Result<(), String> {
    let peers = executable(&compiled(workspace, "release", &TOOLS)?, "peers")?;
    let (raw, output) = places(workspace, wanted)?;
    workspace::passes(Command::new(peers).arg("report").arg(raw).arg(output))
}

/// Where raw lines go as they come, and where the page goes when they are complete. What is committed stays as it is until then.
fn places(workspace: &Workspace, wanted: &Wanted) -> Result<(PathBuf, PathBuf), String> {
    let own = workspace.target.join("bench");
    let output = if wanted.keep { workspace.root.join("benches") } else { own.clone() };
    for folder in [&own, &output] {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    }
    Ok((own.join("data/peers.jsonl"), output))
}

/// What is compiled, and whether it is more than what was committed.
fn commit(workspace: &Workspace) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(&workspace.root).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let changed = if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { " with changes" };
    git(&["rev-parse", "--short", "HEAD"]) + changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_refused() {
        let wanted = Wanted::parse(&["--quick", "--rounds", "3", "--only", "direct,minimesh"]).unwrap();
        assert_eq!((wanted.rounds, wanted.quick, wanted.keep), (3, true, false));
        assert_eq!(wanted.only, ["direct", "minimesh"]);
        assert_eq!(wanted.command, "cargo xtask bench --quick --rounds 3 --only direct,minimesh");
        let usual = Wanted::parse(&[]).unwrap();
        assert_eq!((usual.rounds, &*usual.profile), (ROUNDS, "release"));
        let wanted = Wanted::parse(&["--report", "--keep"]).unwrap();
        assert!(wanted.report && wanted.keep);
        for bad in [&["--rounds"][..], &["--rounds", "many"], &["--fast"]] {
            assert!(Wanted::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_program_that_is_named_is_there_or_it_is_said_that_it_is_not() {
        let of = |value: &str| named("NAME", Some(OsStr::new(value)));
        assert_eq!(named("NAME", None), Err("NAME names no program".to_owned()));
        assert_eq!(of(""), Err("NAME names no program".to_owned()));
        assert_eq!(of("/"), Err("NAME: / is no program".to_owned()));
        assert!(of("/there/is/no/such/file").unwrap_err().starts_with("NAME: /there/is/no/such/file: "));
        let own = std::env::current_exe().unwrap();
        assert_eq!(of(own.to_str().unwrap()), Ok(own.canonicalize().unwrap()));
    }

    #[test]
    fn the_program_is_found_in_what_cargo_says() {
        let said = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"minimesh\"},\"executable\":\"/t/minimesh\"}\n\
            not json\n{\"target\":{\"name\":\"peers\"},\"executable\":\"/t/peers\"}";
        assert_eq!(executable(said, "peers"), Ok(PathBuf::from("/t/peers")));
        assert_eq!(executable(said, "minimesh"), Ok(PathBuf::from("/t/minimesh")));
        assert_eq!(
            executable("{\"reason\":\"build-finished\"}", "peers"),
            Err("cargo made no program peers".to_owned())
        );
    }
}
