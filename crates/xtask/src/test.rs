//! `cargo xtask test`: the layers of tests, least powerful first.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cluster;
use crate::compat;
use crate::host;
use crate::report::{Outcome, Report};
use crate::workspace::{self, Workspace};

/// The crate whose tests need network namespaces and the real program.
const NETNS_CRATE: &str = "minimesh-tests";
const NETNS_FOLDER: &str = "tests/tests";
/// Begin the names of files of that folder that are a layer of their own.
const COMPAT: &str = "compat_";
const CLUSTER: &str = "cluster_";
/// The file of that folder that can be made to last.
const SOAK: &str = "faults_soak";
/// What those tests use of Debian's, beside what every Debian has: packets get lost by its rules.
const NETNS_PACKAGES: [(&str, &str); 1] = [("nftables", "nft")];
/// So long may Kubernetes be compiled while somebody waits for all tests; about ten minutes are usual, and what was done is kept.
const BUILD_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Names the program under test to the tests.
const PROGRAM: &str = "MINIMESH_BINARY";
/// Begins a line in which a test says that it did not run: `skipped: NAME: REASON`.
const SKIPPED: &str = "skipped: ";

/// Which tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// In process: pure, or with paused time.
    Unit,
    /// The real program in network namespaces that the tests make.
    Netns,
    /// The same with clients and servers that nobody here wrote.
    Compat,
    /// A real Kubernetes.
    Cluster,
}

impl Layer {
    pub(crate) const ALL: &'static [Layer] = &[Layer::Unit, Layer::Netns, Layer::Compat, Layer::Cluster];

    pub(crate) fn from_name(name: &str) -> Option<Layer> {
        Layer::ALL.iter().copied().find(|layer| layer.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Layer::Unit => "unit",
            Layer::Netns => "netns",
            Layer::Compat => "compat",
            Layer::Cluster => "cluster",
        }
    }
}

pub(crate) fn run(workspace: &Workspace, layers: &[Layer], report: &mut Report) {
    for layer in layers {
        match layer {
            Layer::Unit => unit(workspace, report),
            Layer::Netns => {
                report.step("netns: prepare", || {
                    let installed = host::install(&NETNS_PACKAGES, &compat::path());
                    Outcome { note: installed, ..Outcome::preparation(Ok(())) }
                });
                worlds(
                    workspace,
                    "netns",
                    |name| ![COMPAT, CLUSTER].iter().any(|own| name.starts_with(own)),
                    &[],
                    report,
                );
            }
            Layer::Compat => compat(workspace, report),
            Layer::Cluster => in_cluster(workspace, layers.len() > 1, report),
        }
    }
}

/// The soak alone, for as long as `duration` says: `90s`, `30m` or `2h`.
pub(crate) fn soak(workspace: &Workspace, duration: &str, report: &mut Report) -> Result<(), String> {
    let seconds = seconds(duration).ok_or_else(|| format!("{duration:?} is no duration like 90s, 30m or 2h"))?;
    let environment = [("MINIMESH_SOAK_SECONDS".to_owned(), seconds.to_string())];
    worlds(workspace, "soak", |name| name == SOAK, &environment, report);
    Ok(())
}

