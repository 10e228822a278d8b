//! `minimesh install`: the manifests of the mesh.

use minimesh_chart::Manifest;

use crate::{
    Failure,
    api_server::ApiServer,
    check::{CHECKS, Facts, Finding, Stage, gather},
    installation::{Installation, stream},
    stats::asking::print_lines,
};

/// The manifests of the mesh.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Print the manifests of the mesh, for kubectl apply\n\n\
        What Helm would print of charts/minimesh, which is in this program, and the namespace. Nothing in it is random and no certificate is \
        among it: the control plane makes its root when it first starts. The cluster is asked whether it is fit, as `minimesh check \
        --pre` does; nothing is written to it.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    installation: Installation,
    /// Ask no cluster whether it is fit
    #[arg(long)]
    ignore_cluster: bool,
    #[command(flatten)]
    cluster: ApiServer,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let objects = self.installation.objects()?;
        if !self.ignore_cluster {
            let namespace = self.installation.namespace();
            let facts = self.cluster.ask(async |client| Ok(gather(&client, namespace, true).await?));
            let facts = facts.map_err(|failure| {
                Failure::new(format!("{}; --ignore-cluster prints the manifests without asking", failure.message()))
            })?;
            let problems = problems(facts, &objects);
            if !problems.is_empty() {
                let list = problems.join("\n");
                return Err(Failure::new(format!(
                    "the cluster is not fit:\n{list}\n--ignore-cluster prints the manifests all the same"
                )));
            }
        }
        print_lines(&[stream(&objects).trim_end().to_owned()])
    }
}

/// What would go wrong, a line each.
fn problems(facts: Facts, objects: &[Manifest]) -> Vec<String> {
    let before = CHECKS.iter().filter(|check| matches!(check.stage, Stage::Before | Stage::Cluster));
    let mut findings: Vec<(&str, Finding)> = before.map(|check| (check.what, (check.judge)(&facts))).collect();
    // what is going to be installed knows the networks of this cluster, or does not
    let deployments = objects.iter().filter(|manifest| manifest.object["kind"] == "Deployment");
    let installed = Facts { deployments: deployments.map(|manifest| manifest.object.clone()).collect(), ..facts };
    let networks = CHECKS.iter().filter(|check| check.name == "cluster-networks");
    findings.extend(networks.map(|check| (check.what, (check.judge)(&installed))));
    let line = |(what, finding)| match finding {
        Finding::Wrong(problem) => Some(format!("  {what}: no: {}; {}", problem.problem, problem.fix)),
        Finding::Good | Finding::Odd(_) => None,
    };
    findings.into_iter().filter_map(line).collect()
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Print the manifests of the mesh, for kubectl apply";

const EXAMPLES: &str = "Examples:
  # into the cluster that kubectl speaks to
  minimesh install | kubectl apply -f -

  # three of each part
  minimesh install --ha | kubectl apply -f -

  # with another image, and networks that are not those of K3s
  minimesh install --set image.repository=registry.example/minimesh \\
    --set clusterNetworks='10.244.0.0/16\\,10.96.0.0/12' | kubectl apply -f -";

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_cluster_with_other_networks_or_with_the_mesh_is_not_fit() {
        let objects = Line::parse_from(["install"]).args.installation.objects().expect("rendered");
        let node = |network: &str| {
            json!({
                "metadata": { "name": "n" }, "spec": { "podCIDRs": [network] },
                "status": { "nodeInfo": { "operatingSystem": "linux", "kernelVersion": "6.1.0" } },
            })
        };
        let version = json!({ "major": "1", "minor": "34" });
        let fit = Facts { version, nodes: vec![node("10.42.0.0/24")], ..Facts::default() };
        assert_eq!(problems(fit.clone(), &objects), Vec::<String>::new());
        let other = Facts { nodes: vec![node("10.244.0.0/24")], ..fit.clone() };
        let said = problems(other, &objects);
        assert!(matches!(said.as_slice(), [line] if line.contains("10.244.0.0/24")), "{said:?}");
        let there = Facts { deployments: vec![json!({ "metadata": { "name": "minimesh-control-plane" } })], ..fit };
        assert_eq!(problems(there, &objects).len(), 1);
    }
}
