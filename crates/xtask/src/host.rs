//! What the tests need of the machine, and what it lacks.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Installs Debian packages of which the program is missing, when root; says what was done, or what is missing. Services that
/// come with them are not started.
pub(crate) fn install(packages: &[(&str, &str)], path: &str) -> String {
    let missing = missing(packages, path);
    if missing.is_empty() {
        return "Debian packages: none missing".to_owned();
    }
    let list = missing.join(" ");
    if !is_root() || !is_on(path, "apt-get") {
        return format!("missing packages; as root: apt-get install --no-install-recommends {list}");
    }
    let _quiet = StartNothing::new();
    let updated = apt(&["update"], &[]);
    // those that this Debian lacks must not keep the others away
    let known: Vec<&str> = match apt(&["install", "--simulate"], &missing) {
        Ok(()) => missing,
        Err(_) => missing.into_iter().filter(|&package| apt(&["install", "--simulate"], &[package]).is_ok()).collect(),
    };
    // what is ended in the middle of this leaves nothing half installed
    let fetched = apt(&["install", "--download-only", "--fix-missing"], &known);
    let installed = apt(&["install", "--no-download", "--fix-missing"], &known);
    let refused: Vec<&str> = packages.iter().filter(|one| !is_on(path, one.1)).map(|(package, _)| *package).collect();
    match (refused.is_empty(), updated.and(fetched).and(installed)) {
        (true, _) => format!("installed {list}"),
        (false, Ok(())) => format!("of {list}, apt does not have {}", refused.join(" ")),
        (false, Err(error)) => format!("of {list}, apt did not install {} ({error})", refused.join(" ")),
    }
}

/// One step of apt's, which may take some minutes and no more.
fn apt(step: &[&str], packages: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--yes", "--no-install-recommends"]);
    // a mirror that does not answer is given up, and another apt is waited for
    command.args(["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-o", "DPkg::Lock::Timeout=120"]);
    command.args(step).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    passes_within("10m", &command)
}

/// Runs a command, and ends it when it has taken so long; says in few words how it failed.
pub(crate) fn passes_within(limit: &str, command: &Command) -> Result<(), String> {
    let program = command.get_program().display();
    let status = within(limit, command).status().map_err(|error| format!("cannot run {program}: {error}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(GIVEN_UP) => Err(format!("{program} was given up after {limit}")),
        _ => Err(format!("{program} failed ({status}); its own words stand further up")),
    }
}

/// What `timeout` ends with when the time was over.
const GIVEN_UP: i32 = 124;

/// The same command, ended with all its children when it has taken so long; its output goes to stderr.
pub(crate) fn within(limit: &str, command: &Command) -> Command {
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after", "10", limit]).arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdin(Stdio::null()).stdout(std::io::stderr());
    match command.get_current_dir() {
        Some(folder) => limited.current_dir(folder),
        None => &mut limited,
    };
    limited
}

/// The packages of which the program is not there.
pub(crate) fn missing<'p>(packages: &[(&'p str, &str)], path: &str) -> Vec<&'p str> {
    packages.iter().filter(|(_, program)| !is_on(path, program)).map(|(package, _)| *package).collect()
}

/// While it lives, packages that are installed start no service of theirs.
struct StartNothing(Option<&'static str>);

impl StartNothing {
    /// Debian's maintainer scripts ask this program before they start anything.
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn new() -> StartNothing {
        // somebody else's policy is left as it is
        let absent = !std::path::Path::new(Self::POLICY).exists();
        let executable = std::fs::Permissions::from_mode(0o755);
        let written = absent
            && std::fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n")
                .and_then(|()| std::fs::set_permissions(Self::POLICY, executable))
                .is_ok();
        StartNothing(written.then_some(Self::POLICY))
    }
}

impl Drop for StartNothing {
    fn drop(&mut self) {
        // it was ours; if it cannot be removed, nothing else could be done
        let _ = self.0.map(std::fs::remove_file);
    }
}

/// Why namespaces cannot be made here, if so.
pub(crate) fn namespaces() -> Result<(), String> {
    let mut probe = Command::new("unshare");
    probe.args(["--net", "--pid", "--mount", "--fork"]);
    if !is_root() {
        probe.args(["--user", "--map-root-user"]);
    }
    let output = probe.arg("true").output();
    // without util-linux the tests find out by themselves
    let Ok(output) = output else { return Ok(()) };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let cause = if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "AppArmor restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root"
    } else if read("/proc/sys/user/max_user_namespaces") == "0" {
        "user namespaces are switched off: sysctl user.max_user_namespaces=10000, or run as root"
    } else {
        "in a container, its seccomp profile may forbid unshare: run it privileged"
    };
    Err(format!("no network namespaces can be made here ({said}); {cause}"))
}

pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

pub(crate) fn is_on(path: &str, program: &str) -> bool {
    std::env::split_paths(path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_ended_and_named() {
        let mut command = Command::new("tail");
        command.args(["-f", "/dev/null"]);
        assert_eq!(passes_within("0.1", &command), Err("tail was given up after 0.1".to_owned()));
    }

    #[test]
    fn a_command_keeps_its_folder_and_its_environment() {
        let mut command = Command::new("sh");
        command.args(["-c", "[ \"$PWD $NAME\" = '/ value' ]"]).current_dir("/").env("NAME", "value");
        assert_eq!(passes_within("1m", &command), Ok(()));
        command.env("NAME", "other");
        let failed = "sh failed (exit status: 1); its own words stand further up";
        assert_eq!(passes_within("1m", &command), Err(failed.to_owned()));
    }
}
