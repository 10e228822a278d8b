//! `minimesh uninstall`: what is to be deleted.

use http::{Request, StatusCode};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    Failure,
    api_server::ApiServer,
    check::{Facts, gather},
    installation::Installation,
    stats::asking::print_lines,
};

/// What is to be deleted.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Print what is to be deleted, for kubectl delete\n\n\
        The webhook configuration first, so that no pod waits for an injector that is gone; then everything that the chart made, \
        and what the control plane made itself: its root, its Lease, the ConfigMaps with the public roots. While pods are meshed \
        it refuses and names them: they would keep running and could not renew their certificates.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// Although pods are meshed
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    cluster: ApiServer,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (facts, made) = self.cluster.ask(async |client| self.look(&client).await)?;
        let meshed = meshed(&facts);
        if !meshed.is_empty() && !self.force {
            let list = meshed.iter().map(|pod| format!("\n  {pod}")).collect::<String>();
            return Err(Failure::new(format!(
                "{} pods are meshed and could not renew their certificates:{list}\ntake them out first: `kubectl get deployments -n \
                 NAMESPACE -o yaml | minimesh uninject - | kubectl apply -f -`; or use --force",
                meshed.len()
            )));
        }
        let objects = self.installation.objects()?.into_iter().map(|manifest| manifest.object).collect();
        let documents = deletions(objects, made);
        let text: String =
            documents.iter().map(|object| format!("---\n{}", minimesh_chart::yaml::block(object))).collect();
        print_lines(&[text.trim_end().to_owned()])
    }
}

impl Args {
    /// The cluster, and what is in it that the chart did not make: `kubectl delete` takes what is missing for an error.
    async fn look(&self, client: &Client) -> Result<(Facts, Vec<Value>), Failure> {
        let namespace = self.installation.namespace();
        let facts = gather(client, namespace, false).await?;
        let mut made = Vec::new();
        for (api, kind, path, name) in MADE {
            let path = path.replace("NAMESPACE", namespace);
            let request = Request::get(format!("{path}/{name}")).body(Vec::new())?;
            match client.request::<Value>(request).await {
                Err(kube::Error::Api(answer)) if answer.code == StatusCode::NOT_FOUND.as_u16() => {}
                // whoever may not look may still delete
                Ok(_) | Err(_) => made.push(own(api, kind, namespace, name)),
            }
        }
        made.extend(facts.trusting.iter().map(|namespace| own("v1", "ConfigMap", namespace, "minimesh-trust")));
        Ok((facts, made))
    }
}

fn own(api: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": api, "kind": kind, "metadata": { "name": name, "namespace": namespace } })
}

fn meshed(facts: &Facts) -> Vec<String> {
    // one that is on its way out needs no other certificate
    let lives = |pod: &&Value| {
        !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
            && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let pods = facts.pods.iter().filter(lives).filter(|pod| minimesh_injector::is_injected(pod));
    let text = |pod: &Value, field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
    pods.map(|pod| format!("{}/{}", text(pod, "namespace"), text(pod, "name"))).collect()
}

/// Names alone, the webhook configuration first and the namespace last.
fn deletions(objects: Vec<Value>, made: Vec<Value>) -> Vec<Value> {
    let mut all: Vec<Value> = objects.iter().rev().map(identified).collect();
    let end = all.iter().position(|object| object["kind"] == "Namespace").unwrap_or(all.len());
    all.splice(end..end, made);
    all
}

fn identified(object: &Value) -> Value {
    let mut metadata = json!({ "name": object["metadata"]["name"] });
    if let Some(namespace) = object["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    json!({ "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata })
}

/// What control plane and injector make themselves in the mesh's namespace.
const MADE: [(&str, &str, &str, &str); 3] = [
    ("v1", "Secret", "/api/v1/namespaces/NAMESPACE/secrets", "minimesh-issuer"),
    ("v1", "Secret", "/api/v1/namespaces/NAMESPACE/secrets", "minimesh-injector"),
    (
        "coordination.k8s.io/v1",
        "Lease",
        "/apis/coordination.k8s.io/v1/namespaces/NAMESPACE/leases",
        "minimesh-control-plane",
    ),
];

/// In the list of commands.
pub(super) const ABOUT: &str = "Print what is to be deleted, for kubectl delete";

const EXAMPLES: &str = "Examples:
  # the mesh, once no pod is meshed; what is gone already is no error
  minimesh uninstall | kubectl delete --ignore-not-found -f -

  # although pods are meshed
  minimesh uninstall --force | kubectl delete --ignore-not-found -f -";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_goes_first_and_the_namespace_last() {
        let object = |kind: &str| json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "x", "labels": {} }, "spec": {} });
        let objects = vec![object("Namespace"), object("Deployment"), object("MutatingWebhookConfiguration")];
        let all = deletions(objects, vec![own("v1", "ConfigMap", "shop", "minimesh-trust")]);
        let kinds: Vec<&str> = all.iter().filter_map(|object| object["kind"].as_str()).collect();
        assert_eq!(kinds, ["MutatingWebhookConfiguration", "Deployment", "ConfigMap", "Namespace"]);
        assert_eq!(
            all[0],
            json!({ "apiVersion": "v1", "kind": "MutatingWebhookConfiguration", "metadata": { "name": "x" } })
        );
        assert_eq!(all[2]["metadata"], json!({ "name": "minimesh-trust", "namespace": "shop" }));
    }

    #[test]
    fn pods_that_ended_hold_nothing_up() {
        let pod = |phase: &str| {
            json!({
                "metadata": { "name": phase, "namespace": "shop" },
                "spec": { "initContainers": [{ "name": "minimesh-proxy" }] },
                "status": { "phase": phase },
            })
        };
        let mut leaving = pod("Running");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let facts = Facts { pods: vec![pod("Running"), pod("Succeeded"), pod("Pending"), leaving], ..Facts::default() };
        assert_eq!(meshed(&facts), ["shop/Running", "shop/Pending"]);
    }
}
