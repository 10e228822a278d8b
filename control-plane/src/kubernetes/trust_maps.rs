//! The public roots, as a ConfigMap in every namespace with meshed pods: what a sidecar verifies the control plane with
//! before it has a certificate.
//!
//! Written by the replica that leads (`keep`), by server-side apply.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::keep::{Writer, keep};
use super::lease::Leadership;
use super::reflect::in_words;
use crate::issuing::InForce;

/// What the writer needs.
pub(crate) struct TrustMaps {
    /// Whom it writes to.
    pub(crate) client: Client,
    /// What it writes.
    pub(crate) in_force: InForce,
    /// Where.
    pub(crate) namespaces: watch::Receiver<Arc<BTreeSet<Arc<str>>>>,
}

struct Maps {
    source: TrustMaps,
    /// What stands in which namespace.
    written: BTreeMap<Arc<str>, Arc<str>>,
}

impl TrustMaps {
    /// Writes until nobody says any more what and where.
    pub(crate) async fn run(self, leadership: Leadership) {
        keep(Maps { source: self, written: BTreeMap::new() }, leadership).await;
    }
}

impl Writer for Maps {
    async fn write(&mut self, afresh: bool) -> bool {
        let Maps { source, written } = self;
        if afresh {
            written.clear();
        }
        let pem: Arc<str> = match source.in_force.now().authority.bundle() {
            Ok(bundle) => bundle.to_pem().into(),
            Err(error) => {
                warn!(%error, "the public roots cannot be written");
                return false;
            }
        };
        let namespaces = Arc::clone(&source.namespaces.borrow_and_update());
        written.retain(|namespace, _| namespaces.contains(namespace));
        let mut all = true;
        for namespace in namespaces.iter().filter(|namespace| written.get(*namespace) != Some(&pem)).collect::<Vec<_>>()
        {
            match apply(&source.client, namespace, &pem).await {
                Ok(()) => {
                    info!(%namespace, "public roots written");
                    written.insert(Arc::clone(namespace), Arc::clone(&pem));
                }
                // It is being deleted, or gone already.
                Err(kube::Error::Api(status)) if status.code == 404 || is_ending(&status.message) => {
                    debug!(%namespace, "no public roots for a namespace that ends");
                }
                Err(error) => {
                    warn!(%namespace, error = in_words(&error), "public roots cannot be written; trying again");
                    all = false;
                }
            }
        }
        all
    }

    async fn changed(&mut self) -> bool {
        tokio::select! {
            _ = self.source.in_force.changed() => true,
            changed = self.source.namespaces.changed() => changed.is_ok(),
        }
    }
}

async fn apply(client: &Client, namespace: &str, pem: &str) -> Result<(), kube::Error> {
    let map = ConfigMap {
        metadata: managed(ObjectMeta { namespace: Some(namespace.to_owned()), ..ObjectMeta::default() }, NAME),
        data: Some([(KEY.to_owned(), pem.to_owned())].into()),
        ..ConfigMap::default()
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    api.patch(NAME, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&map)).await.map(drop)
}

/// As the API server says it of objects that are made in a namespace under deletion.
fn is_ending(message: &str) -> bool {
    message.contains("because it is being terminated")
}

/// Metadata of an object that we own: its name, and the label by which `uninstall` finds it.
pub(super) fn managed(metadata: ObjectMeta, name: &str) -> ObjectMeta {
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "minimesh".to_owned());
    labels.insert("app.kubernetes.io/part-of".to_owned(), "minimesh".to_owned());
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), managed_fields: None, ..metadata }
}

/// Name of the ConfigMap in each namespace.
pub(super) const NAME: &str = "minimesh-trust";
/// Its key.
pub(super) const KEY: &str = "trust-bundle.pem";
/// By which the API server knows our fields.
pub(super) const MANAGER: &str = "minimesh-control-plane";