fn seconds(duration: &str) -> Option<u64> {
    let unit = match duration.chars().last()? {
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    duration[..duration.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
}

fn unit(workspace: &Workspace, report: &mut Report) {
    let all = ["test", "--workspace", "--exclude", NETNS_CRATE, "--no-fail-fast"];
    report.step("unit: build", || Outcome::preparation(workspace::passes(workspace.cargo(&all).arg("--no-run"))));
    report.step("unit: run", || counted(workspace.cargo(&all)));
}

fn compat(workspace: &Workspace, report: &mut Report) {
    let mut environment = Vec::new();
    report.step("compat: prepare", || {
        let installed = host::install(&compat::PACKAGES, &compat::path());
        let (found, kits) = compat::prepare(workspace);
        environment = found;
        Outcome { note: format!("{installed}\n{kits}"), ..Outcome::preparation(Ok(())) }
    });
    worlds(workspace, "compat", |name| name.starts_with(COMPAT), &environment, report);
}

/// Tests of the program in network namespaces: those files of the netns crate's tests folder that `chosen` likes.
fn worlds(
    workspace: &Workspace,
    layer: &str,
    chosen: fn(&str) -> bool,
    environment: &[(String, String)],
    report: &mut Report,
) {
    if let Err(why) = host::namespaces() {
        return report.step(layer, || Outcome::skipped(why));
    }
    let build = ["build", "--release", "--bin", "minimesh"];
    let build = || Outcome::preparation(workspace::passes(&mut workspace.cargo(&build)));
    report.step(format!("{layer}: build minimesh"), build);
    let mut environment = environment.to_vec();
    environment.push((PROGRAM.to_owned(), workspace.target.join("release/minimesh").display().to_string()));
    stories(workspace, layer, chosen, &environment, report);
}

/// Tests on a real Kubernetes, which is started before them and ends after them. What says why one failed is kept. `briefly` in a
/// run of all tests: Kubernetes is compiled within a limit, and tests that take minutes are left out, by name.
fn in_cluster(workspace: &Workspace, briefly: bool, report: &mut Report) {
    if let Err(why) = cluster::possible() {
        return report.step("cluster", || Outcome::skipped(why));
    }
    let mut kit = None;
    report.step("cluster: prepare", || match cluster::prepare(workspace, briefly.then_some(BUILD_WITHIN)) {
        Ok((folder, note)) => {
            kit = Some(folder);
            Outcome { note, ..Outcome::preparation(Ok(())) }
        }
        Err(cluster::Missing::Here(why)) => Outcome::skipped(why),
        Err(cluster::Missing::Broken(why)) => Outcome::preparation(Err(why)),
    });
    let Some(kit) = kit else { return };
    let mut images = Vec::new();
    let mut lacking = String::new();
    report.step("cluster: build images", || {
        let made = cluster::images(workspace, briefly).map(|made| (images, lacking) = made);
        Outcome { note: lacking.clone(), ..Outcome::preparation(made) }
    });
    if images.is_empty() {
        return;
    }
    let script = |arguments: &[&str]| {
        let mut script = cluster::script(workspace, arguments);
        script.env(cluster::NAME, cluster::OF_TESTS).env(cluster::KIT, &kit);
        script
    };
    let mut up = false;
    report.step("cluster: up", || {
        // nothing of ours runs in it yet: a machine on which it does not start is one that lacks something
        if let Err(why) = workspace::passes(&mut script(&["up"])) {
            return Outcome::skipped(format!("no Kubernetes starts on this machine: {why}"));
        }
        up = true;
        let mut load = script(&["load"]);
        Outcome::preparation(workspace::passes(load.args(&images).stdout(Stdio::null())))
    });
    if up {
        let environment = [
            (PROGRAM, cluster::program(workspace).display().to_string()),
            (cluster::NAME, cluster::OF_TESTS.to_owned()),
            (cluster::LACKING, lacking),
            ("PATH", cluster::path()),
        ];
        let mut environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        if briefly {
            environment.push((cluster::BRIEFLY.to_owned(), "1".to_owned()));
        }
        stories(workspace, "cluster", |name| name.starts_with(CLUSTER), &environment, report);
    }
    let keep = report.has_failed() || !up;
    report.step("cluster: down", || {
        let mut note = String::new();
        if keep {
            let folder = workspace.target.join("cluster-logs");
            let _ = std::fs::remove_dir_all(&folder);
            let kept = workspace::passes(script(&["logs"]).arg(&folder));
            note = kept.map_or_else(|error| error, |()| format!("logs are kept in {}", folder.display()));
        }
        Outcome { note, ..Outcome::preparation(workspace::passes(&mut script(&["down"]))) }
    });
}

/// Builds and runs those files of the tests folder that `chosen` likes.
fn stories(
    workspace: &Workspace,
    layer: &str,
    chosen: impl Fn(&str) -> bool,
    environment: &[(String, String)],
    report: &mut Report,
) {
    // the whole workspace is named, and not the one crate: dependencies then have the features that they have in the unit
    // layer, and are not compiled again
    let mut names = match test_names(workspace) {
        Ok(names) => names,
        Err(error) => return report.step(format!("{layer}: tests"), || Outcome::of(Err(error))),
    };
    names.retain(|name| chosen(name));
    let mut tests = vec!["test", "--workspace", "--no-fail-fast"];
    tests.extend(names.iter().flat_map(|name| ["--test", name]));
    report.step(format!("{layer}: build tests"), || {
        Outcome::preparation(workspace::passes(workspace.cargo(&tests).arg("--no-run")))
    });
    report.step(format!("{layer}: run"), || {
        let mut command = workspace.cargo(&tests);
        // one world at a time: each has its own processes for two cores. Cases of compat wait for servers that start for much of
        // their time, and measure none
        let abreast = if layer == Layer::Compat.name() { "2" } else { "1" };
        command.args(["--", "--test-threads", abreast, "--nocapture"]);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        counted(command)
    });
}

/// The files of the netns crate's tests folder. Their names are not used by other crates: see above.
fn test_names(workspace: &Workspace) -> Result<Vec<String>, String> {
    let entries =
        std::fs::read_dir(workspace.root.join(NETNS_FOLDER)).map_err(|error| format!("{NETNS_FOLDER}: {error}"))?;
    let name = |path: std::path::PathBuf| path.file_name()?.to_str()?.strip_suffix(".rs").map(str::to_owned);
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| name(entry.path())).collect();
    names.sort();
    Ok(names)
}

/// Runs tests, shows what they say, and adds up the lines in which each test binary sums up itself.
fn counted(mut command: Command) -> Outcome {
    let shown = format!("{command:?}");
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::of(Err(format!("cannot run {shown}: {error}"))),
    };
    let mut outcome = Outcome { passed: 0, failed: 0, skipped: 0, note: String::new() };
    let mut cases = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines().map_while(Result::ok))
    {
        println!("{line}");
        add(&mut outcome, &line);
        cases.extend(line.strip_prefix(SKIPPED).map(str::to_owned));
    }
    // for the test harness, a test that finds at run time that it cannot run has passed
    outcome.passed = outcome.passed.saturating_sub(cases.len());
    outcome.skipped += cases.len();
    outcome.note = cases.join("\n");
    match child.wait() {
        Ok(status) if status.success() => {}
        // did not build, or died before it could say which test failed
        Ok(status) if outcome.failed == 0 => {
            outcome = Outcome { failed: 1, note: format!("{}\n{shown}: {status}", outcome.note), ..outcome }
        }
        Ok(_) => {}
        Err(error) => outcome = Outcome { failed: outcome.failed + 1, note: format!("{shown}: {error}"), ..outcome },
    }
    outcome
}

