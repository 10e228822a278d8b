//! The mesh in a cluster, as commands ask it: which replicas of the control plane there are, and a way to what they tell operators
//! alone, which is on their pods' loopback. Must never change anything.

use std::{io, time::Duration};

use http::Request;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{Failure, api_server::ApiServer};

/// Which mesh. Flatten this into a command's arguments.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    server: ApiServer,
    /// Namespace of the mesh's own parts
    #[arg(long, value_name = "NAMESPACE", default_value = "minimesh")]
    mesh_namespace: String,
}

/// A mesh in a cluster. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    mesh_namespace: String,
}

/// A meshed pod that runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MeshedPod {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ClusterArgs {
    /// Whether somebody said which one.
    pub(crate) fn is_given(&self) -> bool {
        self.server.is_given()
    }

    /// A way to the API server; nothing is asked yet.
    pub(crate) async fn connect(&self) -> Result<Cluster, Failure> {
        Ok(Cluster { client: self.server.connect().await?, mesh_namespace: self.mesh_namespace.clone() })
    }
}

impl Cluster {
    /// Names of the control plane's pods that run, ordered; never none.
    pub(crate) async fn replicas(&self) -> Result<Vec<String>, Failure> {
        let namespace = &self.mesh_namespace;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let labelled = ListParams::default().labels(CONTROL_PLANE);
        let list = match timeout(PATIENCE, pods.list(&labelled)).await {
            Ok(list) => list.map_err(|error| cannot(&format!("list pods of namespace {namespace}"), &error))?,
            Err(_) => return Err(silent()),
        };
        let (all, running) = (list.items.len(), list.items.into_iter().filter(is_running));
        let mut names: Vec<String> = running.filter_map(|pod| pod.metadata.name).collect();
        names.sort();
        match names.is_empty() {
            false => Ok(names),
            true if all > 0 => Err(Failure::new(format!(
                "no pod of the control plane runs in namespace {namespace} ({all} there); `kubectl describe pods -n {namespace}` says why"
            ))),
            true => Err(Failure::new(format!(
                "no control plane in namespace {namespace} of this cluster; `minimesh install | kubectl apply -f -` installs one, \
                 --mesh-namespace and --context name another"
            ))),
        }
    }

    /// Every pod with a sidecar that runs, ordered.
    pub(crate) async fn meshed_pods(&self) -> Result<Vec<MeshedPod>, Failure> {
        let mut meshed = Vec::new();
        let mut next = Some(String::new());
        while let Some(page) = next.take() {
            let path = match page.is_empty() {
                true => format!("/api/v1/pods?limit={PAGE}"),
                false => format!("/api/v1/pods?limit={PAGE}&continue={page}"),
            };
            let request = Request::get(path).body(Vec::new())?;
            let list: Value =
                self.client.request(request).await.map_err(|error| cannot("list pods of all namespaces", &error))?;
            meshed.extend(list["items"].as_array().into_iter().flatten().filter_map(meshed_pod));
            next = list["metadata"]["continue"].as_str().filter(|page| !page.is_empty()).map(encoded);
        }
        meshed.sort();
        Ok(meshed)
    }

    /// A way to what a replica tells operators.
    pub(crate) async fn operator(&self, replica: &str) -> Result<Channel, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.mesh_namespace);
        let replica = replica.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let (pods, replica) = (pods.clone(), replica.clone());
            async move { forward(&pods, &replica).await.map(TokioIo::new) }
        });
        // the authority is not looked at: the pod decides who answers
        let endpoint = Endpoint::from_static("http://operator.invalid");
        match timeout(PATIENCE, endpoint.connect_with_connector(connector)).await {
            Ok(channel) => channel.map_err(|error| innermost(&error)),
            Err(_) => Err(format!("nothing was forwarded to it in {} s", PATIENCE.as_secs())),
        }
    }
}

async fn forward(pods: &Api<Pod>, replica: &str) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    let forwarder = pods.portforward(replica, &[OPERATOR_PORT]).await;
    let mut forwarder =
        forwarder.map_err(|error| io::Error::other(cannot("forward a port to it", &error).message().to_owned()))?;
    forwarder.take_stream(OPERATOR_PORT).ok_or_else(|| io::Error::other("the API server forwards no stream"))
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

fn meshed_pod(pod: &Value) -> Option<MeshedPod> {
    let metadata = &pod["metadata"];
    let runs = pod["status"]["phase"] == "Running" && metadata["deletionTimestamp"].is_null();
    let name = |key: &str| metadata[key].as_str().map(str::to_owned);
    let meshed = runs && minimesh_injector::is_injected(pod);
    meshed.then(|| Some(MeshedPod { namespace: name("namespace")?, name: name("name")? })).flatten()
}

/// A continue token is base64, of which a query knows `+`, `/` and `=` as something else.
fn encoded(token: &str) -> String {
    token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// What was wanted, why it cannot be had, and what to do.
fn cannot(what: &str, error: &kube::Error) -> Failure {
    let advice = match error {
        kube::Error::Api(status) if status.code == 401 => "; the kubeconfig's credentials are not accepted",
        kube::Error::Api(status) if status.code == 403 => {
            "; who asks needs `get` and `list` of pods and `create` of pods/portforward in the mesh's namespace"
        }
        kube::Error::Api(_) => "",
        _ => "; does the cluster run, and is it the right one (--context, --kubeconfig)?",
    };
    let reason = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => Failure::from(other).message().to_owned(),
    };
    Failure::new(format!("cannot {what}: {reason}{advice}"))
}

fn silent() -> Failure {
    Failure::new(format!("the API server did not answer in {} s; does the cluster run?", PATIENCE.as_secs()))
}

/// tonic's own text says "transport error" and no more.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

/// The chart's label of the control plane's pods.
const CONTROL_PLANE: &str = "app.kubernetes.io/name=minimesh-control-plane";
/// Of the control plane, on its pods' loopback.
const OPERATOR_PORT: u16 = 8085;
/// An API server that lives answers in less.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pods of a page.
const PAGE: usize = 250;
