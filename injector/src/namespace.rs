//! What the API server says of a pod's namespace: asked at each admission, because an answer from memory could be older than
//! the label that somebody just set. Two small requests to the one who is waiting for our answer.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use serde_json::Value;

use crate::inject::{Quota, Surroundings};

/// Why nothing is known of a namespace.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The API server said no.
    #[error("reading {what} of namespace {namespace}: {error}")]
    Api {
        /// What was read.
        what: &'static str,
        /// Of which namespace.
        namespace: String,
        /// Its answer.
        error: Box<kube::Error>,
    },
    /// The API server did not answer.
    #[error("reading namespace {namespace}: the API server did not answer in {} s", PATIENCE.as_secs())]
    Silent {
        /// Which namespace.
        namespace: String,
    },
}

/// Labels, annotations, and what its ResourceQuotas demand.
pub async fn read(client: &Client, namespace: &str) -> Result<Surroundings, ReadError> {
    let both = async {
        let object = get(client, "the object", namespace, format!("/api/v1/namespaces/{namespace}")).await?;
        let quotas = format!("/api/v1/namespaces/{namespace}/resourcequotas");
        let quotas = get(client, "the ResourceQuotas", namespace, quotas).await?;
        Ok(surroundings(namespace, &object, &quotas))
    };
    let silent = |_| ReadError::Silent { namespace: namespace.to_owned() };
    tokio::time::timeout(PATIENCE, both).await.map_err(silent)?
}

async fn get(client: &Client, what: &'static str, namespace: &str, path: String) -> Result<Value, ReadError> {
    let failed = |error| ReadError::Api { what, namespace: namespace.to_owned(), error: Box::new(error) };
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| failed(kube::Error::HttpError(error)))?;
    client.request::<Value>(request).await.map_err(failed)
}

fn surroundings(namespace: &str, object: &Value, quotas: &Value) -> Surroundings {
    let map = |field: &str| -> BTreeMap<String, String> {
        let entries = object["metadata"][field].as_object().into_iter().flatten();
        entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    };
    Surroundings {
        namespace: namespace.to_owned(),
        labels: map("labels"),
        annotations: map("annotations"),
        quota: quota(quotas),
    }
}

fn quota(quotas: &Value) -> Quota {
    let hard =
        || quotas["items"].as_array().into_iter().flatten().filter_map(|quota| quota["spec"]["hard"].as_object());
    let demands = |name: &str| hard().any(|hard| hard.contains_key(name));
    Quota {
        cpu_limit: demands("limits.cpu"),
        ephemeral_limit: demands("limits.ephemeral-storage"),
        ephemeral_request: demands("requests.ephemeral-storage") || demands("ephemeral-storage"),
    }
}

/// Less than what the API server grants the whole webhook.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_annotations_and_what_quotas_demand_are_kept() {
        let object = json!({ "metadata": { "labels": { "a": "b" }, "annotations": { "c": "d" } } });
        let quotas = json!({ "items": [
            { "spec": { "hard": { "pods": "10" } } },
            { "spec": { "hard": { "limits.cpu": "4", "requests.ephemeral-storage": "1Gi" } } },
        ] });
        let expected = Surroundings {
            namespace: "shop".into(),
            labels: BTreeMap::from([("a".into(), "b".into())]),
            annotations: BTreeMap::from([("c".into(), "d".into())]),
            quota: Quota { cpu_limit: true, ephemeral_limit: false, ephemeral_request: true },
        };
        assert_eq!(surroundings("shop", &object, &quotas), expected);
        let nothing = Surroundings { namespace: "shop".into(), ..Surroundings::default() };
        assert_eq!(surroundings("shop", &json!({}), &json!({ "items": null })), nothing);
    }
}
