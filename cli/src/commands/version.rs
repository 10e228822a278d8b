//! `minimesh version`: what this program is, and what the cluster has.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use crate::{
    Failure,
    api_server::ApiServer,
    check::{Facts, gather},
    stats::asking::print_lines,
};

/// The version of this program, and of the cluster's.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "The version of this program, and of what runs in the cluster\n\n\
        One program holds every part, so there is one version of it: proxy, redirect, control plane, injector and commands. Where a cluster \
        is known, that of its control plane and injector is added, and those of the sidecars.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// This program's alone; no cluster is asked
    #[arg(long)]
    client: bool,
    /// Namespace of the mesh's own parts
    #[arg(long, value_name = "NAMESPACE", default_value = "minimesh")]
    mesh_namespace: String,
    #[command(flatten)]
    cluster: ApiServer,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut lines = vec![format!("minimesh {}", env!("CARGO_PKG_VERSION"))];
        if !self.client {
            let facts = self.cluster.ask(async |client| {
                let facts = timeout(PATIENCE, gather(&client, &self.mesh_namespace, false)).await;
                Ok(facts.map_err(|_| Failure::new(format!("no answer in {} s", PATIENCE.as_secs())))??)
            });
            match facts {
                Ok(facts) => lines.extend(of_cluster(&facts)),
                Err(failure) => lines.push(format!("cluster: not known: {}", failure.message())),
            }
        }
        print_lines(&lines)
    }
}

fn of_cluster(facts: &Facts) -> Vec<String> {
    let mut lines: Vec<String> = facts
        .deployments
        .iter()
        .filter_map(|deployment| {
            let metadata = &deployment["metadata"];
            let version = metadata["labels"]["app.kubernetes.io/version"].as_str()?;
            Some(format!("{} {version}", metadata["name"].as_str()?))
        })
        .collect();
    if lines.is_empty() {
        lines.push(format!("cluster: nothing of minimesh in namespace {}", facts.mesh_namespace));
    }
    let meshed = facts.pods.iter().filter(|pod| minimesh_injector::is_injected(pod));
    let version = |pod: &serde_json::Value| {
        let version = &pod["metadata"]["annotations"][minimesh_api::annotations::PROXY_VERSION.name];
        version.as_str().unwrap_or("unknown").to_owned()
    };
    let versions: BTreeSet<String> = meshed.map(version).collect();
    lines.extend(versions.iter().map(|version| format!("sidecars {version}")));
    lines
}

/// A cluster that does not answer is no reason to wait for one's own version.
const PATIENCE: Duration = Duration::from_secs(5);

/// In the list of commands.
pub(super) const ABOUT: &str = "The version of this program, and of what runs in the cluster";

const EXAMPLES: &str = "Examples:
  # this program, the cluster's control plane and injector, and the sidecars
  minimesh version

  # this program alone
  minimesh version --client";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_part_and_every_version_of_a_sidecar_is_named_once() {
        let pod = |version: &str| {
            json!({
                "metadata": { "annotations": { "minimesh.io/proxy-version": version } },
                "spec": { "initContainers": [{ "name": "minimesh-proxy" }] },
            })
        };
        let deployment =
            json!({ "metadata": { "name": "minimesh-injector", "labels": { "app.kubernetes.io/version": "2" } } });
        let facts =
            Facts { deployments: vec![deployment], pods: vec![pod("1"), pod("2"), pod("1")], ..Facts::default() };
        assert_eq!(of_cluster(&facts), ["minimesh-injector 2", "sidecars 1", "sidecars 2"]);
        let empty = Facts { mesh_namespace: "minimesh".into(), ..Facts::default() };
        assert_eq!(of_cluster(&empty), ["cluster: nothing of minimesh in namespace minimesh"]);
    }
}
