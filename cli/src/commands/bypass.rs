//! `minimesh bypass`: a port of a workload, out of the mesh.

use std::num::NonZeroU16;

use http::{Request, header::CONTENT_TYPE};
use kube::Client;
use minimesh_api::annotations::{SKIP_INBOUND_PORTS, entries};
use serde_json::{Value, json};

use crate::{Failure, api_server::ApiServer, stats::asking::print_lines};

/// A port of a workload, out of the mesh.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Take a port of a workload out of the mesh now, and say how to put it back\n\n\
        For the moment in which something is broken and the mesh is suspected. Adds the port to the pod template's annotation \
        minimesh.io/skip-inbound-ports, whereupon Kubernetes replaces the pods one by one: connections to that port go to the \
        application directly, in plaintext, without policy and metrics; peers are told so. Everything else of the workload stays meshed. \
        The command that undoes it is printed.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// `deployment/NAME`, `statefulset/NAME` or `daemonset/NAME`
    #[arg(value_name = "WORKLOAD", value_parser = workload)]
    workload: Workload,
    /// The port on which the application listens
    #[arg(long, value_name = "PORT")]
    port: NonZeroU16,
    /// The workload's namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    cluster: ApiServer,
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Workload {
    kind: &'static str,
    name: String,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.cluster.ask(async |client| self.bypass(&client).await)
    }

    async fn bypass(&self, client: &Client) -> Result<(), Failure> {
        let Workload { kind, name } = &self.workload;
        let namespace = &self.namespace;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{kind}s/{name}");
        let get = Request::get(&path).body(Vec::new())?;
        let object: Value = client.request(get).await?;
        let template = &object["spec"]["template"];
        let before = template["metadata"]["annotations"][SKIP_INBOUND_PORTS.name].as_str();
        let Some(after) = added(before, self.port) else {
            return Err(Failure::new(format!(
                "port {} of {kind}/{name} in {namespace} is bypassed already",
                self.port
            )));
        };
        let patch =
            json!({ "spec": { "template": { "metadata": { "annotations": { SKIP_INBOUND_PORTS.name: after } } } } });
        let request = Request::patch(&path).header(CONTENT_TYPE, "application/merge-patch+json");
        client.request::<Value>(request.body(patch.to_string().into_bytes())?).await?;
        let undo =
            json!({ "spec": { "template": { "metadata": { "annotations": { SKIP_INBOUND_PORTS.name: before } } } } });
        print_lines(&[
            format!("port {} of {kind}/{name} in {namespace} bypasses the mesh from the next pods on", self.port),
            format!("  watch:  kubectl rollout status -n {namespace} {kind}/{name}"),
            format!("  undo:   kubectl patch -n {namespace} {kind}/{name} --type merge -p '{undo}'"),
        ])
    }
}

/// The annotation with one port more; nothing where it is there.
fn added(before: Option<&str>, port: NonZeroU16) -> Option<String> {
    let mut ports: Vec<String> = entries(before.unwrap_or_default()).map(str::to_owned).collect();
    let port = port.to_string();
    if ports.contains(&port) {
        return None;
    }
    ports.push(port);
    Some(ports.join(","))
}

fn workload(text: &str) -> Result<Workload, String> {
    let (kind, name) = text.split_once('/').ok_or("is not KIND/NAME, as in deployment/web")?;
    let kind = match kind {
        "deploy" | "deployment" | "deployments" => "deployment",
        "ds" | "daemonset" | "daemonsets" => "daemonset",
        "statefulset" | "statefulsets" | "sts" => "statefulset",
        _ => return Err(format!("{kind} is no kind of workload here; deployment, statefulset and daemonset are")),
    };
    // it goes into a path
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(format!("{name:?} is no name"));
    }
    Ok(Workload { kind, name: name.to_owned() })
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Take a port of a workload out of the mesh now, and say how to put it back";

const EXAMPLES: &str = "Examples:
  # connections to MySQL go to it directly
  minimesh bypass deployment/catalogue-db --port 3306 -n sock-shop";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_added_once() {
        let port = NonZeroU16::new(80).expect("not zero");
        assert_eq!(added(None, port).as_deref(), Some("80"));
        assert_eq!(added(Some("22, db"), port).as_deref(), Some("22,db,80"));
        assert_eq!(added(Some("22,80"), port), None);
    }

    #[test]
    fn workloads_are_kinds_with_names() {
        assert_eq!(workload("sts/db"), Ok(Workload { kind: "statefulset", name: "db".into() }));
        for bad in ["web", "pod/web", "deployment/", "deployment/../x"] {
            assert!(workload(bad).is_err(), "{bad}");
        }
    }
}
