//! Which crate may depend on which (ARCHITECTURE.md).

use super::File;
use crate::workspace::{Package, Workspace};

/// Crates in layers: each may use those of the layers before its own, and those of its own that stand before it.
const LAYERS: [&[&str]; 5] = [
    &["minimesh-api"],
    &["minimesh-balance", "minimesh-chart", "minimesh-route", "minimesh-identity", "minimesh-runtime"],
    &["minimesh-index", "minimesh-control-plane", "minimesh-injector", "minimesh-proxy", "sock-shop"],
    &["minimesh-cli"],
    &["minimesh-benches", "minimesh-fuzz", "minimesh-tests", "minimesh-peers"],
];
/// Tools, beside the layers: they use no crate of ours.
const TOOLS: [&str; 1] = ["xtask"];
/// Crates without input, output and clocks …
const PURE: [&str; 4] = ["minimesh-balance", "minimesh-chart", "minimesh-index", "minimesh-route"];
/// … so they do not name these themselves.
const IMPURE: [&str; 9] =
    ["hyper", "hyper-util", "mio", "nix", "rtnetlink", "socket2", "tokio", "tokio-stream", "tonic"];
/// The two halves of the mesh meet on the wire only.
const STRANGERS: [(&str, &str); 2] =
    [("minimesh-control-plane", "minimesh-proxy"), ("minimesh-proxy", "minimesh-index")];

pub(crate) fn check(workspace: &Workspace, _: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        let name = &*package.name;
        let ours = package.dependencies.iter().filter(|other| workspace.packages.iter().any(|own| own.name == **other));
        for other in ours {
            if !allowed(name, other) {
                complaints.push(format!("{name} must not depend on {other}"));
            }
        }
        complaints.extend(impure(package));
        if place(name).is_none() && !TOOLS.contains(&name) {
            complaints.push(format!("{name} has no layer: give it one in crates/xtask/src/checks/layers.rs"));
        }
    }
    complaints
}

fn allowed(user: &str, used: &str) -> bool {
    if STRANGERS.contains(&(user, used)) || STRANGERS.contains(&(used, user)) {
        return false;
    }
    matches!((place(user), place(used)), (Some(user), Some(used)) if used < user)
}

fn impure(package: &Package) -> impl Iterator<Item = String> {
    let pure = PURE.contains(&&*package.name);
    let named = package.dependencies.iter().filter(move |other| pure && IMPURE.contains(&&***other));
    named.map(|other| format!("{} is pure and must not depend on {other}", package.name))
}

fn place(name: &str) -> Option<(usize, usize)> {
    let within = |layer: &&[&str]| layer.iter().position(|other| *other == name);
    LAYERS.iter().enumerate().find_map(|(index, layer)| within(layer).map(|position| (index, position)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_layers_do_not_know_higher_ones() {
        assert!(allowed("minimesh-proxy", "minimesh-route"));
        assert!(allowed("minimesh-runtime", "minimesh-api"));
        assert!(allowed("minimesh-control-plane", "minimesh-index"));
        assert!(!allowed("minimesh-route", "minimesh-proxy"));
        assert!(!allowed("minimesh-proxy", "minimesh-control-plane"));
        assert!(!allowed("minimesh-proxy", "minimesh-index"));
        assert!(!allowed("xtask", "minimesh-api"));
    }
}
