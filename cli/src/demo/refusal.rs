//! Why this machine refuses namespaces, and the way out: the one place that turns an errno into advice.
//!
//! Called by the stage. Reads `/proc`, changes nothing, and never proposes to install a package.

use std::{fs, path::Path};

use nix::errno::Errno;

/// Where it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The PID, network, mount, UTS and IPC namespaces.
    Namespaces,
    /// Writing `uid_map` and its like.
    UserMap,
    /// The user namespace itself.
    UserNamespace,
}

/// A machine's settings that decide about namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Machine {
    root: bool,
    /// `kernel.apparmor_restrict_unprivileged_userns`, Ubuntu 23.10 and later.
    apparmor_restricts: bool,
    /// `kernel.unprivileged_userns_clone` is there and 0, Debian and its like.
    clone_forbidden: bool,
    /// `user.max_user_namespaces`; `None`: the kernel has no user namespaces.
    max_user_namespaces: Option<u64>,
    /// A seccomp filter is in force, as in containers.
    seccomp: bool,
    /// `/.dockerenv` or its like.
    container: bool,
}

/// Cause and way out, in sentences. Inside a user namespace everybody is root, so the caller says who was it outside.
pub(crate) fn explain(step: Step, error: Errno, started_as_root: bool) -> String {
    advise(step, error, &Machine::look(started_as_root))
}

fn advise(step: Step, error: Errno, machine: &Machine) -> String {
    let what = match step {
        Step::Namespaces => "network, PID and mount namespaces",
        Step::UserMap => "the user namespace's map of ids",
        Step::UserNamespace => "a user namespace",
    };
    let refused = format!("this machine does not let the demo make {what} ({})", error.desc());
    let or_root = if machine.root { "" } else { ", or run the demo as root (sudo)" };
    if machine.max_user_namespaces == Some(0) {
        return format!(
            "{refused}: user.max_user_namespaces is 0. Way out: sudo sysctl -w user.max_user_namespaces=15000{or_root}"
        );
    }
    if !machine.root && machine.clone_forbidden {
        return format!(
            "{refused}: kernel.unprivileged_userns_clone is 0. Way out: sudo sysctl -w kernel.unprivileged_userns_clone=1{or_root}"
        );
    }
    match error {
        Errno::ENOSPC | Errno::EUSERS => {
            return format!(
                "{refused}: the limit on namespaces is reached or they are nested too deep. Way out: raise \
                 user.max_user_namespaces and user.max_net_namespaces (sysctl){or_root}"
            );
        }
        Errno::EINVAL => {
            return format!(
                "{refused}: the kernel was built without them (CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_PID_NS). Way out: \
                 another kernel, or a virtual machine{or_root}"
            );
        }
        _ => {}
    }
    if machine.container || machine.seccomp {
        return format!(
            "{refused}: a seccomp filter or missing capabilities forbid it, as is usual inside a container. Way out: start \
             the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined (docker, podman) or \
             --privileged, or run the demo outside of the container"
        );
    }
    if !machine.root && machine.apparmor_restricts {
        return format!(
            "{refused}: AppArmor restricts unprivileged user namespaces (kernel.apparmor_restrict_unprivileged_userns = 1, \
             the default of Ubuntu since 23.10). Way out: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0{or_root}"
        );
    }
    format!(
        "{refused}: a security module or a sandbox forbids it. Way out: run the demo outside of the sandbox{or_root}; \
         the system's audit log names the module"
    )
}

impl Machine {
    fn look(started_as_root: bool) -> Machine {
        let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
        Machine {
            root: started_as_root,
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            clone_forbidden: number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            seccomp: seccomp.is_some_and(|mode| mode != "0"),
            container: ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { max_user_namespaces: Some(1000), ..Machine::default() }
    }

    #[track_caller]
    fn names(step: Step, error: Errno, machine: &Machine, cause: &str) {
        let text = advise(step, error, machine);
        assert!(text.contains(cause) && text.contains("Way out: "), "{text}");
    }

    #[test]
    fn ubuntu_names_apparmor() {
        let ubuntu = Machine { apparmor_restricts: true, ..machine() };
        names(Step::UserMap, Errno::EPERM, &ubuntu, "kernel.apparmor_restrict_unprivileged_userns=0");
        names(Step::Namespaces, Errno::EPERM, &ubuntu, "or run the demo as root");
    }

    #[test]
    fn container_names_seccomp_even_on_an_ubuntu_host() {
        let container = Machine { apparmor_restricts: true, seccomp: true, container: true, root: true, ..machine() };
        names(Step::UserNamespace, Errno::EPERM, &container, "seccomp=unconfined");
    }

    #[test]
    fn limit_of_zero_is_named_before_all_else() {
        let none = Machine { max_user_namespaces: Some(0), seccomp: true, ..machine() };
        names(Step::UserNamespace, Errno::ENOSPC, &none, "user.max_user_namespaces is 0");
    }

    #[test]
    fn debian_names_its_switch() {
        let debian = Machine { clone_forbidden: true, ..machine() };
        names(Step::UserNamespace, Errno::EPERM, &debian, "kernel.unprivileged_userns_clone=1");
    }

    #[test]
    fn exhausted_limit_is_no_matter_of_seccomp() {
        let container = Machine { seccomp: true, root: true, ..machine() };
        names(Step::Namespaces, Errno::ENOSPC, &container, "user.max_net_namespaces");
    }

    #[test]
    fn old_kernel_is_named() {
        names(Step::UserNamespace, Errno::EINVAL, &machine(), "CONFIG_USER_NS");
    }
}
