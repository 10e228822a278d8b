//! What is asked of the API server: plain lists, read once, so that all checks of a round judge the same moment.

use http::{Request, StatusCode, header::CONTENT_TYPE};
use kube::Client;
use serde_json::{Value, json};

/// A moment of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// The program's own version.
    pub(crate) program: String,
    /// Where the mesh's parts are.
    pub(crate) mesh_namespace: String,
    /// `/version`.
    pub(crate) version: Value,
    pub(crate) nodes: Vec<Value>,
    pub(crate) namespaces: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    /// Of the mesh's namespace.
    pub(crate) deployments: Vec<Value>,
    /// All mutating webhook configurations.
    pub(crate) webhooks: Vec<Value>,
    /// Namespaces that have the ConfigMap with the roots.
    pub(crate) trusting: Vec<String>,
    /// What an installation needs and whoever asks may not do.
    pub(crate) denied: Vec<String>,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} from the cluster: {error}")]
pub(crate) struct FactsError {
    what: &'static str,
    error: Box<kube::Error>,
}

/// Asks for everything. `installing`: also whether an installation would be allowed.
pub(crate) async fn gather(client: &Client, mesh_namespace: &str, installing: bool) -> Result<Facts, FactsError> {
    let of_mesh = format!("/apis/apps/v1/namespaces/{mesh_namespace}/deployments");
    let trust = "/api/v1/configmaps?fieldSelector=metadata.name%3Dminimesh-trust";
    let mut facts = Facts {
        program: env!("CARGO_PKG_VERSION").into(),
        mesh_namespace: mesh_namespace.into(),
        version: get(client, "the version", "/version").await?,
        nodes: list(client, "nodes", "/api/v1/nodes").await?,
        namespaces: list(client, "namespaces", "/api/v1/namespaces").await?,
        pods: list(client, "pods", "/api/v1/pods").await?,
        deployments: list(client, "Deployments", &of_mesh).await?,
        webhooks: list(client, "webhook configurations", WEBHOOKS).await?,
        ..Facts::default()
    };
    let of = |object: &Value| Some(object["metadata"]["namespace"].as_str()?.to_owned());
    facts.trusting = list(client, "ConfigMaps minimesh-trust", trust).await?.iter().filter_map(of).collect();
    if installing {
        for (group, resource) in NEEDED {
            if !may_create(client, group, resource).await? {
                facts.denied.push(resource.to_owned());
            }
        }
    }
    Ok(facts)
}

async fn list(client: &Client, what: &'static str, path: &str) -> Result<Vec<Value>, FactsError> {
    match get(client, what, path).await?["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

async fn get(client: &Client, what: &'static str, path: &str) -> Result<Value, FactsError> {
    let failed = |error| FactsError { what, error: Box::new(error) };
    let request = Request::get(path).body(Vec::new()).map_err(|error| failed(kube::Error::HttpError(error)))?;
    match client.request::<Value>(request).await {
        // a namespace that is not there has no objects
        Err(kube::Error::Api(answer)) if answer.code == StatusCode::NOT_FOUND.as_u16() => Ok(Value::Null),
        answer => answer.map_err(failed),
    }
}

async fn may_create(client: &Client, group: &str, resource: &str) -> Result<bool, FactsError> {
    let failed = |error| FactsError { what: "what you may do", error: Box::new(error) };
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": { "group": group, "resource": resource, "verb": "create" } },
    });
    let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header(CONTENT_TYPE, "application/json");
    let request =
        request.body(review.to_string().into_bytes()).map_err(|error| failed(kube::Error::HttpError(error)))?;
    let answer: Value = client.request(request).await.map_err(failed)?;
    Ok(answer["status"]["allowed"] == true)
}

const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
/// What the chart makes that not everybody may make.
const NEEDED: [(&str, &str); 5] = [
    ("", "namespaces"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
];