/// `test result: ok. 10 passed; 0 failed; 1 ignored; …`, possibly after what a test printed without a line's end.
fn add(outcome: &mut Outcome, line: &str) {
    let Some((_, counts)) = line.split_once("test result: ") else { return };
    let counts = counts.trim_start_matches("ok. ").trim_start_matches("FAILED. ");
    for part in counts.split("; ") {
        let Some((count, word)) = part.split_once(' ') else { continue };
        let Ok(count) = count.parse::<usize>() else { continue };
        match word {
            "passed" => outcome.passed += count,
            "failed" => outcome.failed += count,
            "ignored" => outcome.skipped += count,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let mut outcome = Outcome { passed: 1, failed: 0, skipped: 0, note: String::new() };
        add(&mut outcome, "running 3 tests");
        add(
            &mut outcome,
            "test result: ok. 10 passed; 0 failed; 2 ignored; 0 measured; 5 filtered out; finished in 1.00s",
        );
        add(&mut outcome, "test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(outcome, Outcome { passed: 12, failed: 3, skipped: 2, note: String::new() });
    }

    #[test]
    fn cases_that_skip_themselves_count_as_skipped_and_say_why() {
        let said =
            "test a ... ok\ntest b ...\nskipped: b: nginx is not installed\nok\ntest result: ok. 2 passed; 0 failed";
        let mut command = Command::new("printf");
        command.arg(said);
        let note = "b: nginx is not installed".to_owned();
        assert_eq!(counted(command), Outcome { passed: 1, failed: 0, skipped: 1, note });
    }

    #[test]
    fn a_soak_lasts_as_long_as_is_said() {
        assert_eq!([seconds("90s"), seconds("30m"), seconds("2h")], [Some(90), Some(1800), Some(7200)]);
        assert_eq!([seconds("2"), seconds("h"), seconds("")], [None; 3]);
    }

    #[test]
    fn layers_have_the_names_of_the_command_line() {
        assert_eq!(Layer::from_name("netns"), Some(Layer::Netns));
        assert_eq!(Layer::from_name("all"), None);
    }
}
