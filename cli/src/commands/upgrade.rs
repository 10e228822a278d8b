//! `minimesh upgrade`: the manifests of this version, and what is to be restarted.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::Value;

use crate::{
    Failure,
    api_server::ApiServer,
    check::{Facts, gather},
    installation::{Installation, stream},
    stats::asking::print_lines,
};

/// The manifests of this version.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Print the manifests of this version, and what is to be restarted\n\n\
        On stdout what `minimesh install` prints, for kubectl apply: control plane and injector are replaced one by one, and nothing \
        meshed is disturbed. On stderr the commands that give meshed pods this version's sidecar; they restart pods and are left to \
        you. Give it the values that the installation was given.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    cluster: ApiServer,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let objects = self.installation.objects()?;
        let namespace = self.installation.namespace();
        let facts = self.cluster.ask(async |client| Ok(gather(&client, namespace, false).await?))?;
        print_lines(&[stream(&objects).trim_end().to_owned()])?;
        let mut stderr = std::io::stderr();
        for line in restarts(&facts) {
            // a closed stderr is no reason to lose the manifests
            let _ = writeln!(stderr, "{line}");
        }
        Ok(())
    }
}

/// What meshed pods came from, as commands.
fn restarts(facts: &Facts) -> Vec<String> {
    let old = |pod: &&Value| {
        let version = &pod["metadata"]["annotations"][minimesh_api::annotations::PROXY_VERSION.name];
        minimesh_injector::is_injected(pod) && *version != facts.program.as_str()
    };
    let commands: BTreeSet<String> = facts.pods.iter().filter(old).map(restart).collect();
    if commands.is_empty() {
        return vec![format!("no meshed pod has another version than {}", facts.program)];
    }
    let head = format!("when control plane and injector are {}, these give meshed pods its sidecar:", facts.program);
    [head].into_iter().chain(commands).collect()
}

fn restart(pod: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
    let owner = &pod["metadata"]["ownerReferences"][0];
    let (kind, owner) = (text(&owner["kind"]), text(&owner["name"]));
    match kind.as_str() {
        // a ReplicaSet's name is its Deployment's and a hash
        "ReplicaSet" => {
            let deployment = owner.rsplit_once('-').map_or(owner.as_str(), |(deployment, _)| deployment);
            format!("  kubectl rollout restart -n {namespace} deployment/{deployment}")
        }
        "DaemonSet" | "StatefulSet" => {
            format!("  kubectl rollout restart -n {namespace} {}/{owner}", kind.to_lowercase())
        }
        _ => format!("  # {namespace}/{name}: no rollout makes this pod; it keeps its sidecar until it is made again"),
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Print the manifests of this version, and what is to be restarted";

const EXAMPLES: &str = "Examples:
  # control plane and injector to this program's version
  minimesh upgrade | kubectl apply -f -

  # with the values that it was installed with
  minimesh upgrade --ha --set trustDomain=example.org | kubectl apply -f -";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_owner_is_restarted_once() {
        let pod = |name: &str, kind: &str, owner: &str, version: &str| {
            json!({
                "metadata": {
                    "name": name, "namespace": "shop", "annotations": { "minimesh.io/proxy-version": version },
                    "ownerReferences": [{ "kind": kind, "name": owner }],
                },
                "spec": { "initContainers": [{ "name": "minimesh-proxy" }] },
            })
        };
        let pods = vec![
            pod("web-5d-1", "ReplicaSet", "web-5d", "1"),
            pod("web-5d-2", "ReplicaSet", "web-5d", "1"),
            pod("db-0", "StatefulSet", "db", "1"),
            pod("job-x", "Job", "job", "1"),
            pod("new-1", "ReplicaSet", "new-7", "2"),
        ];
        let facts = Facts { program: "2".into(), pods, ..Facts::default() };
        let expected = [
            "when control plane and injector are 2, these give meshed pods its sidecar:",
            "  # shop/job-x: no rollout makes this pod; it keeps its sidecar until it is made again",
            "  kubectl rollout restart -n shop deployment/web",
            "  kubectl rollout restart -n shop statefulset/db",
        ];
        assert_eq!(restarts(&facts), expected);
        assert_eq!(
            restarts(&Facts { program: "2".into(), ..Facts::default() }),
            ["no meshed pod has another version than 2"]
        );
    }
}
