//! The public roots, as a ConfigMap in every namespace with meshed pods: what a sidecar verifies the control plane with
//! before it has a certificate.
//!
//! Written by the replica that leads, by server-side apply; written again now and then, so that one that was deleted or
//! changed by hand comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::lease::Leadership;
use super::reflect::in_words;
use crate::issuing::InForce;

/// What the writer needs.
#[derive(Clone)]
pub(crate) struct TrustMaps {
    /// Whom it writes to.
    pub(crate) client: Client,
    /// Whether it may.
    pub(crate) leadership: Leadership,
    /// What it writes.
    pub(crate) in_force: InForce,
    /// Where.
    pub(crate) namespaces: watch::Receiver<Arc<BTreeSet<Arc<str>>>>,
}

impl TrustMaps {
    /// Writes until nobody says any more what and where.
    pub(crate) async fn run(mut self) {
        let mut written: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        let mut afresh = Instant::now() + AFRESH;
        loop {
            self.leadership.gained().await;
            if Instant::now() >= afresh {
                written.clear();
                afresh = Instant::now() + AFRESH;
            }
            let again = match self.write(&mut written).await {
                true => AFRESH,
                false => AGAIN,
            };
            let ended = tokio::select! {
                _ = self.in_force.changed() => false,
                changed = self.namespaces.changed() => changed.is_err(),
                () = sleep(again) => false,
            };
            if ended {
                return;
            }
        }
    }

    /// Writes what is not written yet; false: not everything could be.
    async fn write(&mut self, written: &mut BTreeMap<Arc<str>, Arc<str>>) -> bool {
        let pem: Arc<str> = match self.in_force.now().authority.bundle() {
            Ok(bundle) => bundle.to_pem().into(),
            Err(error) => {
                warn!(%error, "the public roots cannot be written");
                return false;
            }
        };
        let namespaces = Arc::clone(&self.namespaces.borrow_and_update());
        written.retain(|namespace, _| namespaces.contains(namespace));
        let mut all = true;
        for namespace in namespaces.iter().filter(|namespace| written.get(*namespace) != Some(&pem)).collect::<Vec<_>>()
        {
            match apply(&self.client, namespace, &pem).await {
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
/// Everything is written again after that.
const AFRESH: Duration = Duration::from_secs(300);
/// After an error.
const AGAIN: Duration = Duration::from_secs(5);
