//! What the tests need of the machine, and what it lacks.

use std::process::{Command, Stdio};

/// Debian packages that tests use beyond a Rust toolchain, with the program that proves each. None today: the tests bring
/// their own clients, servers, netlink and packet capture.
const PACKAGES: [(&str, &str); 0] = [];

/// Installs what is missing when root on Debian; says what to install otherwise.
pub(crate) fn prepare() -> Result<String, String> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, program)| !runs(program)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok("Debian packages: none missing".to_owned());
    }
    let list = missing.join(" ");
    if !is_root() || !runs("apt-get") {
        return Err(format!("missing packages; as root: apt-get install --no-install-recommends {list}"));
    }
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    crate::workspace::passes(&mut install).map(|()| format!("installed {list}"))
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

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}
