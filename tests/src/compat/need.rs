//! What a case needs of the machine.

use std::process::{Command, Stdio};

/// A program or a kit without which a case cannot run.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// A kernel that knows IPv6.
    Ipv6,
    /// Libraries or programs that were fetched before.
    Kit(Kit),
    /// A part of a program: its name, and a command of the shell that fails without it.
    Part(&'static str, &'static str),
    /// A program of the machine.
    Program(&'static str),
    /// User 0 of the machine, not only of a user namespace.
    Root,
}

/// What `cargo xtask test` fetches by the lock files of `tests/compat`, and puts into a folder.
#[derive(Clone, Copy, Debug)]
pub enum Kit {
    /// Programs built from Go modules.
    Go,
    /// The real Helm.
    Helm,
    /// Compiled Java classes.
    Java,
    /// Jars of Maven Central, and Java classes compiled against them.
    Maven,
    /// A `node_modules` folder.
    Node,
    /// A folder for `PYTHONPATH`.
    Python,
}

impl Need {
    /// Why it is not there, if so.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Need::Ipv6 => {
                (!std::path::Path::new("/proc/net/if_inet6").exists()).then(|| "this kernel has no IPv6".to_owned())
            }
            Need::Kit(kit) => kit.missing(),
            Need::Part(name, command) => (!passes(command)).then(|| format!("{name} is not installed")),
            Need::Program(name) => (!passes(&format!("command -v {name}"))).then(|| format!("{name} is not installed")),
            Need::Root => (!nix::unistd::getuid().is_root()).then(|| "needs root".to_owned()),
        }
    }
}

impl Kit {
    /// Path of a program of it, where it is there.
    #[allow(clippy::disallowed_methods)] // a test has no command line of its own
    pub fn program(self, name: &str) -> String {
        let folder = std::env::var(format!("MINIMESH_KIT_{self:?}").to_uppercase()).unwrap_or_default();
        format!("{folder}/{name}")
    }

    /// `MINIMESH_KIT_GO` and so on name the kit's folder, for the scripts too; with `_MISSING`, why there is none.
    #[allow(clippy::disallowed_methods)] // a test has no command line of its own
    fn missing(self) -> Option<String> {
        let variable = format!("MINIMESH_KIT_{self:?}").to_uppercase();
        if std::env::var_os(&variable).is_some() {
            return None;
        }
        let why = std::env::var(format!("{variable}_MISSING"));
        Some(why.unwrap_or_else(|_| format!("the {self:?} kit is prepared by `cargo xtask test --only compat`")))
    }
}

fn passes(script: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
